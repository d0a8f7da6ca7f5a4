"""Stop the intake, new batches or new signatures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.lib import clock
from config.lib.errors import RefusedError
from config.lib.shell import shell_actor
from hostpay import services
from hostpay.models import Switch


class Command(BaseCommand):
    help = (
        "Pause one switch, with a reason. When the command returns, nothing new starts. "
        "Example: manage.py pause signing --reason 'gas is mad' --minutes 60"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("switch", choices=Switch.values)
        parser.add_argument("--reason", required=True)
        parser.add_argument("--minutes", type=int, help="Lift it by itself after this many minutes.")

    def handle(self, *_args: Any, **options: Any) -> None:
        minutes = options["minutes"]
        try:
            pause = services.pause(
                switch=Switch(options["switch"]),
                actor=shell_actor(),
                reason=options["reason"],
                expires_at=None if minutes is None else clock.now() + timedelta(minutes=minutes),
            )
        except RefusedError as error:
            raise CommandError(str(error)) from error
        until = f" until {pause.expires_at:%Y-%m-%d %H:%M} UTC" if pause.expires_at else ""
        self.stdout.write(f"{pause}{until}")
