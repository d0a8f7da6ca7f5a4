"""What a payment is worth in USD, where the asked price does not say it.

The asked price is what is owed only for an original payment, priced in USD, that the customer paid whole. A repeated
deposit repeats the price of the first, a payment in part is less than its price, and a deposit of another asset may be
called finished whatever came: there the outcome is what is owed, valued by the exchange's own price of one ETH. So it is
where only answers have told of the payment, since they do not name a parent, and where the asked price is further from
what arrived than the band allows: then the accumulation is held as well, and says both figures.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal

from django.conf import settings

from config.lib.columns import USD_LIMIT
from config.lib.errors import SluiceError
from config.lib.money import ETH, USDT, usd_text
from hostpay import gateways
from payouts.models import NowPayment, NowPaymentStatus
from payouts.services.drafts import AmountTooSmallError

_USD_STEP = Decimal("1E-8")
# An outcome has up to 30 digits on either side, a price 20.
_EXACT = Context(prec=100)
# Networks' fees and roundings make a whole payment a little short; what is missing more is a payment in part.
_LEAST_PAID_BPS = 9800
_BPS = 10_000
# The provider's amounts are JavaScript's doubles, which have digits below a wei and below our dollars' last place.
_PLACES = {"price_amount": 8, "outcome_amount": 18}
_DOLLARS = ("usd", "usdt", "usdc")


class UnvaluableError(SluiceError):
    """An outcome that we have no price for, or none that can be right."""

    code = "unvaluable"


def lacks_value(payment: NowPayment) -> bool:
    """Whether the outcome must be valued before the payment can be booked: to be owed, or to be compared with the price."""
    return payment.valued_usd is None and (not _owes_asked_price(payment) or payment.outcome_currency == ETH.ticker)


def owed_usd(payment: NowPayment) -> str:
    """What is owed, in USD as plain text: the asked price, or what the outcome is worth.

    Raises:
        UnvaluableError: that has not been found out.
    """
    if _owes_asked_price(payment) and not why_apart(payment):
        return asked_usd(payment)
    if payment.valued_usd is None:
        raise UnvaluableError(f"Payment {payment.payment_id} has not been valued.")
    return f"{payment.valued_usd:f}"


def why_apart(payment: NowPayment) -> str:
    """How far what arrived is from the asked price, with both figures; empty if it is near, or not to be compared."""
    if not _has_price_of_its_own(payment) or payment.valued_usd is None or payment.eth_usd is None:
        return ""
    asked, band = Decimal(payment.price_amount), settings.PAYMENT_BAND_BPS
    distance = abs(_EXACT.subtract(payment.valued_usd, asked))
    is_near = _EXACT.multiply(distance, Decimal(_BPS)) <= _EXACT.multiply(asked, Decimal(band))
    if is_near or distance <= settings.PAYMENT_BAND_USD:
        return ""
    maybe = "" if payment.is_parent_told else ", unless it is a later deposit to the address of another payment"
    return (
        f"What reached us is worth {usd_text(payment.valued_usd)} at {usd_text(payment.eth_usd)} for one ETH,"
        f" the price asked was {usd_text(asked)}: more than {band} bps apart{maybe}."
    )


def _has_price_of_its_own(payment: NowPayment) -> bool:
    return (
        payment.status == NowPaymentStatus.FINISHED
        and not payment.parent_payment_id
        and payment.price_currency == "usd"
        and bool(payment.price_amount)
    )


def _owes_asked_price(payment: NowPayment) -> bool:
    return payment.is_parent_told and _has_price_of_its_own(payment) and not is_short(payment)


def owes_more_than(payment: NowPayment, booked_usd: Decimal) -> bool:
    """Whether the asked price is what is owed for it, and is more than what was booked."""
    is_owed = _owes_asked_price(payment) and not why_apart(payment)
    return is_owed and Decimal(asked_usd(payment)) > booked_usd


def too_fine(payment: NowPayment) -> dict[str, tuple[str, str]]:
    """The figures finer than the books hold: by column, as they were told, and as they are booked, rounded down."""
    found = {}
    for name, places in _PLACES.items():
        told = getattr(payment, name)
        booked = _cut(told, places)
        if booked != told:
            found[name] = told, booked
    return found


def asked_usd(payment: NowPayment) -> str:
    """The asked price as it is booked."""
    return _cut(payment.price_amount, _PLACES["price_amount"])


def outcome_amount(payment: NowPayment) -> str:
    """The outcome as it is booked."""
    return _cut(payment.outcome_amount, _PLACES["outcome_amount"])


def is_short(payment: NowPayment) -> bool:
    """Whether the customer sent clearly less than was asked for, by the provider's own figures."""
    if not payment.pay_amount or not payment.actually_paid:
        return False
    paid, asked = Decimal(payment.actually_paid), Decimal(payment.pay_amount)
    return _EXACT.multiply(paid, Decimal(_BPS)) < _EXACT.multiply(asked, Decimal(_LEAST_PAID_BPS))


def value_of_outcome(payment: NowPayment) -> tuple[Decimal, Decimal | None]:
    """(USD, rounded down to 8 places; the price of one ETH it was found by, None for dollars).

    Asks the exchange, so never inside of a transaction.

    Raises:
        UnvaluableError: it is neither ETH nor a dollar, or more than the books can hold.
        AmountTooSmallError: it is worth nothing.
        TransientError, PermanentError: the exchange did not tell its price.
    """
    amount, currency = Decimal(payment.outcome_amount), payment.outcome_currency
    price = None
    if currency == ETH.ticker:
        price = gateways.exchange().estimate(from_asset=ETH, to_asset=USDT, from_amount=Decimal(1)).to_amount
        worth = _EXACT.multiply(amount, price)
    elif currency == "usd" or currency.startswith(_DOLLARS[1:]):
        worth = amount
    else:
        raise UnvaluableError(
            f"The outcome is {amount:f} {currency or 'of nothing named'}, which we have no price for."
        )
    usd = worth.quantize(_USD_STEP, rounding=ROUND_DOWN, context=_EXACT)
    if not usd:
        raise AmountTooSmallError(f"The outcome of {amount:f} {currency} is worth nothing in USD.")
    if max(usd, price or usd) >= USD_LIMIT:
        raise UnvaluableError(f"The outcome of {amount:f} {currency} is worth more than there is.")
    return usd, price


def _cut(amount: str, places: int) -> str:
    """A plain amount rounded down to so many decimals; one that has no more stays as it is."""
    whole, _, decimals = amount.partition(".")
    if len(decimals) <= places:
        return amount
    return f"{whole}.{decimals[:places]}".rstrip("0").rstrip(".")
