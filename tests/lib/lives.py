"""The life of one batch in a test's own hands: begun, driven to its quiet end however it was interrupted, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from batches.models import BatchConversion
from batches.services import check_threshold, retry_batch
from config.invariants import INVARIANTS
from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from hostpay import services
from hostpay.models import HostPayment, PaymentStatus, Transaction
from hostpay.services import Handover
from payouts.models import Accumulation
from tests import factories
from tests.factories import ACTOR
from tests.lib.world import WORKER, World, make_due, stand_of_all

AMOUNTS = ("19.40", "9.70", "29.10", "0.00000001")
_PATIENCE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class End:
    """Where a life ended: what must be the same with and without a crash."""

    batch: str
    payment: str
    is_delivered: bool
    received_units: int | None
    shares: tuple[str, ...]
    sent_wei: tuple[int, ...]


class Life:
    """One batch of its own, among whatever earlier lives have left."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent_before = world.sent_transactions()
        self.members = [row.pk for row in factories.accumulations(*AMOUNTS)]

    def run(self) -> None:
        """The whole life in one process, from the check on."""
        check_threshold(actor=ACTOR)
        self.drive(by_sweeper)

    def drive(self, resume: Callable[[UUID], None]) -> None:
        """Look again and again, in the given way, until it is delivered or a person is asked.

        Raises:
            TimeoutError: it does not become quiet.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not self.is_quiet():
            if time.monotonic() > deadline:
                raise TimeoutError(stand_of_all())
            make_due()
            if self.batch() is None:
                check_threshold(actor=ACTOR)
            for payment in HostPayment.objects.filter(delivered_at__isnull=True, review_reason=""):
                resume(payment.pk)
            self.world.anvil.mine()
            time.sleep(0.02)

    def batch(self) -> BatchConversion | None:
        return BatchConversion.objects.filter(members__in=self.members).first()

    def payment(self) -> HostPayment | None:
        batch = self.batch()
        return None if batch is None else HostPayment.objects.get(context="batch", reference=str(batch.pk))

    def is_quiet(self) -> bool:
        payment = self.payment()
        return payment is not None and (payment.delivered_at is not None or payment.needs_review)

    def end(self) -> End:
        batch, payment = self.batch(), self.payment()
        assert batch is not None
        assert payment is not None
        shares = Accumulation.objects.filter(pk__in=self.members).order_by("pk")
        return End(
            batch=batch.status,
            payment=payment.status,
            is_delivered=payment.delivered_at is not None,
            received_units=None if payment.received_units is None else int(payment.received_units),
            shares=tuple(str(row.converted_usdt_amount) for row in shares),
            sent_wei=tuple(
                int(tx.value_units) for tx in Transaction.objects.filter(slot__payment=payment, status="final")
            ),
        )

    def judge(self, expected: End) -> list[str]:
        """What is wrong with the end; empty if it is the expected one, or a person was asked and no more was paid."""
        sent = self.world.sent_transactions() - self.sent_before
        payment = self.payment()
        assert payment is not None
        wrong = [f"{sent} transactions of the wallet"] if sent > 1 else []
        if not payment.needs_review:
            wrong += [f"{sent} transactions of the wallet"] if sent != 1 else []
            wrong += [f"ended as {self.end()}"] if self.end() != expected else []
        wrong += breaches()
        return wrong


def breaches(*, with_chain: bool = False) -> list[str]:
    """What does not hold now; by default without the questions that cost a call each."""
    return [
        f"{one.id} {one.promise}: {breach}"
        for one in INVARIANTS
        if with_chain or (not one.asks_chain and one.id != "I5")
        for breach in one.look()
    ]


def by_sweeper(payment_id: UUID) -> None:
    """The sweep finds it due and takes it as far as it goes."""
    _take(payment_id)


def by_messages_twice(payment_id: UUID) -> None:
    """Every message arrives, twice, in the wrong queue too."""
    for take in (services.advance, services.sign, services.sign, services.advance):
        take(payment_id=payment_id, actor=WORKER)
        services.nudge(payment_id=payment_id)


def by_operator(payment_id: UUID) -> None:
    """Somebody clicks retry, or re-check where retry is refused, before anything else looks."""
    payment = HostPayment.objects.get(pk=payment_id)
    batch = BatchConversion.objects.get(pk=payment.reference)
    with suppress(RefusedError, StaleRowError):
        retry_batch(batch=batch, actor=ACTOR, reason="it stands still")
    services.nudge(payment_id=payment_id)
    _take(payment_id)


RESUMES: dict[str, Callable[[UUID], None]] = {
    "the sweeper": by_sweeper,
    "every message twice": by_messages_twice,
    "an operator's click": by_operator,
}


def _take(payment_id: UUID) -> None:
    due = dict(services.due_payments(now=timezone.now(), limit=500))
    status = due.get(payment_id)
    handover = Handover.NOBODY if status is None else Handover.WORKER
    if status == PaymentStatus.ORDERED:
        handover = Handover.SIGNER
    while handover is not Handover.NOBODY:
        take = services.sign if handover is Handover.SIGNER else services.advance
        handover = take(payment_id=payment_id, actor=WORKER)
