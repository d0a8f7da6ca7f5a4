"""final → settled: follow the exchange to its end, and believe the chain about what arrived."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor
from config.lib.money import ETH, USDT, format_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment
from hostpay.providers.changenow import ExchangeState, ExchangeStatus, status_of
from hostpay.services import health
from hostpay.services.adopting import units_or_none
from hostpay.services.deciding import waiting_decision
from hostpay.services.receiving import (
    Found,
    credit,
    doubt_about,
    find_named,
    find_unnamed,
    is_as_ordered,
    settle,
)
from hostpay.services.refunding import receive_refund
from hostpay.services.steps import Poll, Proceed, Review, Said, Wait

logger = logging.getLogger(__name__)

# An exchange takes minutes; a provider's compliance hold (`verifying`) takes days and has its own patience.
_SLOW_AFTER = timedelta(minutes=45)
_VERIFYING_SLOW_AFTER = timedelta(days=3)
# So long the provider may take to say what the chain shows: its figure is the check on what is found there.
_LAGS_AFTER = timedelta(minutes=10)

# An order that has come so far does not go back, whatever a replica of the provider says that lags. What holds an
# order up (verifying, failed) can be lifted by the provider's people, and the order then goes on.
_RANK = {
    ExchangeStatus.NEW: 0,
    ExchangeStatus.WAITING: 1,
    ExchangeStatus.CONFIRMING: 2,
    # Also said of a deposit that was seen, and came too late.
    ExchangeStatus.EXPIRED: 2,
    ExchangeStatus.VERIFYING: 3,
    ExchangeStatus.EXCHANGING: 3,
    ExchangeStatus.FAILED: 3,
    ExchangeStatus.SENDING: 3,
    ExchangeStatus.FINISHED: 4,
    ExchangeStatus.REFUNDED: 4,
}


def watch_exchange(*, payment: HostPayment, actor: Actor) -> Said:
    """Ask how the exchange is getting on, and end the payment when its proceeds, or its refund, are finally here.

    Raises:
        ProviderError: provider or node did not answer.
    """
    rest = health.rest_of(health.EXCHANGE)
    if rest is not None:
        return rest
    current = payment.orders.get(is_current=True)
    with health.counted(health.EXCHANGE):
        state = gateways.exchange().exchange(current.provider_order_id or "")
    said = _watch(payment, current, state, actor)
    decision = waiting_decision(payment, said.reason) if isinstance(said, Review) else ""
    return Wait(reason=decision, after_s=settings.EXCHANGE_POLL_EVERY_S) if decision else said


def _watch(payment: HostPayment, current: ExchangeOrder, state: ExchangeState, actor: Actor) -> Said:
    if _is_old_news(current, state, actor):
        return _patient(payment, f"{state.raw_status} after {current.provider_status}, which is not believed")
    observe(current, state, actor)
    return _STEPS[state.status](payment, current, actor)


def _is_old_news(current: ExchangeOrder, state: ExchangeState, actor: Actor) -> bool:
    known = _furthest(current)
    told = _RANK.get(state.status)
    if known is None or told is None or told >= known:
        return False
    words = f"the provider says {state.raw_status} after {current.provider_status}; ignored"
    if not current.status_changes.filter(reason=words).exists():
        current.note(actor=actor, reason=words)
    logger.warning("old news of an exchange", extra={"exchange": current.provider_order_id, "says": state.raw_status})
    return True


def _furthest(current: ExchangeOrder) -> int | None:
    """How far the order has come by the known words told of it: an unknown one says nothing of that, either way."""
    words = [current.provider_status]
    if status_of(current.provider_status) not in _RANK:
        words += current.status_changes.filter(data__has_key="before").values_list("data__before", flat=True)
    return max((_RANK[status_of(word)] for word in words if status_of(word) in _RANK), default=None)


def observe(current: ExchangeOrder, state: ExchangeState, actor: Actor) -> None:
    if state.raw_status != current.provider_status:
        current.note(
            actor=actor,
            reason=f"the provider says {state.raw_status}",
            data={"before": current.provider_status, "payout_hash": state.payout_hash or ""},
        )
    current.provider_status = state.raw_status
    current.reported_units = units_or_none(state.amount_to)
    current.payin_hash = state.payin_hash or ""
    current.payout_hash = state.payout_hash or ""
    current.refund_hash = state.refund_hash or ""
    current.latest_answer = dict(state.raw)
    current.polled_at = clock.now()
    current.save(
        update_fields=(
            "provider_status",
            "reported_units",
            "payin_hash",
            "payout_hash",
            "refund_hash",
            "latest_answer",
            "polled_at",
        )
    )


def _receive(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said:
    """The provider is done: pass on what the chain proves, if it is what the provider and the books say."""
    name = f"exchange {current.provider_order_id}"
    found = find_named(payment, current, current.payout_hash)
    if found is None:
        return _late(payment, f"{name} is finished, its USDT is not final on chain")
    if found.doubt:
        return Review(reason=found.doubt, after_s=settings.EXCHANGE_POLL_EVERY_S)
    if current.reported_units is None and not _is_slow(payment, _SLOW_AFTER):
        # Null for a while after the end. Without it nobody can tell whether another transfer is to come.
        return Wait(reason=f"{name} is finished, its figure is not told yet", after_s=settings.EXCHANGE_POLL_EVERY_S)
    return _pass_on(payment, current, found, actor, because="the exchange is finished")


def _await_payout(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said:
    return _believe_chain(payment, current, actor) or _patient(payment, current.provider_status)


def _believe_chain(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said | None:
    """The whole payout may be final on chain before the provider says so. When it lags, the chain is right."""
    if not _is_slow(payment, _LAGS_AFTER):
        return None
    found = find_named(payment, current, current.payout_hash) if current.payout_hash else find_unnamed(payment, current)
    if found is None or not found.logs or not is_as_ordered(payment, current, found.units):
        return None
    because = f"it is final on chain, though the provider still says {current.provider_status}"
    return _pass_on(payment, current, found, actor, because=because)


def _await_confirmations(payment: HostPayment, current: ExchangeOrder, _actor: Actor) -> Said:
    return _patient(payment, current.provider_status)


def _await_verification(payment: HostPayment, current: ExchangeOrder, _actor: Actor) -> Said:
    return _held(payment, current, "is held by the provider for verification", _VERIFYING_SLOW_AFTER)


def _await_late_deposit(payment: HostPayment, current: ExchangeOrder, _actor: Actor) -> Said:
    """Our deposit came late by the provider's clock. It exchanges at another rate, or refunds, or holds it."""
    return _held(payment, current, "is expired by the provider's word, and our deposit is there", _SLOW_AFTER)


def _failed(_payment: HostPayment, current: ExchangeOrder, _actor: Actor) -> Said:
    return Review(
        reason=f"{_exposed(current)} is failed at the provider: ask it for the refund; it is followed when it comes",
        after_s=settings.EXCHANGE_POLL_EVERY_S,
    )


def _unknown_word(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said:
    return _believe_chain(payment, current, actor) or Review(
        reason=f"{_exposed(current)} is {current.provider_status}, an unknown word",
        after_s=settings.EXCHANGE_POLL_EVERY_S,
    )


_STEPS: dict[ExchangeStatus, Callable[[HostPayment, ExchangeOrder, Actor], Said]] = {
    ExchangeStatus.NEW: _await_confirmations,
    ExchangeStatus.WAITING: _await_confirmations,
    ExchangeStatus.CONFIRMING: _await_confirmations,
    ExchangeStatus.VERIFYING: _await_verification,
    ExchangeStatus.EXCHANGING: _await_payout,
    ExchangeStatus.SENDING: _await_payout,
    ExchangeStatus.FINISHED: _receive,
    ExchangeStatus.REFUNDED: receive_refund,
    ExchangeStatus.FAILED: _failed,
    ExchangeStatus.EXPIRED: _await_late_deposit,
    ExchangeStatus.UNKNOWN: _unknown_word,
}


def _pass_on(payment: HostPayment, current: ExchangeOrder, found: Found, actor: Actor, *, because: str) -> Said:
    with transaction.atomic():
        # An operator may have settled it while we asked outside: nothing is credited after that.
        payment.locked()
        received = credit(payment, current, found.logs)
        doubt = doubt_about(payment, current, received)
        if doubt:
            return Review(reason=doubt, after_s=settings.EXCHANGE_POLL_EVERY_S)
        settle(payment=payment, actor=actor, reason=f"{format_units(received, USDT)} received: {because}")
    return Proceed()


def _patient(payment: HostPayment, word: str) -> Said:
    if not _is_slow(payment, _SLOW_AFTER):
        return Poll(after_s=settings.EXCHANGE_POLL_EVERY_S)
    return Review(reason=f"the exchange is {word} for longer than usual", after_s=settings.EXCHANGE_POLL_EVERY_S)


def _late(payment: HostPayment, reason: str) -> Said:
    if not _is_slow(payment, _SLOW_AFTER):
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    return Review(reason=reason, after_s=settings.EXCHANGE_POLL_EVERY_S)


def _held(payment: HostPayment, current: ExchangeOrder, what: str, slow_after: timedelta) -> Said:
    reason = f"{_exposed(current)} {what}"
    if _is_slow(payment, slow_after):
        return Review(reason=reason, after_s=settings.EXCHANGE_POLL_EVERY_S)
    return Wait(reason=reason, after_s=settings.EXCHANGE_POLL_EVERY_S)


def _is_slow(payment: HostPayment, slow_after: timedelta) -> bool:
    """Since the payment was final, which is when its money was the provider's."""
    return clock.now() - payment.status_changed_at > slow_after


def _exposed(current: ExchangeOrder) -> str:
    return f"exchange {current.provider_order_id} with our {format_units(int(current.send_units), ETH)}"
