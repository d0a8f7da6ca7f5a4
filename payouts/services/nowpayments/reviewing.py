"""What a person must decide about a payment at NOWPayments, and how it is decided: either way, with a reason."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.utils import timezone

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from payouts.models import (
    ARRIVED,
    NOWPAYMENTS_SOURCE,
    UNFINISHED,
    InboundEvent,
    NowPayment,
    ReviewCause,
)
from payouts.services.nowpayments.doubting import DOUBTS, hold_booked

_BY_GRAVITY = ReviewCause.values
_ENDED_BY_NEWS = (ReviewCause.REFUSED, ReviewCause.UNANSWERED, ReviewCause.STALE)
# That somebody waits for: nobody does once nothing is to be booked.
_OF_WAITING = (ReviewCause.UNANSWERED, ReviewCause.STALE)


def open_review(*, payment: NowPayment, actor: Actor, cause: ReviewCause, reason: str) -> None:
    """Say that a person must look at it, and why; a further reason is added to those that stand.

    What was booked and is in doubt by that is kept out of batches. One that was set aside waits for nothing: for want of
    an answer, or of an end, nobody is asked about it.
    """
    with transaction.atomic():
        row = _locked(payment)
        is_moot = row.set_aside_at is not None and cause in _OF_WAITING
        if reason not in row.review_reason and not is_moot:
            causes = [each for each in (row.review_cause, cause.value) if each]
            row.review_reason = f"{row.review_reason} {reason}".strip()
            row.review_cause = max(causes, key=_BY_GRAVITY.index)
            row.review_since = row.review_since or timezone.now()
            row.save(update_fields=("review_reason", "review_cause", "review_since"))
            row.note(actor=actor, reason=f"needs a person: {reason}", data={"cause": cause.value})
            if row.accumulation_id is not None and cause in DOUBTS:
                hold_booked(accumulation_id=row.accumulation_id, actor=actor, reason=reason)
    payment.review_reason, payment.review_cause, payment.review_since = (
        row.review_reason,
        row.review_cause,
        row.review_since,
    )


def close_review(*, payment: NowPayment, actor: Actor, reason: str) -> NowPayment:
    """Let it go on with what is stored: a payment that is not booked yet is tried again at once.

    Raises:
        RefusedError: nothing is to be decided, or no reason was given.
    """
    need_reason(reason)
    with transaction.atomic():
        row = _locked(payment)
        if not row.review_reason:
            raise RefusedError(
                why=f"Payment {row.payment_id} is not in review.", next_step="There is nothing to close."
            )
        _close(row, actor, reason)
    return row


def end_by_retry(*, payment: NowPayment, actor: Actor, causes: Collection[str], reason: str) -> None:
    """Close the review of a payment that is not booked yet, if all it asks is what is being tried again.

    Raises:
        RefusedError: it asks something that only a person decides, or a person has decided that nothing is booked.
    """
    with transaction.atomic():
        row = _locked(payment)
        refuse_retry(row, causes=causes)
        if row.review_reason and row.accumulation_id is None:
            _close(row, actor, reason)


def try_again_with_news(*, payment: NowPayment, actor: Actor, reason: str) -> None:
    """Close the review of a payment that is not booked, if all it asks was for want of what is told now.

    One that was set aside is not tried again, whatever is told of it.
    """
    is_undecided = payment.accumulation_id is None and payment.set_aside_at is None
    if is_undecided and payment.review_cause in _ENDED_BY_NEWS:
        end_by_retry(payment=payment, actor=actor, causes=_ENDED_BY_NEWS, reason=reason)
        payment.refresh_from_db()


def end_unanswered(*, payment: NowPayment, actor: Actor) -> None:
    """Close the review that says that the provider does not answer: it does.

    Not of money that has arrived and is not booked, which may want another answer, as the exchange's.
    """
    with transaction.atomic():
        row = _locked(payment)
        is_settled = row.accumulation_id is not None or row.status not in ARRIVED
        if row.review_cause == ReviewCause.UNANSWERED and is_settled:
            row.note(
                actor=actor, reason="review closed: NOWPayments answers again", data={"it said": row.review_reason}
            )
            _clear(row)
            row.save(update_fields=_CLEARED)


def refuse_retry(payment: NowPayment, *, causes: Collection[str]) -> None:
    """Go on only if trying again what has one of `causes` takes no decision from a person.

    Raises:
        RefusedError: it would.
    """
    if payment.accumulation_id is not None:
        return
    if payment.set_aside_at is not None:
        raise RefusedError(
            why=f"Payment {payment.payment_id} was set aside: nothing is booked for it.",
            next_step="Take it up again first, with a reason.",
        )
    if payment.review_reason and payment.review_cause not in causes:
        raise RefusedError(
            why=f"Payment {payment.payment_id} is in review, which no retry ends: {payment.review_reason}",
            next_step="Close the review or set the payment aside, with a reason.",
        )


def set_aside(*, payment: NowPayment, actor: Actor, reason: str) -> NowPayment:
    """Decide that nothing is booked for the payment, whatever comes; its review ends, and refused notifications of it are left as they are.

    Raises:
        RefusedError: it is booked or set aside already, or no reason was given.
    """
    need_reason(reason)
    with transaction.atomic():
        row = _locked(payment)
        if row.accumulation_id is not None:
            raise RefusedError(
                why=f"Payment {row.payment_id} is booked as accumulation {row.accumulation_id}.",
                next_step="Hold or void the accumulation.",
            )
        if row.set_aside_at is not None:
            raise RefusedError(
                why=f"Payment {row.payment_id} is set aside already.", next_step="Nothing is left to do."
            )
        row.note(actor=actor, reason=f"set aside: {reason.strip()}", data={"it said": row.review_reason})
        _clear(row)
        row.set_aside_at, row.next_action_at = clock.now(), None
        row.save(update_fields=("set_aside_at", "next_action_at", *_CLEARED))
        told = InboundEvent.objects.unsettled().filter(source=NOWPAYMENTS_SOURCE, event_id=row.payment_id)
        told.update(acknowledged_at=clock.now(), replay_at=None)
    return row


def take_up_again(*, payment: NowPayment, actor: Actor, reason: str) -> NowPayment:
    """Treat a payment that was set aside as one that nobody has decided about.

    Raises:
        RefusedError: it was not set aside, or no reason was given.
    """
    need_reason(reason)
    with transaction.atomic():
        row = _locked(payment)
        if row.set_aside_at is None:
            raise RefusedError(
                why=f"Payment {row.payment_id} was not set aside.", next_step="It is booked when its money has arrived."
            )
        row.note(actor=actor, reason=f"taken up again: {reason.strip()}")
        row.set_aside_at = None
        _make_due(row)
        row.save(update_fields=("set_aside_at", "next_action_at"))
    return row


_CLEARED = ("review_reason", "review_cause", "review_since", "last_error", "attempts")


def _close(row: NowPayment, actor: Actor, reason: str) -> None:
    row.note(actor=actor, reason=f"review closed: {reason.strip()}", data={"it said": row.review_reason})
    _clear(row)
    _make_due(row)
    row.save(update_fields=("next_action_at", *_CLEARED))


def _clear(row: NowPayment) -> None:
    row.review_reason, row.review_cause, row.review_since, row.last_error, row.attempts = "", "", None, "", 0


def _make_due(row: NowPayment) -> None:
    if row.accumulation_id is None and row.set_aside_at is None and row.status in {*UNFINISHED, *ARRIVED}:
        row.next_action_at = timezone.now()


def _locked(payment: NowPayment) -> NowPayment:
    return NowPayment.objects.select_for_update(of=("self",)).get(pk=payment.pk)
