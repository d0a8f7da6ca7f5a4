"""Later deposits to the address of a payment: payments of their own, which repeat its price.

Notifications of the later one name the first as its parent; answers do not, but those about the first list the later
ones. So one whose notifications are all lost is found by looking at the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.utils import timezone

from config.lib.audit import Actor
from config.lib.money import usd_text
from payouts.models import Accumulation, InboundEvent, NowPayment, NowPaymentStatus, ReviewCause
from payouts.services.nowpayments.reviewing import open_review, try_again_with_news
from payouts.services.nowpayments.told import Told
from payouts.services.nowpayments.valuing import asked_usd, owes_more_than


def later_to_learn_of(payment: NowPayment, told: Told) -> list[str]:
    """The later deposits that the payment names and that we do not know as such, sorted.

    Only an original names them: what a later deposit lists would be its siblings, and its parent tells of these.
    """
    if payment.parent_payment_id or not told.later_ids:
        return []
    named = set(told.later_ids) - {payment.payment_id}
    known = NowPayment.objects.filter(payment_id__in=named).exclude(parent_payment_id="")
    settled = {
        later.payment_id
        for later in known
        if later.parent_payment_id == payment.payment_id
        # A person was told once, and may have decided since.
        or later.status_changes.filter(reason__contains=_two_parents(later, payment)).exists()
    }
    return sorted(named - settled)


def learn_of_later(payment: NowPayment, told: Told, event: InboundEvent, actor: Actor) -> None:
    """Money came again to the payment's address: each is a payment of its own, due to be asked for if it is new."""
    for later_id in later_to_learn_of(payment, told):
        later, is_new = NowPayment.objects.select_for_update(of=("self",)).get_or_create(
            payment_id=later_id,
            defaults={
                "parent_payment_id": payment.payment_id,
                "status": NowPaymentStatus.WAITING,
                "event": event,
                "next_action_at": timezone.now(),
            },
        )
        if is_new:
            later.record_birth(actor=actor, reason=f"payment {payment.payment_id} names it as a later deposit")
        elif not later.parent_payment_id:
            fill_in(later, {"parent_payment_id": payment.payment_id}, actor)
        else:
            reason = _two_parents(later, payment)
            open_review(payment=later, actor=actor, cause=ReviewCause.CONFLICT, reason=reason)


def _two_parents(later: NowPayment, other: NowPayment) -> str:
    return f"NOWPayments names two parents of it, {later.parent_payment_id} and {other.payment_id}."


def learn_from_itself(payment: NowPayment, news: Mapping[str, Any], actor: Actor) -> None:
    """The payment's own notification, where only answers had told of it: now it is known whether it has a parent.

    What was refused for want of that is tried again; what was booked at its outcome, and is owed its price, is for a
    person.
    """
    fill_in(payment, {**news, "is_parent_told": True}, actor)
    if payment.accumulation is None:
        try_again_with_news(payment=payment, actor=actor, reason="NOWPayments has told of it by itself")
    elif owes_more_than(payment, payment.accumulation.gross_usd):
        booked, asked = usd_text(payment.accumulation.gross_usd), usd_text(Decimal(asked_usd(payment)))
        reason = f"It was booked at its outcome, {booked}; its price is owed, {asked}, as is known only now."
        open_review(payment=payment, actor=actor, cause=ReviewCause.NEWS, reason=f"{reason} What was booked stands.")


def fill_in(payment: NowPayment, news: Mapping[str, Any], actor: Actor) -> None:
    """Take in what earlier words left out, whatever told them: answers do not name a payment's parent."""
    NowPayment.objects.filter(pk=payment.pk).update(**news)
    payment.refresh_from_db()
    if "parent_payment_id" in news and payment.accumulation is not None:
        _tell_of_parent(payment, payment.accumulation, actor)


def _tell_of_parent(payment: NowPayment, accumulation: Accumulation, actor: Actor) -> None:
    """A parent that becomes known after the booking: it matters if the price was booked that it repeats."""
    news = f"It is a later deposit of payment {payment.parent_payment_id}, as is known only now."
    payment.note(actor=actor, reason=news)
    accumulation.note(actor=actor, reason=news)
    if payment.price_amount and accumulation.gross_usd == Decimal(asked_usd(payment)):
        reason = f"{news} The price of that one was booked, {usd_text(accumulation.gross_usd)}; what was booked stands."
        open_review(payment=payment, actor=actor, cause=ReviewCause.NEWS, reason=reason)
