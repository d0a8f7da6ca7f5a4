"""`manage.py revoke_api_key`: a program is let in no longer."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import RefusedError
from config.lib.shell import shell_actor
from payouts.services import revoke_api_key


class Command(BaseCommand):
    help = "Let nobody in with an API key any more, from the next request on and for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "example:\n  manage.py revoke_api_key sk_0a1b2c3d --reason 'was in a public repository'\n\n"
            "What a key begins with stands in the admin and in the log, never the key. Exit code 0 revoked, 1 refused."
        )
        parser.add_argument("prefix", help="what the key begins with: sk_ and eight characters")
        parser.add_argument("--reason", required=True, help="why; it stays with the key")

    def handle(self, *_args: Any, **options: Any) -> None:
        # Whoever has only the key may give it whole.
        prefix = options["prefix"][: len("sk_") + 8]
        try:
            key = revoke_api_key(prefix=prefix, actor=shell_actor(), reason=options["reason"])
        except RefusedError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Revoked {key}.", self.style.SUCCESS)
