"""What an accumulation will say, worked out from a payment's facts and its client's terms alone."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from django.conf import settings

from config.lib.errors import SluiceError
from config.lib.money import ETH, fee_of, parse_coin_amount, split_fee_wei
from payouts.models import AccumulationStatus, Strategy
from payouts.services.facts import PaymentFacts

_EIGHT_PLACES = Decimal("1E-8")
# An enumeration's member is asked for its value by way of Python's slowest look-up.
PENDING, HELD = AccumulationStatus.PENDING.value, AccumulationStatus.HELD.value
_INSTANT_HOLD = "Instant client: payouts to clients are not built yet."


class AmountTooSmallError(SluiceError):
    """After the fee nothing would be owed."""

    code = "amount_too_small"


class Terms(NamedTuple):
    """What of a client goes into its accumulations; `fee_percent` None means the platform's."""

    client_id: int
    strategy: str
    wallet_address: str
    payout_currency: str
    payout_network: str
    fee_percent: Decimal | None


class Draft(NamedTuple):
    """The columns of an accumulation to be inserted, by their names.

    A tuple and not the model: making an instance takes as long as all the arithmetic here.
    """

    source: str
    payment_id: str
    client_id: int
    user_id: str
    subscription_id: str
    status: str
    hold_reason: str
    gross_usd: Decimal
    fee_percent: Decimal
    fee_usd: Decimal
    pending_usd_amount: Decimal
    outcome_currency: str
    outcome_amount: str
    received_wei: int | None
    fee_wei: int | None
    net_wei: int | None
    wallet_address: str
    payout_currency: str
    payout_network: str
    content_sha256: str
    paid_at: datetime | None


def draft_of(facts: PaymentFacts, terms: Terms) -> Draft:
    """The accumulation of this payment.

    Raises:
        AmountTooSmallError: the fee would take all of it.
    """
    percent = settings.PLATFORM_FEE_PERCENT if terms.fee_percent is None else terms.fee_percent
    gross_usd = facts.amount_usd.quantize(_EIGHT_PLACES)
    fee_usd = fee_of(gross_usd, percent)
    if fee_usd >= gross_usd:
        raise AmountTooSmallError(
            f"Of {gross_usd:f} USD the fee of {percent.normalize():f} % leaves nothing;"
            f" the smallest amount that does is {smallest_amount_usd(percent):f} USD."
        )
    received_wei, fee_wei, net_wei = _receipt(facts, percent)
    hold_reason = _hold_reason(facts, terms)
    return Draft(
        source=facts.source,
        payment_id=facts.payment_id,
        client_id=terms.client_id,
        user_id=facts.user_id,
        subscription_id=facts.subscription_id,
        status=HELD if hold_reason else PENDING,
        hold_reason=hold_reason,
        gross_usd=gross_usd,
        fee_percent=percent,
        fee_usd=fee_usd,
        pending_usd_amount=gross_usd - fee_usd,
        outcome_currency=facts.outcome_currency,
        outcome_amount=facts.outcome_amount,
        received_wei=received_wei,
        fee_wei=fee_wei,
        net_wei=net_wei,
        wallet_address=terms.wallet_address,
        payout_currency=terms.payout_currency,
        payout_network=terms.payout_network,
        content_sha256=facts.content_sha256(),
        paid_at=facts.paid_at,
    )


def voided(draft: Draft) -> Draft:
    """The same payment, for which nothing is owed."""
    return draft._replace(status=AccumulationStatus.VOIDED.value, hold_reason="")


def smallest_amount_usd(percent: Decimal) -> Decimal:
    """The smallest gross amount of which a fee of `percent` leaves something; USD, 8 places."""
    # Half a step must remain; where it is exactly half, half-even decides, so the guess starts below and is tried.
    guess = (Decimal("5E-7") / (100 - percent)).quantize(_EIGHT_PLACES, rounding=ROUND_FLOOR)
    amount = max(_EIGHT_PLACES, guess)
    while fee_of(amount, percent) >= amount:
        amount += _EIGHT_PLACES
    return amount


def _receipt(facts: PaymentFacts, percent: Decimal) -> tuple[int, int, int] | tuple[None, None, None]:
    """Wei received, kept as fee, and left for the batch; nothing if no ETH was recorded."""
    if facts.outcome_currency.lower() != ETH.ticker:
        return None, None, None
    received_wei = parse_coin_amount(facts.outcome_amount, ETH, field="outcome_amount")
    fee_wei, net_wei = split_fee_wei(received_wei, percent)
    if net_wei <= 0:
        raise AmountTooSmallError("The outcome_amount is zero ETH; the smallest amount is 1 wei.")
    return received_wei, fee_wei, net_wei


def _hold_reason(facts: PaymentFacts, terms: Terms) -> str:
    """Why a person must look at the payment first; empty if nobody must."""
    if facts.hold_reason:
        return facts.hold_reason
    if facts.amount_usd > settings.MAX_PAYMENT_USD:
        return f"Above the limit of {settings.MAX_PAYMENT_USD.normalize():f} USD for one payment."
    if facts.outcome_currency and facts.outcome_currency.lower() != ETH.ticker:
        return f"Arrived in {facts.outcome_currency.upper()}: only ETH is converted in batches."
    if terms.strategy == Strategy.INSTANT:
        return _INSTANT_HOLD
    return ""
