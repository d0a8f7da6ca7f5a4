"""`manage.py ingest_payment`: ask NOWPayments for payments whose notifications never came."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import SluiceError
from config.lib.shell import shell_actor
from payouts.models import ARRIVED
from payouts.services import ingest_payment


class Command(BaseCommand):
    help = "Ask NOWPayments for payments and record what arrived; one that is recorded already changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "example:\n  manage.py ingest_payment 5524759814 5524759815\n\n"
            "Exit code 0 if each is recorded, or of each nothing has arrived yet; 1 otherwise."
        )
        parser.add_argument("payments", nargs="+", metavar="ID", help="NOWPayments' numbers of the payments")

    def handle(self, *_args: Any, **options: Any) -> None:
        wanted = list(dict.fromkeys(options["payments"]))
        missed = sum(not self._ingest(payment_id) for payment_id in wanted)
        if missed:
            raise CommandError(f"{missed} of {len(wanted)} payments were not recorded.")

    def _ingest(self, payment_id: str) -> bool:
        try:
            payment = ingest_payment(payment_id=payment_id, actor=shell_actor())
        except SluiceError as error:
            self.stderr.write(f"payment {payment_id}: {error}")
            return False
        if payment.accumulation_id is not None:
            self.stdout.write(f"payment {payment_id}: {payment.status}, accumulation {payment.accumulation_id}.")
            return True
        why = payment.review_reason or payment.last_error
        if why or payment.status in ARRIVED:
            self.stderr.write(f"payment {payment_id}: {payment.status}, not recorded: {why or 'try again'}")
            return False
        self.stdout.write(f"payment {payment_id}: {payment.status}; nothing to record.")
        return True
