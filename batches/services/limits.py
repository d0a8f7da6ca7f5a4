"""How much one conversion may sell: what the exchange takes at once, and what we let out in one payment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from config.lib.errors import ProviderError
from config.lib.money import ETH, format_units
from hostpay import services as hostpay

logger = logging.getLogger(__name__)

# A price is read now and paid later; ETH may be cheaper by then, so the dollars take more room than they need now.
_ROOM_FOR_THE_PRICE = Fraction(105, 100)
# The price is asked for an amount of a batch's size: for less, the exchange may refuse to say one.
_LEAST_PRICED_USD = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one conversion can take, in wei.

    `min_wei` is the provider's, None if it was not told. `max_wei` is the lower of the provider's maximum and of what
    may leave in one payment of ours, which bounds the batch whatever the provider says. `wei_per_usd` is the most a
    dollar without a recorded receipt is expected to take, None if there is none to value, or no price was told.
    """

    min_wei: int | None
    max_wei: int
    wei_per_usd: int | None = None

    @property
    def minimum_text(self) -> str:
        return "an unknown amount" if self.min_wei is None else format_units(self.min_wei, ETH)

    @property
    def maximum_text(self) -> str:
        return format_units(self.max_wei, ETH)


def read_limits(*, priced_usd: Decimal = Decimal(0)) -> Limits:
    """The provider's range within ours (one call), and its price (another one) if there are USD to value.

    What the provider does not tell is left out: our own maximum holds all the same, and the order asks again.

    Args:
        priced_usd: about how many USD a batch converts by their price; zero if none.
    """
    ours = hostpay.most_wei_at_once()
    wei_per_usd = _read_price(priced_usd) if priced_usd else None
    try:
        found = hostpay.exchange_range()
    except ProviderError as error:
        logger.warning("provider range not read", extra={"error": str(error)})
        return Limits(min_wei=None, max_wei=ours, wei_per_usd=wei_per_usd)
    # Rounded to the safe side, should the provider name more decimals than the coin has.
    theirs = ours if found.maximum is None else floor(Fraction(found.maximum) * ETH.units_per_one)
    return Limits(
        min_wei=ceil(Fraction(found.minimum) * ETH.units_per_one), max_wei=min(ours, theirs), wei_per_usd=wei_per_usd
    )


def _read_price(usd: Decimal) -> int | None:
    asked = max(usd, _LEAST_PRICED_USD).quantize(Decimal("0.000001"))
    try:
        wei = hostpay.wei_of_usd(usd=asked)
    except ProviderError as error:
        logger.warning("provider price not read", extra={"error": str(error)})
        return None
    return ceil(Fraction(wei) / Fraction(asked) * _ROOM_FOR_THE_PRICE)
