"""Amounts and JSON as the exchange writes them: bare numbers, laid out as JavaScript does."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

SHOWN_DECIMALS = 8


@dataclass(frozen=True)
class Raw:
    """JSON text that goes out as it is, whatever it is: for answers no sane server would give."""

    text: str


Json = None | bool | int | str | Decimal | Raw | Sequence["Json"] | Mapping[str, "Json"]


def js_number(value: Decimal) -> str:
    """The number as JavaScript prints it (ECMA-262, Number::toString), for up to 15 significant digits.

    Below 0.000001 that is 1e-7 or 1.5e-7; trailing zeros never appear.
    """
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, str):
        raise ValueError(f"{value} is not a number JSON can hold")  # noqa: TRY004 (its value is wrong, not its type)
    text = "".join(map(str, digits)).lstrip("0")
    significant = text.rstrip("0")
    if not significant:
        return "0"
    point = len(text) + exponent
    return ("-" if sign else "") + _laid_out(significant, point)


def _laid_out(digits: str, point: int) -> str:
    """`digits` with the decimal point after the first `point` of them."""
    if point > 21 or point <= -6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{digits[0]}{fraction}e{point - 1:+d}"
    if point <= 0:
        return "0." + "0" * -point + digits
    if point >= len(digits):
        return digits + "0" * (point - len(digits))
    return f"{digits[:point]}.{digits[point:]}"


def dumps(value: Json) -> str:
    """JSON with Decimals as bare numbers."""
    if isinstance(value, Decimal):
        return js_number(value)
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}:{dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def from_units(units: int, decimals: int) -> Decimal:
    """Base units as whole coins, exactly."""
    return Decimal(units).scaleb(-decimals)


def shown(value: Decimal, decimals: int) -> Decimal:
    """The amount with as many decimals as the exchange deals in: the coin's own, eight at most, rounded down."""
    return value.quantize(Decimal(1).scaleb(-min(decimals, SHOWN_DECIMALS)), rounding=ROUND_DOWN)
