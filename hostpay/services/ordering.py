"""requested → ordered: one order at the provider, written down before the call and verified after it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import OutcomeUnknownError, PermanentError, TransientError
from config.lib.money import ETH, USDT, from_units, to_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, OrderStatus, PaymentStatus
from hostpay.providers.changenow import (
    AmountRange,
    BadAnswerError,
    NotAllowedError,
    OrderRequest,
    OutOfRangeError,
    PlacedOrder,
    same_amount,
    verify_echo,
)
from hostpay.services.steps import Proceed, Review, Said, Wait

# A pay-in address is funded only while its order is fresh: the provider does not say how long an unpaid one lives.
FUNDABLE_FOR = timedelta(minutes=10)
_MINIMUM_WAIT_S = 300
_BPS = 10_000


def order(*, payment: HostPayment, actor: Actor) -> Said:
    """Place the order of a requested payment, unless a rule holds it back.

    Raises:
        ProviderError: the provider did not answer as it should; the intent it leaves behind is abandoned at the next try.
    """
    current = payment.orders.filter(is_current=True).first()
    if current is not None and current.provider_order_id:
        return _adopt(payment, current, actor)
    if current is not None:
        # A worker died, or heard nothing, between the intent and the answer. Unpaid, that order moves no money.
        _abandon(current, actor, "no answer to it was stored; an unpaid order expires by itself")
    _price(payment)
    held_back = _limits_of_provider(payment) or _value_out_of_band(payment)
    if held_back is not None:
        return held_back
    return _place(payment, actor)


def _price(payment: HostPayment) -> None:
    """Value the USD without a recorded receipt in ETH, once: the provider's estimate of exactly these USD."""
    if not payment.unpriced_usd or payment.priced_units is not None:
        return
    # Ten-millionths of a dollar are below the token's precision; rounding down keeps it from promising more.
    usdt = payment.unpriced_usd.quantize(Decimal("0.000001"), rounding="ROUND_DOWN")
    estimate = gateways.exchange().estimate(from_asset=USDT, to_asset=ETH, from_amount=usdt)
    wei = to_units(estimate.to_amount.quantize(Decimal("1e-18"), rounding="ROUND_DOWN"), ETH)
    if wei <= 0:
        message = f"the provider values {usdt:f} USDT at {estimate.to_amount:f} ETH (host payment {payment.pk})"
        raise PermanentError(message)
    HostPayment.objects.filter(pk=payment.pk, priced_units__isnull=True).update(priced_units=wei)
    payment.refresh_from_db(fields=("priced_units",))


def _limits_of_provider(payment: HostPayment) -> Said | None:
    limits: AmountRange = gateways.exchange().amount_range(from_asset=ETH, to_asset=USDT)
    amount = from_units(payment.send_units, ETH)
    if amount < limits.minimum:
        return Wait(
            reason=f"{amount:f} ETH is below the provider's minimum of {limits.minimum:f} ETH", after_s=_MINIMUM_WAIT_S
        )
    if limits.maximum is not None and amount > limits.maximum:
        return Wait(
            reason=f"{amount:f} ETH is above the provider's maximum of {limits.maximum:f} ETH", after_s=_MINIMUM_WAIT_S
        )
    return None


def _value_out_of_band(payment: HostPayment) -> Said | None:
    """Compare what the ETH is worth with what the books say, so that dollars are never sent as ether."""
    if payment.expected_usd is None:
        return None
    amount = from_units(payment.send_units, ETH)
    estimate = gateways.exchange().estimate(from_asset=ETH, to_asset=USDT, from_amount=amount)
    distance_bps = abs(estimate.to_amount - payment.expected_usd) * _BPS / payment.expected_usd
    if distance_bps > settings.VALUE_BAND_BPS:
        return Review(
            reason=f"{amount:f} ETH is worth {estimate.to_amount:f} USDT by the provider's estimate, the books say"
            f" {payment.expected_usd:f} USD: {distance_bps:.0f} bps apart, {settings.VALUE_BAND_BPS} allowed"
        )
    return None


def _place(payment: HostPayment, actor: Actor) -> Said:
    intent = _write_intent(payment, actor)
    request = OrderRequest(
        from_asset=ETH,
        to_asset=USDT,
        from_amount=from_units(int(intent.send_units), ETH),
        payout_address=intent.payout_address,
        refund_address=intent.refund_address,
        tag=str(intent.pk),
    )
    try:
        placed = gateways.exchange().create_exchange(request)
    except (OutcomeUnknownError, BadAnswerError) as error:
        _abandon(intent, actor, f"the answer is missing or unusable: {error}")
        raise
    except (OutOfRangeError, NotAllowedError) as error:
        # The provider's limits and our key's rights change without us: go on by itself when they do.
        _abandon(intent, actor, f"the provider did not take it: {error}")
        return Wait(reason=str(error), after_s=_MINIMUM_WAIT_S)
    except (TransientError, PermanentError) as error:
        _abandon(intent, actor, f"the provider did not take it: {error}")
        raise
    return _store(payment, intent, request, placed, actor)


def _write_intent(payment: HostPayment, actor: Actor) -> ExchangeOrder:
    with transaction.atomic():
        payment.locked()
        intent = ExchangeOrder.objects.create(
            payment=payment,
            send_units=payment.send_units,
            payout_address=payment.payout_address,
            refund_address=payment.wallet.address,
        )
        intent.record_birth(actor=actor, reason="about to be ordered")
        return intent


def _store(
    payment: HostPayment, intent: ExchangeOrder, request: OrderRequest, placed: PlacedOrder, actor: Actor
) -> Said:
    wrong = [f"{m.field} is {m.answered}, asked was {m.asked}" for m in verify_echo(request, placed)]
    wrong += _wrong_payin(payment, placed.payin_address)
    if wrong:
        return _refuse(intent, actor, placed, "; ".join(wrong))
    try:
        with transaction.atomic():
            payment.locked()
            intent.move(
                OrderStatus.OPEN,
                actor=actor,
                reason="ordered and verified",
                provider_order_id=placed.order_id,
                payin_address=placed.payin_address,
                expected_units=_units_or_none(placed.expected_to_amount),
                valid_until=placed.valid_until,
                placed_answer=placed.raw,
            )
            payment.move(PaymentStatus.ORDERED, actor=actor, reason=f"exchange {placed.order_id} ordered")
    except IntegrityError as error:
        if "payin_address_is_new" not in str(error) and "provider_order_belongs_to_one_order" not in str(error):
            raise
        return _refuse(intent, actor, placed, f"pay-in address {placed.payin_address} or id was used before")
    return Proceed()


def _wrong_payin(payment: HostPayment, payin_address: str) -> list[str]:
    ours = {payment.wallet.address.lower(), settings.USDT_CONTRACT_ADDRESS.lower(), payment.payout_address.lower()}
    if payin_address.lower() in ours:
        return [f"pay-in address {payin_address} is our own"]
    return []


def _refuse(intent: ExchangeOrder, actor: Actor, placed: PlacedOrder, wrong: str) -> Review:
    intent.move(
        OrderStatus.ABANDONED,
        actor=actor,
        reason=f"the answer is not what was ordered: {wrong}",
        is_current=False,
        placed_answer=placed.raw,
    )
    return Review(reason=f"exchange {placed.order_id} is not what was ordered: {wrong}; nothing was signed")


def _adopt(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said:
    """Verify, with the provider, an order that the requester placed itself."""
    state = gateways.exchange().exchange(current.provider_order_id or "")
    payin_address = current.payin_address or ""
    amount = from_units(payment.send_units, ETH)
    asked_and_answered: dict[str, tuple[object, object]] = {
        "pay-in address": (payin_address.lower(), (state.payin_address or "").lower()),
        "payout address": (payment.payout_address.lower(), (state.payout_address or "").lower()),
        "from": (ETH, state.from_asset),
        "to": (USDT, state.to_asset),
        "status": ("waiting", state.raw_status if state.raw_status != "new" else "waiting"),
    }
    if state.expected_from is not None and not same_amount(amount, state.expected_from):
        asked_and_answered["amount"] = (amount, state.expected_from)
    wrong = [f"{name} is {said}, not {asked}" for name, (asked, said) in asked_and_answered.items() if asked != said]
    wrong += _wrong_payin(payment, payin_address)
    if wrong:
        return Review(
            reason=f"exchange {current.provider_order_id} is not what was requested: {'; '.join(wrong)}; nothing was signed"
        )
    with transaction.atomic():
        payment.locked()
        current.move(
            OrderStatus.OPEN,
            actor=actor,
            reason="the requester's own order, verified with the provider",
            expected_units=_units_or_none(state.expected_to),
            valid_until=state.valid_until,
            placed_answer=state.raw,
        )
        payment.move(PaymentStatus.ORDERED, actor=actor, reason=f"exchange {current.provider_order_id} adopted")
    return Proceed()


def _units_or_none(amount: Decimal | None) -> int | None:
    if amount is None:
        return None
    return to_units(amount.quantize(Decimal("0.000001"), rounding="ROUND_DOWN"), USDT)


def _abandon(current: ExchangeOrder, actor: Actor, reason: str) -> None:
    current.move(OrderStatus.ABANDONED, actor=actor, reason=reason, is_current=False)


def order_again(payment: HostPayment, current: ExchangeOrder, actor: Actor, reason: str) -> None:
    """ordered → requested: give up an order that nobody paid; the next step makes another one."""
    with transaction.atomic():
        payment.locked()
        current.move(OrderStatus.EXPIRED, actor=actor, reason=reason, is_current=False)
        payment.move(PaymentStatus.REQUESTED, actor=actor, reason=reason)


def is_fundable(current: ExchangeOrder) -> bool:
    """Whether the pay-in address may still be paid: young enough, and within the provider's own limit."""
    now = timezone.now()
    if now - current.created_at > FUNDABLE_FOR:
        return False
    return current.valid_until is None or now + timedelta(minutes=2) < current.valid_until
