"""`manage.py create_api_key`: a key for a program that calls the API."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from config.lib.errors import RefusedError
from config.lib.shell import shell_actor
from payouts.models import Scope
from payouts.services import create_api_key


class Command(BaseCommand):
    help = "Make an API key and show it, once: only its hash is stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "example:\n  manage.py create_api_key --name grafana --scope read --days 365 --allow-from 10.0.0.7\n\n"
            "scopes:\n"
            + "".join(f"  {scope.value:<8}{scope.label}\n" for scope in Scope)
            + "\nThe key goes to stdout alone, so that it can be piped into a secret store. Exit code 0 made, 1 refused."
        )
        parser.add_argument("--name", required=True, help="who will use it")
        parser.add_argument(
            "--scope", action="append", required=True, choices=Scope.values, help="what it may do; can be repeated"
        )
        parser.add_argument(
            "--allow-from",
            action="append",
            default=[],
            metavar="NETWORK",
            help="where it may be used from, as in 10.0.0.0/24; can be repeated (default: from anywhere)",
        )
        parser.add_argument("--days", type=int, default=None, help="for how long it is valid (default: until revoked)")

    def handle(self, *_args: Any, **options: Any) -> None:
        days: int | None = options["days"]
        try:
            key, secret = create_api_key(
                name=options["name"],
                scopes=options["scope"],
                actor=shell_actor(),
                allowed_networks=options["allow_from"],
                expires_at=None if days is None else timezone.now() + timedelta(days=days),
            )
        except (RefusedError, OverflowError) as error:
            raise CommandError(str(error)) from None
        self.stderr.write(f"Made {key} with scope {', '.join(key.scopes)}. It is shown this once:", self.style.SUCCESS)
        self.stdout.write(secret)
