"""The circuit breaker: what holds it open; open it; close it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.lib.errors import RefusedError
from config.lib.shell import shell_actor
from hostpay import services
from hostpay.models import Breaker, BreakerCause


class Command(BaseCommand):
    help = (
        "Say what holds the breaker open, open it, or close it for one cause. While it is open nothing is signed; it "
        "opens by itself, and only a person closes it. "
        "Example: manage.py breaker close chain --reason 'the same bytes are in the chain again'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="status|open|close")
        actions.add_parser("status", help="What holds it open; exits with 0 all the same.")
        opening = actions.add_parser("open", help="Sign nothing more until it is closed.")
        opening.add_argument("--reason", required=True)
        closing = actions.add_parser("close", help="Let signing go on, as far as this cause held it back.")
        closing.add_argument("cause", choices=BreakerCause.values)
        closing.add_argument("--reason", required=True)

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            if options["action"] == "open":
                services.open_breaker(cause=BreakerCause.OPERATOR, detail=options["reason"], actor=shell_actor())
            elif options["action"] == "close":
                self._close(options["cause"], options["reason"])
        except RefusedError as error:
            raise CommandError(str(error)) from error
        self._tell()

    def _close(self, cause: str, reason: str) -> None:
        opened = Breaker.objects.filter(cause=cause, closed_at__isnull=True).first()
        if opened is None:
            raise CommandError(f"The breaker is not open for {BreakerCause(cause).label}.")
        services.close_breaker(breaker=opened, actor=shell_actor(), reason=reason)

    def _tell(self) -> None:
        opened = services.open_breakers()
        for breaker in opened:
            self.stdout.write(
                f"open ({breaker.cause}): {breaker}; by {breaker.opened_by} since {breaker.opened_at:%Y-%m-%d %H:%M} UTC"
            )
        if not opened:
            self.stdout.write("closed: nothing holds signing back")
