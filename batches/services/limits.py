"""What the exchange takes at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from config.lib.errors import ProviderError
from config.lib.money import ETH, format_units
from hostpay import services as hostpay

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In wei: the provider's minimum, and the lower of its maximum and what may leave in one payment of ours."""

    min_wei: int
    max_wei: int | None

    @property
    def minimum_text(self) -> str:
        return format_units(self.min_wei, ETH)

    @property
    def maximum_text(self) -> str:
        return "any amount" if self.max_wei is None else format_units(self.max_wei, ETH)


def read_limits() -> Limits | None:
    """The provider's range within ours (one call), or None when it could not be read: the order then meets the rule itself."""
    try:
        found = hostpay.exchange_range()
    except ProviderError as error:
        logger.warning("provider range not read", extra={"error": str(error)})
        return None
    # Rounded to the safe side, should the provider name more decimals than the coin has.
    theirs = None if found.maximum is None else floor(Fraction(found.maximum) * ETH.units_per_one)
    ours = hostpay.most_wei_at_once()
    return Limits(
        min_wei=ceil(Fraction(found.minimum) * ETH.units_per_one), max_wei=ours if theirs is None else min(ours, theirs)
    )
