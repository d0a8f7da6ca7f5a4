"""requested → ordered: one order at the provider, written down before the call and verified after it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import IntegrityError, transaction

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import OutcomeUnknownError, PermanentError, TransientError
from config.lib.money import ETH, USDT, format_units, from_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, OrderStatus, PaymentStatus, Switch
from hostpay.providers.changenow import (
    AmountRange,
    Estimate,
    NotAllowedError,
    OrderRequest,
    OutOfRangeError,
    PlacedOrder,
    RateExpiredError,
    verify_echo,
)
from hostpay.services import health
from hostpay.services.adopting import adopt, ask, deposit_told, find_unanswered, units_or_none, wrong_payin
from hostpay.services.guarding import why_stopped
from hostpay.services.pausing import is_paused
from hostpay.services.steps import Proceed, Review, Said, Wait, open_review
from hostpay.services.valuing import estimated_units, usdt_units

# A pay-in address is funded only while its order is fresh: the provider does not say how long an unpaid one lives.
FUNDABLE_FOR = timedelta(minutes=10)
# The deposit must be seen by the provider before its own limit: this is for signing, sending and a slow block or two.
VALIDITY_MARGIN = timedelta(minutes=2)
_MINIMUM_WAIT_S = 300
_NEXT_RATE_AFTER_S = 5
_BPS = 10_000


def order(*, payment: HostPayment, actor: Actor) -> Said:
    """Place the order of a requested payment, unless a rule holds it back.

    Raises:
        OutcomeUnknownError: an order may have been made; the intent stays, and is looked up at the next try.
        ProviderError: the provider did not answer as it should; no order of ours can be paid by mistake.
    """
    current = payment.orders.filter(is_current=True).first()
    is_unanswered = current is not None and not current.provider_order_id
    rest = health.rest_of(health.EXCHANGE)
    if rest is not None and is_unanswered:
        raise OutcomeUnknownError(f"whether an order was made cannot be looked up: {rest.reason}")
    if rest is not None:
        return rest
    if current is not None and is_unanswered:
        # A worker died, or heard nothing, between the intent and the answer.
        found = find_unanswered(payment, current, actor)
        if found:
            return found if isinstance(found, Review) else _adopt_found(payment, current, actor)
    elif current is not None:
        return adopt(payment, current, actor)
    # Made while nothing may be signed, the order would only grow old.
    return _may_not_be_signed() or _order_anew(payment, current, actor)


def order_again(payment: HostPayment, current: ExchangeOrder, actor: Actor, reason: str) -> None:
    """ordered → requested: give up an order that nobody paid; the next step makes another one."""
    with transaction.atomic():
        payment.locked()
        current.move(OrderStatus.EXPIRED, actor=actor, reason=reason, is_current=False)
        payment.move(PaymentStatus.REQUESTED, actor=actor, reason=reason)


def is_fundable(current: ExchangeOrder) -> bool:
    """Whether the pay-in address may still be paid: young enough, and well within the provider's own limit."""
    return clock.now() - current.created_at <= FUNDABLE_FOR and is_in_time(current.valid_until)


def is_in_time(valid_until: datetime | None) -> bool:
    """Whether a deposit that is sent now reaches the provider before its limit, if it set one."""
    return valid_until is None or clock.now() + VALIDITY_MARGIN < valid_until


def _order_anew(payment: HostPayment, unanswered: ExchangeOrder | None, actor: Actor) -> Said:
    if unanswered is not None:
        _abandon(unanswered, actor, "no answer to it was stored, and no order of the provider's is known to be it")
    _price(payment)
    held_back = _limits_of_provider(payment) or _value_out_of_band(payment)
    if held_back is not None:
        return held_back
    return _place(payment, actor)


def _adopt_found(payment: HostPayment, found: ExchangeOrder, actor: Actor) -> Said:
    said = adopt(payment, found, actor)
    if isinstance(said, Review) and not deposit_told(ask(found.provider_order_id or "")):
        # Nobody but us wants it, and nobody paid it, so a retry makes another one.
        with transaction.atomic():
            payment.locked()
            _abandon(found, actor, said.reason)
            open_review(payment, said, actor=actor)
    return said


def _may_not_be_signed() -> Wait | None:
    paused = is_paused(Switch.SIGNING)
    if paused is not None:
        return Wait(reason=f"signing is paused: {paused.reason}", after_s=settings.SWEEP_EVERY_S)
    return why_stopped()


def _is_fixed() -> bool:
    return bool(settings.CHANGENOW_FLOW == "fixed-rate")


def _price(payment: HostPayment) -> None:
    """Value the USD without a recorded receipt in ETH, once: the provider's estimate of exactly these USD.

    Of a dollar or two it may have none; then it is their part of the whole payment's.
    """
    if not payment.unpriced_usd or payment.priced_units is not None:
        return
    usdt, whole = usdt_units(payment.unpriced_usd), usdt_units(payment.expected_usd or Decimal(0))
    wei = estimated_units(usdt, whole_units=whole, from_asset=USDT, to_asset=ETH)
    if wei <= 0:
        message = f"the provider values {format_units(usdt, USDT)} at nothing (host payment {payment.pk})"
        raise PermanentError(message)
    HostPayment.objects.filter(pk=payment.pk, priced_units__isnull=True).update(priced_units=wei)
    payment.refresh_from_db(fields=("priced_units",))


def _limits_of_provider(payment: HostPayment) -> Said | None:
    with health.counted(health.EXCHANGE):
        limits: AmountRange = gateways.exchange().amount_range(from_asset=ETH, to_asset=USDT, fixed_rate=_is_fixed())
    amount = from_units(payment.send_units, ETH)
    if amount < limits.minimum:
        return Wait(
            reason=f"{amount:f} ETH is below the provider's minimum of {limits.minimum:f} ETH", after_s=_MINIMUM_WAIT_S
        )
    if limits.maximum is not None and amount > limits.maximum:
        # It does not get smaller by waiting: a person releases the batch, and the next one is claimed within the maximum.
        return Review(reason=f"{amount:f} ETH is above the provider's maximum of {limits.maximum:f} ETH")
    return None


def _value_out_of_band(payment: HostPayment) -> Said | None:
    """Compare what the ETH is worth with what the books say, so that dollars are never sent as ether."""
    if payment.expected_usd is None:
        return None
    amount = from_units(payment.send_units, ETH)
    estimate = _estimate(amount, fixed_rate=False)
    # For the requester, to find which of its parts are not worth what they say.
    payment.valued_usd = estimate.to_amount.quantize(Decimal("1e-8"), rounding="ROUND_DOWN")
    HostPayment.objects.filter(pk=payment.pk).update(valued_usd=payment.valued_usd)
    distance_bps = abs(estimate.to_amount - payment.expected_usd) * _BPS / payment.expected_usd
    if distance_bps > settings.VALUE_BAND_BPS:
        return Review(
            reason=f"{amount:f} ETH is worth {estimate.to_amount:f} USDT by the provider's estimate, the books say"
            f" {payment.expected_usd:f} USD: {distance_bps:.0f} bps apart, {settings.VALUE_BAND_BPS} allowed"
        )
    return None


def _estimate(amount: Decimal, *, fixed_rate: bool) -> Estimate:
    with health.counted(health.EXCHANGE):
        return gateways.exchange().estimate(from_asset=ETH, to_asset=USDT, from_amount=amount, fixed_rate=fixed_rate)


def _place(payment: HostPayment, actor: Actor) -> Said:
    promise = _estimate(from_units(payment.send_units, ETH), fixed_rate=True) if _is_fixed() else None
    intent = _write_intent(payment, actor)
    request = OrderRequest(
        from_asset=ETH,
        to_asset=USDT,
        from_amount=from_units(int(intent.send_units), ETH),
        payout_address=intent.payout_address,
        refund_address=intent.refund_address,
        tag=str(intent.pk),
        rate_id=(promise.rate_id or "") if promise else "",
        promised_to_amount=promise.to_amount if promise else None,
    )
    try:
        with health.counted(health.EXCHANGE):
            placed = gateways.exchange().create_exchange(request)
    except OutcomeUnknownError:
        # The intent stays current and unanswered: it is looked up before another one is made.
        raise
    except RateExpiredError as error:
        _abandon(intent, actor, f"the rate ran out: {error}")
        return Wait(reason=f"{error}; another rate is asked for", after_s=_NEXT_RATE_AFTER_S)
    except (OutOfRangeError, NotAllowedError) as error:
        # The provider's limits and our key's rights change without us: go on by itself when they do.
        _abandon(intent, actor, f"the provider did not take it: {error}")
        return Wait(reason=str(error), after_s=_MINIMUM_WAIT_S)
    except TransientError as error:
        _abandon(intent, actor, f"the provider did not take it: {error}")
        raise
    except PermanentError as error:
        return _give_up(payment, intent, actor, str(error))
    return _store(payment, intent, request, placed, actor)


def _give_up(payment: HostPayment, intent: ExchangeOrder, actor: Actor, reason: str) -> Review:
    """Refused for good, or answered with nonsense: abandoned in the transaction that asks a person, never one of both."""
    said = Review(reason=reason)
    with transaction.atomic():
        payment.locked()
        _abandon(intent, actor, f"the provider did not take it, or its answer is unusable: {reason}")
        open_review(payment, said, actor=actor)
    return said


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
    wrong += wrong_payin(payment, intent, placed.payin_address)
    if not is_in_time(placed.valid_until):
        # Made anew it would be the same, and nothing would ever be paid.
        wrong.append(f"the deposit must be there by {placed.valid_until}, which is too soon")
    if wrong:
        return _refuse(payment, intent, actor, placed, "; ".join(wrong))
    try:
        with transaction.atomic():
            payment.locked()
            intent.move(
                OrderStatus.OPEN,
                actor=actor,
                reason="ordered and verified",
                provider_order_id=placed.order_id,
                payin_address=placed.payin_address,
                expected_units=units_or_none(placed.expected_to_amount),
                valid_until=placed.valid_until,
                placed_answer=placed.raw,
            )
            payment.move(PaymentStatus.ORDERED, actor=actor, reason=f"exchange {placed.order_id} ordered")
    except IntegrityError as error:
        if "payin_address_is_new" not in str(error) and "provider_order_belongs_to_one_order" not in str(error):
            raise
        return _refuse(payment, intent, actor, placed, f"pay-in address {placed.payin_address} or id was used before")
    return Proceed()


def _refuse(payment: HostPayment, intent: ExchangeOrder, actor: Actor, placed: PlacedOrder, wrong: str) -> Review:
    said = Review(reason=f"exchange {placed.order_id} is not what was ordered: {wrong}; nothing was signed")
    with transaction.atomic():
        payment.locked()
        intent.move(
            OrderStatus.ABANDONED,
            actor=actor,
            reason=f"the answer is not what was ordered: {wrong}",
            is_current=False,
            placed_answer=placed.raw,
        )
        open_review(payment, said, actor=actor)
    return said


def _abandon(current: ExchangeOrder, actor: Actor, reason: str) -> None:
    current.move(OrderStatus.ABANDONED, actor=actor, reason=reason, is_current=False)
