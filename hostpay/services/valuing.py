"""What the provider would give for an amount, in whole units of what it gives."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import floor

from config.lib.money import USDT, Asset, from_units, to_units
from hostpay import gateways
from hostpay.providers.changenow import OutOfRangeError
from hostpay.services import health


def estimated_units(units: int, *, whole_units: int, from_asset: Asset, to_asset: Asset) -> int:
    """The provider's estimate of exactly these units, rounded down.

    What is too little for the provider to say anything about it has its part in the estimate of the whole.

    Args:
        whole_units: what they are a part of, and are exchanged together with.

    Raises:
        OutOfRangeError: the whole is too little as well, or too much.
        ProviderError: the provider did not answer.
    """
    try:
        return _estimate(units, from_asset, to_asset)
    except OutOfRangeError:
        if whole_units <= units:
            raise
    return _estimate(whole_units, from_asset, to_asset) * units // whole_units


def usdt_units(amount: Decimal) -> int:
    """Units of the token in so many dollars, or in a figure of the provider's: it has six places where those have eight.

    Rounding down keeps it from promising more.

    Raises:
        AmountError: negative, or too large.
    """
    return to_units(amount.quantize(Decimal("0.000001"), rounding="ROUND_DOWN"), USDT)


def _estimate(units: int, from_asset: Asset, to_asset: Asset) -> int:
    with health.counted(health.EXCHANGE):
        estimate = gateways.exchange().estimate(
            from_asset=from_asset, to_asset=to_asset, from_amount=from_units(units, from_asset)
        )
    return floor(Fraction(estimate.to_amount) * to_asset.units_per_one)
