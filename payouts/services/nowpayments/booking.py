"""From a payment at NOWPayments to an accumulation, and back when its money was returned."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.money import MoneyError
from config.lib.problems import InvalidFieldsError
from payouts.models import (
    ARRIVED,
    NOWPAYMENTS_SOURCE,
    Accumulation,
    AccumulationStatus,
    InboundEvent,
    NowPayment,
    NowPaymentStatus,
    Outcome,
    ReviewCause,
)
from payouts.providers.nowpayments import BadReferenceError, read_reference
from payouts.services.claims import hold_accumulation
from payouts.services.drafts import AmountTooSmallError
from payouts.services.facts import PaymentFacts, facts_of
from payouts.services.nowpayments.doubting import REFUNDED
from payouts.services.nowpayments.reviewing import open_review
from payouts.services.nowpayments.schedule import WATCH
from payouts.services.nowpayments.valuing import (
    UnvaluableError,
    is_short,
    outcome_amount,
    owed_usd,
    too_fine,
    why_apart,
)
from payouts.services.recording import ConflictingPaymentError, UnknownClientError, record_payment
from payouts.services.refusals import count_refusals

# What a person must mend before the payment can be booked: whose it is, or what it is worth.
REFUSALS = (
    UnknownClientError,
    AmountTooSmallError,
    BadReferenceError,
    ConflictingPaymentError,
    InvalidFieldsError,
    MoneyError,
    UnvaluableError,
)

# What the figures of an accumulation are worked out from.
_DECISIVE = (
    "status",
    "event_id",
    "order_id",
    "parent_payment_id",
    "is_parent_told",
    "price_amount",
    "price_currency",
    "valued_usd",
    "eth_usd",
)


def book(*, payment: NowPayment, actor: Actor) -> None:
    """Record the payment's accumulation, once; a refusal opens a review and is kept with what told of the payment.

    Raises:
        PausedError: an operator paused the intake.
    """
    try:
        facts = _facts(payment)
        with transaction.atomic():
            row = NowPayment.objects.select_for_update(of=("self",)).select_related("event").get(pk=payment.pk)
            if not _is_as_seen(row, payment):
                return
            recorded = record_payment(facts=facts, event=None, actor=actor)
            _close_booked(row, recorded.accumulation_id, actor)
    except REFUSALS as refusal:
        refuse(payment=payment, refusal=refusal, actor=actor)


def refuse(*, payment: NowPayment, refusal: SluiceError, actor: Actor) -> None:
    """Stop this one payment, and say why, here and with what told of it; a replay tries again."""
    with transaction.atomic():
        row = NowPayment.objects.select_for_update(of=("self",)).get(pk=payment.pk)
        if not _is_as_seen(row, payment):
            return
        NowPayment.objects.filter(pk=row.pk).update(last_error=str(refusal)[:2000])
        open_review(payment=row, actor=actor, cause=ReviewCause.REFUSED, reason=str(refusal)[:1000])
        NowPayment.objects.filter(pk=row.pk).update(next_action_at=None)
        InboundEvent.objects.filter(pk=row.event_id).update(
            outcome=Outcome.REFUSED, error=str(refusal)[:2000], named_client_id=_client_named_by(row)
        )
    count_refusals(source=NOWPAYMENTS_SOURCE, codes=[refusal.code])


def _client_named_by(payment: NowPayment) -> str:
    """As what is refused can be found by; empty if the order id names none."""
    try:
        return read_reference(payment.order_id).client_id
    except BadReferenceError:
        return ""


def take_back(*, payment: NowPayment, actor: Actor) -> None:
    """A refund: keep what was booked for the payment out of batches, or ask a person if it is in one already.

    Raises:
        StaleRowError: a batch claims it at this moment; look again.
    """
    with transaction.atomic():
        row = NowPayment.objects.select_for_update(of=("self",)).get(pk=payment.pk)
        accumulation = None if row.accumulation_id is None else Accumulation.objects.get(pk=row.accumulation_id)
        NowPayment.objects.filter(pk=row.pk).update(next_action_at=None, attempts=0, last_error="")
        if accumulation is None or accumulation.status == AccumulationStatus.VOIDED:
            return
        if accumulation.status == AccumulationStatus.PENDING:
            hold_accumulation(accumulation=accumulation, actor=actor, reason=REFUNDED)
            return
        accumulation.note(actor=actor, reason="NOWPayments refunded the payment")
        reason = f"NOWPayments refunded it while its accumulation is {accumulation.status}."
        open_review(payment=row, actor=actor, cause=ReviewCause.NEWS, reason=reason)


def _facts(payment: NowPayment) -> PaymentFacts:
    """As if it had come by `POST /api/v1/payments/`, by the same rules.

    Raises:
        BadReferenceError, InvalidFieldsError: it cannot be recorded like that.
    """
    whose = read_reference(payment.order_id)
    fields = {
        "payment_id": payment.payment_id,
        "client_id": whose.client_id,
        "user_id": whose.user_id,
        "subscription_id": whose.subscription_id,
        "amount_usd": owed_usd(payment),
        "outcome_amount": outcome_amount(payment),
        "outcome_currency": payment.outcome_currency,
    }
    return facts_of(fields, source=NOWPAYMENTS_SOURCE)._replace(hold_reason=_hold_reason(payment))


def _hold_reason(payment: NowPayment) -> str:
    sent = f"{payment.actually_paid or '?'} of {payment.pay_amount or '?'} {payment.pay_currency.upper()}"
    if payment.status == NowPaymentStatus.PARTIALLY_PAID:
        return f"Paid in part: {sent}."
    if is_short(payment) and not payment.parent_payment_id:
        return f"Called finished by NOWPayments, but the customer sent {sent}."
    return why_apart(payment)


def _is_as_seen(row: NowPayment, seen: NowPayment) -> bool:
    """Whether nothing that the figures depend on has changed since they were worked out."""
    return (
        row.accumulation_id is None
        and not row.review_reason
        and row.set_aside_at is None
        and row.status in ARRIVED
        and all(getattr(row, name) == getattr(seen, name) for name in _DECISIVE)
    )


def _close_booked(row: NowPayment, accumulation_id: int, actor: Actor) -> None:
    NowPayment.objects.filter(pk=row.pk).update(
        accumulation_id=accumulation_id,
        next_action_at=timezone.now() + WATCH[0],
        looks=0,
        attempts=0,
        last_error="",
    )
    cut = [f"{name} {told} to {booked}" for name, (told, booked) in too_fine(row).items()]
    reason = f"booked, rounded down: {', '.join(cut)}" if cut else "booked"
    row.note(actor=actor, reason=reason, data={"accumulation": accumulation_id})
    InboundEvent.objects.filter(pk=row.event_id).update(
        outcome=Outcome.RECORDED, accumulation_id=accumulation_id, error=""
    )
