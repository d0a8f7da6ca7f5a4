"""`manage.py resend_webhooks`: tell endpoints again what they did not take."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import RefusedError
from config.lib.shell import moment, shell_actor
from payouts.models import WebhookDelivery, WebhookEndpoint
from payouts.services.webhooks import resend_delivery, resend_failed


class Command(BaseCommand):
    help = "Have webhooks sent again: single events, or all that an endpoint was told in vain since a time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "examples:\n  manage.py resend_webhooks 4711 --reason 'receiver mended'\n"
            "  manage.py resend_webhooks --endpoint 3 --since 2030-01-31T12:00:00Z --reason 'receiver mended'\n\n"
            "The next sweep sends them, under their old ids. Exit code 0 if all asked for will be sent, 1 if one was refused."
        )
        parser.add_argument("events", nargs="*", type=int, metavar="ID", help="ids of deliveries")
        parser.add_argument("--endpoint", type=int, help="all that was given up of this endpoint")
        parser.add_argument(
            "--since", help="with --endpoint: what happened from this time on (default: all that is kept)"
        )
        parser.add_argument("--reason", required=True, help="goes into the endpoint's history")

    def handle(self, *_args: Any, **options: Any) -> None:
        if bool(options["events"]) == (options["endpoint"] is not None):
            raise CommandError("Name the events, or one endpoint.")
        if options["endpoint"] is None:
            self._resend(options["events"], options["reason"])
        else:
            self._resend_failed(options["endpoint"], _since(options["since"]), options["reason"])

    def _resend(self, events: list[int], reason: str) -> None:
        refused = 0
        for pk in events:
            try:
                delivery = resend_delivery(delivery_id=pk, actor=shell_actor(), reason=reason)
            except WebhookDelivery.DoesNotExist:
                self.stderr.write(f"event {pk}: there is none.")
                refused += 1
            except RefusedError as error:
                self.stderr.write(f"event {pk}: {error}")
                refused += 1
            else:
                self.stdout.write(f"event {pk}: {delivery} will be sent again.")
        if refused:
            raise CommandError(f"{refused} of {len(events)} events were refused.")

    def _resend_failed(self, endpoint: int, since: datetime, reason: str) -> None:
        try:
            count = resend_failed(endpoint_id=endpoint, since=since, actor=shell_actor(), reason=reason)
        except WebhookEndpoint.DoesNotExist:
            raise CommandError(f"endpoint {endpoint}: there is none.") from None
        except RefusedError as error:
            raise CommandError(f"endpoint {endpoint}: {error}") from None
        self.stdout.write(f"{count} {'event' if count == 1 else 'events'} will be sent again.")


def _since(text: str | None) -> datetime:
    return datetime.min.replace(tzinfo=UTC) if text is None else moment(text)
