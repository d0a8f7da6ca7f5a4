"""Just before money is signed away: does the order still wait for it, where we think?"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor
from hostpay.models import ExchangeOrder, HostPayment, OrderStatus, PaymentStatus
from hostpay.providers.changenow import ExchangeState, ExchangeStatus
from hostpay.services import health
from hostpay.services.adopting import ADOPT, UNPAID, ask, deposit_told, differences
from hostpay.services.ordering import is_fundable, order_again
from hostpay.services.steps import Proceed, Review, Said

# The provider's word of a minute ago is as good as a new one.
_FRESH_FOR = timedelta(minutes=1)


def why_not_fund(*, payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said | None:
    """What to do instead of paying the open order `current`; None if it still waits for our deposit (a call at most).

    One that is too old to be paid is given up for a new one, and with it its rate; one that failed ends the payment.

    Raises:
        ProviderError: the provider did not answer as it should; nothing is paid meanwhile.
    """
    if is_fundable(current) and clock.now() - (current.polled_at or current.status_changed_at) < _FRESH_FOR:
        return None
    # Also before an old one is given up: books from a backup do not know that it was paid.
    rest = health.rest_of(health.EXCHANGE)
    return rest or _asked(payment, current, actor)


def _asked(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said | None:
    state = ask(current.provider_order_id or "")
    if deposit := deposit_told(state):
        # Whatever the order is called now: who pays the purpose again, pays it twice.
        return Review(
            reason=f"exchange {current.provider_order_id} is {state.raw_status} and has {deposit}; by our books nothing was"
            f" paid to it by us; nothing was signed. After a restore: {ADOPT}"
        )
    if state.status in UNPAID and not is_fundable(current):
        order_again(payment, current, actor, "the order was not paid in time; another one is made")
        return Proceed()
    if state.status in UNPAID:
        return _still_as_ordered(payment, current, state)
    reason = f"exchange {current.provider_order_id} is {state.raw_status}, and nothing was paid to it"
    if state.status is ExchangeStatus.EXPIRED:
        order_again(payment, current, actor, f"{reason}; another one is made")
        return Proceed()
    if state.status is ExchangeStatus.FAILED:
        _fail(payment, current, reason, actor)
        return Proceed()
    # A word nobody knows.
    return Review(reason=f"{reason} by us; nothing was signed")


def _still_as_ordered(payment: HostPayment, current: ExchangeOrder, state: ExchangeState) -> Review | None:
    wrong = differences(payment, current, state)
    if wrong:
        return Review(
            reason=f"exchange {current.provider_order_id} has changed: {'; '.join(wrong)}; nothing was signed"
        )
    ExchangeOrder.objects.filter(pk=current.pk).update(polled_at=clock.now(), provider_status=state.raw_status)
    return None


def _fail(payment: HostPayment, current: ExchangeOrder, reason: str, actor: Actor) -> None:
    with transaction.atomic():
        payment.locked()
        current.move(OrderStatus.FAILED, actor=actor, reason=reason, provider_status=ExchangeStatus.FAILED.value)
        payment.move(PaymentStatus.FAILED, actor=actor, reason=reason, failure_reason=reason)
