"""What was booked, and is in doubt since: no batch takes it before a person has looked.

Whoever keeps it out locks the accumulation first, and a batch that gives its members back looks for doubts only when it
has them: so the two see each other, whichever comes first.
"""

from __future__ import annotations

from django.contrib.postgres.functions import TransactionNow
from django.db.models import Q

from config.lib.audit import Actor
from payouts.models import Accumulation, AccumulationStatus, NowPayment, NowPaymentStatus, ReviewCause
from payouts.services.claims import hold_accumulation

REFUNDED = "NOWPayments refunded the payment."
# Questions about what was booked; the others are about what is not.
DOUBTS = (ReviewCause.UNKNOWN_WORD, ReviewCause.NEWS, ReviewCause.CONFLICT)


def hold_booked(*, accumulation_id: int, actor: Actor, reason: str) -> None:
    """Hold what is pending. What is in a batch is held when that gives it back; all else is paid out by nobody."""
    booked = Accumulation.objects.select_for_update(of=("self",)).get(pk=accumulation_id)
    if booked.status == AccumulationStatus.PENDING:
        hold_accumulation(accumulation=booked, actor=actor, reason=_in_question(reason))


def hold_returned(*, actor: Actor) -> None:
    """Of what became pending in this transaction, hold what NOWPayments has refunded since, or is asked about."""
    doubted = NowPayment.objects.filter(
        Q(status=NowPaymentStatus.REFUNDED) | Q(review_cause__in=DOUBTS),
        accumulation__status=AccumulationStatus.PENDING,
        accumulation__status_changed_at=TransactionNow(),
    )
    for payment in doubted.select_related("accumulation"):
        is_refunded = payment.status == NowPaymentStatus.REFUNDED
        reason = REFUNDED if is_refunded else _in_question(payment.review_reason)
        if payment.accumulation is not None:
            hold_accumulation(accumulation=payment.accumulation, actor=actor, reason=reason)


def _in_question(reason: str) -> str:
    return f"In question at NOWPayments: {reason}"
