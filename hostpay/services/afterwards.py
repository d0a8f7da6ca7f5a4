"""After two people have given up what the exchange has: it may pay all the same. That is told, and credited to nobody.

The members of such a batch were released, and are paid by another one. USDT that comes for the first is the house's,
against the loss it has booked; which a person writes into the books outside. ETH that comes back has a row of its own.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor
from config.lib.money import ETH, USDT, format_units
from hostpay import gateways
from hostpay.models import GIVEN_UP, ExchangeOrder, HostPayment, Receipt, Refund, WriteOff
from hostpay.services import health
from hostpay.services.receiving import Found, credit, find_named, find_unnamed
from hostpay.services.refunding import NotProven, book_late, find_refund, why_impossible, why_unlikely
from hostpay.services.steps import Done, Poll, Review, Said, open_review
from hostpay.services.watching import observe

# An exchange that was silent for so long after it was given up has nothing more to say.
WATCHED_FOR = timedelta(days=90)
LOOK_EVERY_S = 6 * 3600


def first_look_at(payment: HostPayment) -> datetime | None:
    """When to look for the first time after its requester was told; None for what nobody gave up."""
    is_given_up = payment.approvals.filter(action__in=GIVEN_UP, executed_at__isnull=False).exists()
    return clock.now() + timedelta(seconds=LOOK_EVERY_S) if is_given_up else None


def look_for_late_money(*, payment: HostPayment, actor: Actor) -> Said:
    """Ask the exchange and the chain about an ended payment once more.

    Raises:
        ProviderError: provider or node did not answer.
    """
    if clock.now() - payment.status_changed_at > WATCHED_FOR:
        return Done()
    if health.rest_of(health.EXCHANGE) is not None:
        return Poll(after_s=LOOK_EVERY_S)
    current = payment.orders.get(is_current=True)
    with health.counted(health.EXCHANGE):
        state = gateways.exchange().exchange(current.provider_order_id or "")
    observe(current, state, actor)
    found = find_named(payment, current, current.payout_hash) if current.payout_hash else find_unnamed(payment, current)
    # USDT that is in doubt must not hide the ETH.
    for doubt in (_book_proceeds(payment, current, found, actor), _book_return(payment, current, actor)):
        if doubt:
            _tell_once(payment, doubt, actor)
    return Poll(after_s=LOOK_EVERY_S)


def _tell_once(payment: HostPayment, doubt: str, actor: Actor) -> None:
    """What the same words have told before is no news, and may be closed: a refund can be booked without a review."""
    with transaction.atomic():
        payment.locked()
        if not payment.status_changes.filter(reason=f"needs review: {doubt}").exists():
            open_review(payment, Review(reason=doubt), actor=actor)


def _book_proceeds(payment: HostPayment, current: ExchangeOrder, found: Found | None, actor: Actor) -> str:
    """Tell what arrived since the last look, whose transfers are the order's from here on; or say why it is in doubt."""
    if found is None or found.doubt:
        return f"after it was given up: {found.doubt}" if found is not None else ""
    known = set(Receipt.objects.filter(order=current).values_list("tx_hash", "log_index"))
    new = [log for log in found.logs if (log.tx_hash, log.log_index) not in known]
    if not new:
        return ""
    units = format_units(sum(log.units for log in new), USDT)
    news = (
        f"exchange {current.provider_order_id} was given up, and paid after all: {units} in"
        f" {', '.join(sorted({log.tx_hash for log in new}))}; its members were released, so it is shared out to nobody"
    )
    with transaction.atomic():
        payment.locked()
        # So that no other order can be credited with them; and nobody hears of it later, so it is told with them.
        credit(payment, current, new)
        open_review(payment, Review(reason=news), actor=actor)
    return ""


def _book_return(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> str:
    """Tell what came back since the last look and proves itself, with its row; or say why people have to read it."""
    known = {current.refund_hash, current.refund_hash.lower()}
    if Refund.objects.filter(order=current, tx_hash__in=known).exists() or current.late_returns.filter(
        tx_hash__in=known
    ):
        return ""
    returned = find_refund(payment, current)
    name = f"exchange {current.provider_order_id} was given up"
    by_people = "is it this order's, propose to accept it as its refund, and another operator approves it"
    if isinstance(returned, NotProven):
        return f"{name}, and names a refund after all; {by_people}: {returned.reason}" if returned.is_final else ""
    # As for a payment under way: what is unlikely is booked only by two people.
    doubt = why_impossible(payment, current, returned) or why_unlikely(payment, current, returned)
    if doubt:
        return f"{name}, and names a refund after all; {by_people}: {doubt}"
    news = (
        f"{name}, and its ETH came back after all: {format_units(returned.units, ETH)} in {returned.tx_hash}; it is booked,"
        f" against the {_loss(current)} booked as lost"
    )
    with transaction.atomic():
        payment.locked()
        if current.late_returns.filter(tx_hash=returned.tx_hash).exists():
            # Two people were first.
            return ""
        book_late(payment=payment, current=current, returned=returned)
        # Nobody hears of it later: it is told with its row.
        open_review(payment, Review(reason=news), actor=actor)
    return ""


def _loss(current: ExchangeOrder) -> str:
    lost = WriteOff.objects.filter(order=current).first() or Refund.objects.filter(order=current).first()
    return format_units(int(lost.lost_units) if lost is not None else 0, ETH)
