"""Money: decimals at the edges, whole base units inside, a float nowhere.

Every function here is exact or raises; the two that round, `fee_of` and `split_fee_wei`, say how.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from config.lib.errors import SluiceError
from config.lib.exact_json import InexactJsonError, MoneyError, dumps_exact, loads_exact, plain

__all__ = (
    "ASSETS",
    "ETH",
    "MAX_UNITS",
    "USD",
    "USDC",
    "USDT",
    "AmountError",
    "Asset",
    "InexactJsonError",
    "MoneyError",
    "UnknownAssetError",
    "asset_of",
    "dumps_exact",
    "fee_of",
    "format_units",
    "from_units",
    "is_plain_decimal",
    "loads_exact",
    "number_text",
    "parse_coin_amount",
    "parse_money",
    "plain",
    "split_fee_wei",
    "to_units",
    "usd_text",
)

MAX_UNITS: Final = 10**78 - 1
"""The most base units a column holds: more than any uint256."""

_MOST_USD: Final = Decimal(MAX_UNITS)
_USD_STEP: Final = Decimal("0.00000001")
_FINEST_PERCENT: Final = Decimal("1E-18")
# A uint256 has 78 digits; times a percentage that is still far below. The default context keeps 28.
_EXACT: Final = Context(prec=400)
# For moving the point alone, which must not cost a digit of however long a number.
_UNROUNDED: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_PLAIN_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_MOST_COIN_DIGITS: Final = 30
_LONGEST_SHOWN: Final = 40
_MOST_WRITTEN_DECIMALS: Final = 18


class AmountError(MoneyError):
    """What should be an amount of money is none, or not an exact one.

    Attributes:
        field: where it stood.
        rule: what it should have been.
    """

    code = "invalid_amount"

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field} {rule}")
        self.field = field
        self.rule = rule


class UnknownAssetError(SluiceError):
    """An asset we do not handle, so that its precision must not be guessed."""

    code = "unknown_asset"


@dataclass(frozen=True, slots=True)
class Asset:
    """A currency on a network, as the swap provider spells them; one base unit is 10^-decimals of it."""

    ticker: str
    network: str
    decimals: int

    @property
    def units_per_one(self) -> int:
        return int(10**self.decimals)

    def __str__(self) -> str:
        return f"{self.ticker}/{self.network}" if self.network else self.ticker


ETH: Final = Asset("eth", "eth", 18)
USDT: Final = Asset("usdt", "eth", 6)
USDC: Final = Asset("usdc", "eth", 6)
USD: Final = Asset("usd", "", 8)

ASSETS: Final = {(asset.ticker, asset.network): asset for asset in (ETH, USDT, USDC, USD)}


def asset_of(ticker: str, network: str) -> Asset:
    """The asset of that name.

    Raises:
        UnknownAssetError: we do not handle it.
    """
    try:
        return ASSETS[ticker.lower(), network.lower()]
    except KeyError:
        raise UnknownAssetError(f"asset {_shown(f'{ticker}/{network}')} is not one we handle") from None


def parse_money(text: object, *, max_integer_digits: int = 12, max_decimals: int = 8, field: str) -> Decimal:
    """The amount a string of ASCII digits says: no sign, exponent, white space, separator or leading zero.

    Zero is an amount; whether it makes sense is the caller's rule.

    Raises:
        AmountError: anything else, numbers included: a JSON number may have been a float on its way.
    """
    _digits_of(text, max_integer_digits, max_decimals, field=field)
    return Decimal(str(text))


def is_plain_decimal(text: str) -> bool:
    """Whether it is ASCII digits, with or without a point: no sign, exponent, white space, separator or leading zero."""
    return _PLAIN_DECIMAL.fullmatch(text) is not None


def number_text(value: object) -> object:
    """A JSON number as it was written, if it was written plainly: whole, or with a point; anything else as it is.

    The parser marks an exponent by a type of its own, since 1.5e1 and 15 are the same value.
    """
    if type(value) is int:
        return str(value)
    if type(value) is Decimal and value.is_finite() and -_MOST_WRITTEN_DECIMALS <= int(value.as_tuple().exponent) <= 0:
        return f"{value:f}"
    return value


def parse_coin_amount(text: object, asset: Asset, *, field: str) -> int:
    """Base units of `asset` in a plain decimal string.

    Raises:
        AmountError: not such a string, or finer than the asset's base unit.
    """
    whole, decimals = _digits_of(text, _MOST_COIN_DIGITS, asset.decimals, field=field)
    return int(whole + decimals.ljust(asset.decimals, "0"))


def _digits_of(text: object, most_whole: int, most_decimals: int, *, field: str) -> tuple[str, str]:
    """The digits before the point and those after it."""
    # An exact type: a subclass of str may answer differently each time it is asked.
    if type(text) is str and len(text) <= most_whole + 1 + most_decimals:
        match = _PLAIN_DECIMAL.fullmatch(text)
        if match is not None:
            whole, decimals = match.groups("")
            if len(whole) <= most_whole and len(decimals) <= most_decimals:
                return whole, decimals
    rule = f"must be a string like 12.5, with at most {most_whole} digits before the point"
    raise AmountError(field, f"{rule} and {most_decimals or 'none'} after it")


def to_units(amount: Decimal, asset: Asset) -> int:
    """Base units, exactly.

    Raises:
        AmountError: negative, not finite, too large for a column, or finer than the asset's base unit.
    """
    if type(amount) is not Decimal or not amount.is_finite() or amount.is_signed():
        raise _unfit(amount, asset, "must be a Decimal of at least 0")
    if not amount:
        return 0
    # The exponent is looked at before any arithmetic: 1E+999999999 and 1E-999999999 must not be written out.
    if amount.adjusted() + asset.decimals > len(str(MAX_UNITS)):
        raise _unfit(amount, asset, "is too large")
    if amount.adjusted() < -asset.decimals:
        raise _unfit(amount, asset, f"has more than {asset.decimals} decimals")
    scaled = amount.scaleb(asset.decimals, context=_UNROUNDED)
    units = int(scaled)
    if units != scaled:
        raise _unfit(amount, asset, f"has more than {asset.decimals} decimals")
    if units > MAX_UNITS:
        raise _unfit(amount, asset, "is too large")
    return units


def _unfit(amount: Decimal, asset: Asset, rule: str) -> AmountError:
    return AmountError(f"amount {_shown(str(amount))} of {asset}", rule)


def from_units(units: int, asset: Asset) -> Decimal:
    """The amount that so many base units are, without trailing zeros, exactly.

    Raises:
        AmountError: negative, or not a whole number.
    """
    if type(units) is not int or units < 0:
        raise AmountError(f"{_shown(str(units))} units of {asset}", "must be a whole number of at least 0")
    whole, rest = divmod(units, asset.units_per_one)
    digits = f"{rest:0{asset.decimals}d}".rstrip("0") if rest else ""
    return Decimal(f"{whole}.{digits}") if digits else Decimal(whole)


def format_units(units: int, asset: Asset) -> str:
    """For people: exact, with the ticker, as in `0.25 ETH`."""
    return f"{from_units(units, asset):f} {asset.ticker.upper()}"


def usd_text(amount: Decimal | int) -> str:
    """For people: exact, with thousands' separators and at least two decimals, as in `$1,234.50`."""
    whole, _, decimals = f"{Decimal(amount):,f}".partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"


def fee_of(gross_usd: Decimal, percent: Decimal) -> Decimal:
    """The platform's fee in USD: `gross_usd * percent / 100`, half-even to 8 places.

    Raises:
        AmountError: a negative or infinite gross, or a percentage outside 0 to 100.
    """
    if not gross_usd.is_finite() or not 0 <= gross_usd <= _MOST_USD:
        raise AmountError(f"gross {_shown(str(gross_usd))} USD", "must be at least 0, and a number of this world")
    fee = _EXACT.multiply(gross_usd, _rate_of(percent).share)
    return fee.quantize(_USD_STEP, ROUND_HALF_EVEN, _EXACT)


def split_fee_wei(received_wei: int, percent: Decimal) -> tuple[int, int]:
    """(fee_wei, net_wei): the fee is rounded down to the wei, and the two sum to `received_wei`.

    Raises:
        AmountError: a negative receipt, or a percentage outside 0 to 100.
    """
    if type(received_wei) is not int or received_wei < 0:
        raise AmountError(f"receipt of {_shown(str(received_wei))} wei", "must be a whole number of at least 0")
    rate = _rate_of(percent)
    fee_wei = received_wei * rate.numerator // rate.denominator
    return fee_wei, received_wei - fee_wei


class _Rate(NamedTuple):
    """What of an amount is the fee, exactly: as a decimal, and as a fraction of whole numbers."""

    share: Decimal
    numerator: int
    denominator: int


def _rate_of(percent: Decimal) -> _Rate:
    # Asked before its hash is, which a signalling NaN refuses to have.
    if not percent.is_finite():
        raise _no_percentage(percent)
    return _finite_rate_of(percent)


# Some percentages, and many payments with each.
@lru_cache(maxsize=1000)
def _finite_rate_of(percent: Decimal) -> _Rate:
    if not 0 <= percent <= 100:
        raise _no_percentage(percent)
    # Finer percentages are nobody's, and 1E-999999999 would be written out.
    rounded = percent.quantize(_FINEST_PERCENT, context=_EXACT)
    if rounded != percent:
        raise _no_percentage(percent)
    share = rounded.scaleb(-2, _EXACT)
    return _Rate(share, *share.as_integer_ratio())


def _no_percentage(percent: Decimal) -> AmountError:
    return AmountError(f"fee percentage {_shown(str(percent))}", "must be from 0 to 100, of at most 18 decimals")


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
