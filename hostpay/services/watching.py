"""final → settled: follow the exchange to its end, and believe the chain about what arrived."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import PermanentError
from config.lib.money import USDT, format_units, from_units, to_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, OrderStatus, PaymentStatus, Receipt
from hostpay.providers.changenow import ExchangeState, ExchangeStatus
from hostpay.providers.ethereum import TransferLog
from hostpay.services.confirming import is_final
from hostpay.services.steps import Poll, Proceed, Review, Said, Wait

_UNDER_WAY = (
    ExchangeStatus.NEW,
    ExchangeStatus.WAITING,
    ExchangeStatus.CONFIRMING,
    ExchangeStatus.EXCHANGING,
    ExchangeStatus.SENDING,
)
# An exchange takes minutes; a provider's compliance hold (`verifying`) takes days and has its own patience.
_SLOW_AFTER = timedelta(minutes=45)
_VERIFYING_SLOW_AFTER = timedelta(days=3)
_BPS = 10_000


def watch_exchange(*, payment: HostPayment, actor: Actor) -> Said:
    """Ask how the exchange is getting on, and settle the payment when its proceeds are finally here.

    Raises:
        ProviderError: provider or node did not answer.
    """
    current = payment.orders.get(is_current=True)
    state = gateways.exchange().exchange(current.provider_order_id or "")
    _observe(current, state, actor)
    if state.status is ExchangeStatus.FINISHED:
        return _receive(payment, current, state, actor)
    if state.status in _UNDER_WAY:
        return _patient(payment, state, _SLOW_AFTER)
    if state.status is ExchangeStatus.VERIFYING:
        return _patient(payment, state, _VERIFYING_SLOW_AFTER)
    word = "an unknown word" if state.status is ExchangeStatus.UNKNOWN else "after our ETH was final there"
    return Review(
        reason=f"exchange {current.provider_order_id} is {state.raw_status}, {word}",
        after_s=settings.EXCHANGE_POLL_EVERY_S,
    )


def settle(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """final → settled with the sum of the credited receipts.

    Raises:
        PermanentError: nothing was credited.
        StaleRowError: the payment is no longer final.
    """
    with transaction.atomic():
        payment.locked()
        current = payment.orders.get(is_current=True)
        received = current.receipts.aggregate(units=Sum("units"))["units"]
        if not received:
            message = f"nothing was received for host payment {payment.pk}"
            raise PermanentError(message)
        if current.status == OrderStatus.OPEN:
            current.move(OrderStatus.FINISHED, actor=actor, reason="proceeds received")
        payment.move(
            PaymentStatus.SETTLED,
            actor=actor,
            reason=reason,
            data={"received_units": str(received)},
            received_units=received,
            review_reason="",
            review_since=None,
        )


def _observe(current: ExchangeOrder, state: ExchangeState, actor: Actor) -> None:
    if state.raw_status != current.provider_status:
        current.note(
            actor=actor,
            reason=f"the provider says {state.raw_status}",
            data={"before": current.provider_status, "payout_hash": state.payout_hash or ""},
        )
    current.provider_status = state.raw_status[:32]
    current.reported_units = None if state.amount_to is None else _whole_units(state.amount_to)
    current.payin_hash = (state.payin_hash or "")[:66]
    current.payout_hash = (state.payout_hash or "")[:66]
    current.refund_hash = (state.refund_hash or "")[:66]
    current.latest_answer = state.raw
    current.polled_at = timezone.now()
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


def _whole_units(amount: Decimal) -> int:
    """The provider rounds its figure to eight places; the token has six."""
    return to_units(amount.quantize(Decimal("0.000001"), rounding="ROUND_DOWN"), USDT)


def _patient(payment: HostPayment, state: ExchangeState, slow_after: timedelta) -> Said:
    if state.status is ExchangeStatus.VERIFYING:
        reason = "the provider verifies the deposit (compliance hold)"
    elif timezone.now() - payment.status_changed_at > slow_after:
        reason = f"the exchange is {state.raw_status} for longer than usual"
    else:
        return Poll(after_s=settings.EXCHANGE_POLL_EVERY_S)
    if timezone.now() - payment.status_changed_at > slow_after:
        return Review(reason=reason, after_s=settings.EXCHANGE_POLL_EVERY_S)
    return Wait(reason=reason, after_s=settings.EXCHANGE_POLL_EVERY_S)


def _receive(payment: HostPayment, current: ExchangeOrder, state: ExchangeState, actor: Actor) -> Said:
    logs = _final_transfers(payment, state.payout_hash)
    if not logs:
        slow = timezone.now() - payment.status_changed_at > _SLOW_AFTER
        reason = f"exchange {current.provider_order_id} is finished, its USDT is not final on chain"
        if slow:
            return Review(reason=reason, after_s=settings.EXCHANGE_POLL_EVERY_S)
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    received = _credit(payment, current, logs)
    doubt = _doubt(payment, current, received)
    if doubt:
        return Review(reason=doubt)
    settle(payment=payment, actor=actor, reason=f"{format_units(received, USDT)} received")
    return Proceed()


def _final_transfers(payment: HostPayment, payout_hash: str | None) -> tuple[TransferLog, ...]:
    """The USDT that a final transaction brought to the payout address; empty while it is not final."""
    if not payout_hash:
        return ()
    node = gateways.node()
    receipt = node.receipt(payout_hash)
    if receipt is None or not receipt.ok or not is_final(receipt):
        return ()
    return node.transfers_in(receipt, settings.USDT_CONTRACT_ADDRESS, payment.payout_address)


def _credit(payment: HostPayment, current: ExchangeOrder, logs: tuple[TransferLog, ...]) -> int:
    """Store each log once and return the order's whole proceeds in units.

    Raises:
        PermanentError: a log was credited to another order before.
    """
    for log in logs:
        receipt, _ = Receipt.objects.get_or_create(
            chain_id=payment.wallet.chain_id,
            tx_hash=log.tx_hash,
            log_index=log.log_index,
            defaults={
                "order": current,
                "block_number": log.block_number,
                "block_hash": log.block_hash,
                "from_address": log.from_address,
                "units": log.units,
            },
        )
        if receipt.order_id != current.pk:
            message = f"transfer {log.tx_hash}:{log.log_index} was credited to order {receipt.order_id} before"
            raise PermanentError(message)
    total = current.receipts.aggregate(units=Sum("units"))["units"]
    return int(total)


def _doubt(payment: HostPayment, current: ExchangeOrder, received: int) -> str:
    """Why a person should look before `received` units are passed on; empty if there is no reason."""
    got = from_units(received, USDT)
    doubts = []
    if payment.expected_usd is not None:
        distance_bps = abs(got - payment.expected_usd) * _BPS / payment.expected_usd
        if distance_bps > payment.tolerance_bps:
            doubts.append(
                f"{got:f} USDT received for {payment.expected_usd:f} USD: {distance_bps:.0f} bps apart,"
                f" {payment.tolerance_bps} tolerated"
            )
    if current.reported_units is not None and current.reported_units != received:
        reported = from_units(int(current.reported_units), USDT)
        doubts.append(f"the provider reports {reported:f} USDT, the chain shows {got:f}")
    return "; ".join(doubts)
