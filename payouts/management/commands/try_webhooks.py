"""`manage.py try_webhooks`: try failing endpoints now."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import RefusedError
from config.lib.shell import shell_actor
from payouts.models import WebhookEndpoint
from payouts.services.webhooks import try_endpoint


class Command(BaseCommand):
    help = "Have the first event that waits for a failing endpoint tried now, and not when its wait is over."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "example:\n  manage.py try_webhooks 3 --reason 'receiver mended'\n\n"
            "The next sweep sends it. Exit code 0 if all asked for will be tried, 1 if one was refused."
        )
        parser.add_argument("endpoints", nargs="+", type=int, metavar="ID", help="ids of endpoints")
        parser.add_argument("--reason", required=True, help="goes into the endpoint's history")

    def handle(self, *_args: Any, **options: Any) -> None:
        refused = 0
        for pk in options["endpoints"]:
            try:
                endpoint = try_endpoint(endpoint_id=pk, actor=shell_actor(), reason=options["reason"])
            except WebhookEndpoint.DoesNotExist:
                self.stderr.write(f"endpoint {pk}: there is none.")
                refused += 1
            except RefusedError as error:
                self.stderr.write(f"endpoint {pk}: {error}")
                refused += 1
            else:
                self.stdout.write(f"endpoint {pk}: what waits for {endpoint} is tried now.")
        if refused:
            raise CommandError(f"{refused} of {len(options['endpoints'])} endpoints were refused.")
