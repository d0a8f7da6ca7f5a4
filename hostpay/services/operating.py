"""What an operator may do to a host payment; every refusal says why and what next."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from hostpay.models import ON_THE_WIRE, TERMINAL, HostPayment, PaymentStatus
from hostpay.services.deciding import CLOSE, ESCALATE, WAIT, decision_data
from hostpay.services.receiving import settle

# What an operator waits for takes a provider's working day; longer is said again.
WAIT_FOR = timedelta(days=1)


def retry_payment(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """End a wait or a review and take the payment's next step now.

    Raises:
        RefusedError: nothing is left to retry, signed bytes may still be mined, or the outcome of a call is unknown.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        row = payment.locked()
        is_for_review = bool(row.review_reason) and row.status not in _TOLD_AGAIN
        if row.status in TERMINAL and (row.delivered_at is not None or is_for_review):
            raise RefusedError(
                why=f"The payment ended as {row.status}; there is nothing to retry.",
                next_step="Release its members, or let the next threshold check make a new batch.",
            )
        if row.status in ON_THE_WIRE:
            raise RefusedError(
                why=f"The payment is {row.status}: its signed bytes may still be mined.",
                next_step="Sluice sends the same bytes again by itself; ask for a re-check instead.",
            )
        if row.unknown_reason:
            raise RefusedError(
                why=f"The outcome of a call is unknown: {row.unknown_reason}.",
                next_step="Sluice finds it out by itself before it goes on; ask for a re-check instead.",
            )
        row.note(actor=actor, reason=f"retry: {reason}")
        HostPayment.objects.filter(pk=row.pk).update(
            attempts=0,
            last_error="",
            waiting_reason="",
            waiting_since=None,
            unknown_reason="",
            unknown_since=None,
            review_reason="",
            review_since=None,
            next_action_at=clock.now(),
        )


def accept_receipt(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """Settle a payment in review with what arrived, though it is not what was expected.

    Raises:
        RefusedError: it is not waiting for that decision.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    current = payment.orders.filter(is_current=True).first()
    if payment.status != PaymentStatus.FINAL or current is None or not current.receipts.exists():
        raise RefusedError(
            why="Nothing was received for this payment that could be accepted.",
            next_step="Wait for the exchange, or take it up with the provider.",
        )
    with transaction.atomic():
        settle(payment=payment, actor=actor, reason=f"accepted what arrived: {reason}")
        HostPayment.objects.filter(pk=payment.pk).update(next_action_at=clock.now())


def wait_for_rest(*, payment: HostPayment, actor: Actor, reason: str, wait: timedelta = WAIT_FOR) -> None:
    """Leave a doubt about a payment at the exchange alone for `wait`: more may arrive. Any other doubt is told at once.

    Raises:
        RefusedError: there is no such doubt, or no time was given.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    if wait <= timedelta():
        raise RefusedError(why="Waiting takes time.", next_step="Give a time ahead.")
    now = clock.now()
    with transaction.atomic():
        row = _doubtful(payment)
        row.note(
            actor=actor,
            reason=f"wait: {reason}",
            data=decision_data(WAIT, about=row.review_reason, until=now + wait),
        )
        HostPayment.objects.filter(pk=row.pk).update(review_reason="", review_since=None, next_action_at=now)


def escalate(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """Write down that the doubt was taken up with the provider (`reason`: the ticket); the review stays open.

    Raises:
        RefusedError: there is no such doubt.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        row = _doubtful(payment)
        row.note(actor=actor, reason=f"escalated: {reason}", data=decision_data(ESCALATE, about=row.review_reason))


def close_review(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """Say that what came up about an ended payment was looked into; what it says has been done outside of the books.

    Raises:
        RefusedError: it has not ended, its end is not told, or no review is open.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        row = payment.locked()
        if row.delivered_at is None or not row.review_reason:
            raise RefusedError(
                why="No review of an ended payment is open here.",
                next_step="A payment under way leaves its review by a retry, or by the decision it asks for.",
            )
        row.note(actor=actor, reason=f"looked into: {reason}", data=decision_data(CLOSE, about=row.review_reason))
        HostPayment.objects.filter(pk=row.pk).update(review_reason="", review_since=None)


# Their telling failed, and is tried again; the other ends are reviewed before anybody is told.
_TOLD_AGAIN = (PaymentStatus.SETTLED, PaymentStatus.REFUNDED)


def _doubtful(payment: HostPayment) -> HostPayment:
    row = payment.locked()
    if row.status != PaymentStatus.FINAL or not row.review_reason:
        raise RefusedError(
            why="No doubt is open about what the exchange does with this payment.",
            next_step="Nothing is to be decided now.",
        )
    return row
