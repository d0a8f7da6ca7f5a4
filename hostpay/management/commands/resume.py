"""Lift a pause."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.lib.errors import RefusedError
from config.lib.shell import shell_actor
from hostpay import services
from hostpay.models import Switch


class Command(BaseCommand):
    help = "Lift the pause of one switch. Example: manage.py resume signing"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("switch", choices=Switch.values)

    def handle(self, *_args: Any, **options: Any) -> None:
        switch = Switch(options["switch"])
        try:
            services.resume(switch=switch, actor=shell_actor())
        except RefusedError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{switch.label.capitalize()} goes on.")
