"""`manage.py explain ID`: why something stands where it stands."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from batches import services as batches
from batches.models import BatchConversion
from config.lib.explain import Rule
from hostpay import services as hostpay
from hostpay.models import HostPayment
from payouts.models import Accumulation, AccumulationStatus

_EPILOG = """examples:
  manage.py explain 0b1f6a52-9d2a-4a3c-8f2e-3a3f1b0f7c11    a batch or a host payment, by its id
  manage.py explain NP-5077125051                           a payment, by its payment_id (or accumulation id)
  manage.py explain threshold                               why there is, or is not, a batch at the next check

exit status: 0 explained; 1 nothing has this id
"""


class Command(BaseCommand):
    help = "Say why a batch, a host payment, a customer's payment or the threshold check stands where it stands."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="an id, a payment_id, or the word threshold")

    def handle(self, *_args: Any, **options: Any) -> None:
        asked: str = options["id"]
        explained = self._threshold(asked) or self._by_uuid(asked) or self._accumulations(asked)
        if not explained:
            raise CommandError(f"Nothing here has the id {asked!r}: no batch, no host payment, no payment.")

    def _threshold(self, asked: str) -> bool:
        if asked == "threshold":
            self._show("the next threshold check", batches.explain_threshold())
            return True
        return False

    def _by_uuid(self, asked: str) -> bool:
        try:
            wanted = UUID(asked)
        except ValueError:
            return False
        batch = BatchConversion.objects.filter(pk=wanted).first()
        if batch is not None:
            self._show(f"batch {batch.pk}, {batch.status}", batches.explain_batch(batch))
            for entry in batches.timeline(batch):
                moved = f"{entry.from_status or 'new'} -> {entry.to_status}"
                self.stdout.write(f"  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.subject} {moved}: {entry.reason}")
            return True
        payment = HostPayment.objects.filter(pk=wanted).first()
        if payment is not None:
            self._show(f"host payment {payment}, {payment.status}", hostpay.explain_payment(payment))
            return True
        return False

    def _accumulations(self, asked: str) -> bool:
        """The customers' payments of that payment_id (one for each source), or the one of that number."""
        named = Q(payment_id=asked)
        if asked.isascii() and asked.isdecimal() and len(asked) <= 18:
            named |= Q(pk=int(asked))
        found = list(Accumulation.objects.filter(named).select_related("batch_conversion")[:20])
        for accumulation in found:
            self._show(
                f"payment {accumulation.source}/{accumulation.payment_id}, accumulation {accumulation.pk},"
                f" {accumulation.status}",
                _rules_of(accumulation),
            )
        return bool(found)

    def _show(self, title: str, rules: list[Rule]) -> None:
        self.stdout.write(title)
        for rule in rules:
            since = "" if rule.since is None else f" (since {rule.since:%Y-%m-%d %H:%M:%S} UTC)"
            self.stdout.write(f"{'yes' if rule.ok else 'NO ':<4}{rule.name}: {rule.detail}{since}")


def _rules_of(accumulation: Accumulation) -> list[Rule]:
    batch = accumulation.batch_conversion
    if batch is not None:
        claimed = Rule(name="in a batch", ok=True, detail=f"batch {batch.pk}", since=accumulation.status_changed_at)
        return [claimed, *batches.explain_batch(batch)]
    if accumulation.hold_reason:
        held = Rule(name="not held", ok=False, detail=accumulation.hold_reason, since=accumulation.status_changed_at)
        return [held]
    if accumulation.status == AccumulationStatus.VOIDED:
        return [Rule(name="not voided", ok=False, detail="it was voided", since=accumulation.status_changed_at)]
    waiting = Rule(name="in a batch", ok=False, detail="it waits for the next batch", since=accumulation.created_at)
    return [waiting, *batches.explain_threshold()]
