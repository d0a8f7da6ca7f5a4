"""The reconciler: every payment at NOWPayments is looked at until it is booked or ended, whatever notifications came.

A worker takes a payment up under a lease, by moving `next_action_at` ahead, and asks outside only without a
transaction. A notice that comes meanwhile sets its own time, which the worker then leaves alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import PermanentError, RefusedError, TransientError
from config.lib.lifecycle import StaleRowError
from hostpay.services import PausedError
from payouts import gateways
from payouts.models import (
    ARRIVED,
    UNFINISHED,
    Accumulation,
    InboundEvent,
    NowPayment,
    NowPaymentStatus,
    Outcome,
    ReviewCause,
)
from payouts.providers.nowpayments import BadNoticeError, PaymentNotFoundError, PaymentNotice, read_payment
from payouts.services.nowpayments.booking import REFUSALS, book, refuse, take_back
from payouts.services.nowpayments.noticing import process_notification, take_answer
from payouts.services.nowpayments.reviewing import end_by_retry, end_unanswered, open_review, refuse_retry
from payouts.services.nowpayments.schedule import STALE_AFTER, STALE_AGAIN, lease_end, next_look, next_try
from payouts.services.nowpayments.valuing import lacks_value, value_of_outcome

# Asked, told to be finished, booked: a payment that takes more steps goes in circles.
_MOST_STEPS_AT_ONCE = 4
# What a person need not decide, once it was tried again and went well; a question of another kind stays open.
_ENDED_BY_REPLAY = (ReviewCause.REFUSED,)
_ENDED_BY_ASKING = (ReviewCause.REFUSED, ReviewCause.UNANSWERED, ReviewCause.STALE)
# A finished payment whose outcome is not told yet: asked so often before a person is.
_MOST_LOOKS_FOR_OUTCOME = 6
_BROKE_OFF = "It broke off; the log has the reason."


def due_payments(*, now: datetime, limit: int) -> list[int]:
    """Ids of the payments that something should be done for, longest due first."""
    return list(NowPayment.objects.due(now).values_list("pk", flat=True)[:limit])


def advance_payment(*, payment_pk: int, actor: Actor) -> None:
    """Bring one due payment as far as it goes now."""
    for _ in range(_MOST_STEPS_AT_ONCE):
        payment = NowPayment.objects.due(timezone.now()).filter(pk=payment_pk).first()
        if payment is None:
            return
        lease = lease_end()
        # Whoever moves the time ahead has the payment until then.
        due = NowPayment.objects.filter(pk=payment.pk, next_action_at=payment.next_action_at)
        if not due.update(next_action_at=lease):
            return
        payment.next_action_at = lease
        _take_step_or_say(payment, actor)


def ingest_payment(*, payment_id: str, actor: Actor) -> NowPayment:
    """Ask NOWPayments for a payment whose notifications were lost, and take it as far as it goes.

    Raises:
        PaymentNotFoundError: there is none under our key.
        BadNoticeError: the answer is none about this payment.
        RefusedError: what it said is kept, but a person must decide first.
        TransientError, PermanentError: the provider did not answer.
    """
    body, told = _ask(payment_id)
    payment = take_answer(body=body, told=told, actor=actor, keeps_always=True)
    if payment is None:
        raise BadNoticeError(f"The answer for payment {payment_id} was not kept.")
    end_by_retry(payment=payment, actor=actor, causes=_ENDED_BY_ASKING, reason="asked for again")
    advance_payment(payment_pk=payment.pk, actor=actor)
    return NowPayment.objects.get(pk=payment.pk)


def replay_notification(*, event: InboundEvent, actor: Actor) -> Accumulation | None:
    """Process a kept notification again, and try to book its payment; None if it told of no money.

    Raises:
        RefusedError: a person must still mend something first; the payment says what.
    """
    known = NowPayment.objects.filter(payment_id=event.event_id).first()
    if known is not None and event.outcome == Outcome.REFUSED:
        # Asked first, so that an event that stays refused is found again.
        refuse_retry(known, causes=_ENDED_BY_REPLAY)
    pk = process_notification(event_id=event.pk, actor=actor)
    if pk is None:
        event.refresh_from_db()
        if event.error:
            raise RefusedError(why=event.error, next_step="It is kept as it came.")
        return None
    payment = NowPayment.objects.get(pk=pk)
    end_by_retry(payment=payment, actor=actor, causes=_ENDED_BY_REPLAY, reason=f"event {event.pk} was replayed")
    advance_payment(payment_pk=pk, actor=actor)
    payment.refresh_from_db()
    if payment.accumulation is None and (payment.review_reason or payment.last_error):
        why = payment.review_reason or payment.last_error
        raise RefusedError(why=f"Payment {payment.payment_id}: {why}", next_step="Mend that, then replay it.")
    return payment.accumulation


def _take_step_or_say(payment: NowPayment, actor: Actor) -> None:
    """Take the step; one that breaks off unforeseen is tried again, later and later, and the payment says so.

    Raises:
        Exception: anything unforeseen. A database that is away leaves the lease to run out.
    """
    is_settled = False
    try:
        _take_step(payment, actor)
        is_settled = True
    except (OperationalError, InterfaceError):
        is_settled = True
        raise
    finally:
        if not is_settled:
            _leave(payment, next_try(payment), attempts=payment.attempts + 1, last_error=_BROKE_OFF)


def _take_step(payment: NowPayment, actor: Actor) -> None:
    """Do what its status calls for; what may pass is tried again, and what will not is for a person."""
    try:
        is_owed = payment.status in ARRIVED and payment.accumulation_id is None
        if payment.status == NowPaymentStatus.REFUNDED:
            take_back(payment=payment, actor=actor)
        elif is_owed and not payment.review_reason:
            _book(payment, actor)
        elif is_owed and payment.review_cause == ReviewCause.UNANSWERED and _has_outcome(payment):
            # The exchange did not tell its price, which it may by now: due at once, and booked by the next step.
            end_by_retry(payment=payment, actor=actor, causes=(ReviewCause.UNANSWERED,), reason="tried again")
        elif is_owed and payment.review_cause == ReviewCause.UNANSWERED:
            # Money has come, and only the provider can say how much: asked for as long as a person has not decided.
            _look(payment, actor, again_after=STALE_AGAIN)
        else:
            _look(payment, actor)
    except REFUSALS as refusal:
        refuse(payment=payment, refusal=refusal, actor=actor)
    except (TransientError, PausedError, StaleRowError) as error:
        _leave(payment, next_try(payment), attempts=payment.attempts + 1, last_error=str(error)[:2000])
    except (PermanentError, BadNoticeError) as error:
        open_review(payment=payment, actor=actor, cause=ReviewCause.UNANSWERED, reason=str(error)[:1000])
        _leave(payment, timezone.now() + STALE_AGAIN, last_error=str(error)[:2000])


def _book(payment: NowPayment, actor: Actor) -> None:
    if not _has_outcome(payment):
        # Finished, and nothing said of what reached us: not yet, as the provider's answers come before its figures.
        if payment.looks >= _MOST_LOOKS_FOR_OUTCOME:
            raise PermanentError(f"NOWPayments calls payment {payment.payment_id} {payment.status} without an outcome.")
        _look(payment, actor, again_after=timedelta(minutes=2**payment.looks))
        return
    if lacks_value(payment):
        usd, eth_usd = value_of_outcome(payment)
        unchanged = NowPayment.objects.filter(pk=payment.pk, event_id=payment.event_id, accumulation__isnull=True)
        if not unchanged.update(valued_usd=usd, eth_usd=eth_usd):
            return
        payment.valued_usd, payment.eth_usd = usd, eth_usd
    book(payment=payment, actor=actor)


def _has_outcome(payment: NowPayment) -> bool:
    """Whether it is told what reached us; an outcome of 0 is none."""
    return bool(Decimal(payment.outcome_amount or 0))


def _look(payment: NowPayment, actor: Actor, *, again_after: timedelta | None = None) -> None:
    """Ask the provider; what is new goes the way of a notification."""
    body, told = _ask(payment.payment_id)
    take_answer(body=body, told=told, actor=actor)
    if payment.review_cause == ReviewCause.UNANSWERED:
        end_unanswered(payment=payment, actor=actor)
    if payment.status in UNFINISHED and payment.created_at <= timezone.now() - STALE_AFTER:
        reason = f"It has been {payment.status} for more than {STALE_AFTER.days} days."
        seen = NowPayment.objects.get(pk=payment.pk)
        open_review(payment=seen, actor=actor, cause=ReviewCause.STALE, reason=reason)
    then = next_look(payment) if again_after is None else timezone.now() + again_after
    _leave(payment, then, looks=payment.looks + 1, attempts=0, last_error="")


def _ask(payment_id: str) -> tuple[bytes, PaymentNotice]:
    body = gateways.nowpayments().payment(payment_id)
    told = read_payment(body)
    if told.payment_id != payment_id:
        raise PaymentNotFoundError(f"payment {payment_id} of nowpayments: the answer is about {told.payment_id}")
    return body, told


def _leave(payment: NowPayment, then: datetime | None, **columns: object) -> None:
    """Give the lease back, unless a notice has set another time meanwhile."""
    held = NowPayment.objects.filter(pk=payment.pk, next_action_at=payment.next_action_at)
    held.update(next_action_at=then, **columns)
