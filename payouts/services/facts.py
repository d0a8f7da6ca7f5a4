"""From the bytes of a delivery to the facts of a payment: strict, so that nothing is guessed about money."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from config.lib.errors import SluiceError
from config.lib.money import InexactJsonError, MoneyError, loads_exact, number_text, parse_money
from config.lib.problems import FieldError, InvalidFieldsError

CURRENCY = re.compile(r"[A-Za-z0-9]{2,16}")
# What arrived of any asset: no known one has more than 18 decimals, and 30 digits before them hold any supply.
COIN_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,29})(\.[0-9]{1,18})?")


class InvalidJsonError(SluiceError):
    """The body is not a JSON object as we accept it."""

    code = "invalid_json"


class PaymentFacts(NamedTuple):
    """What a sender says about one payment.

    A tuple: a frozen dataclass takes four times as long to make. `outcome_amount` and `outcome_currency` are both empty
    when the sender did not say what arrived.
    """

    source: str
    payment_id: str
    client_id: str
    user_id: str
    amount_usd: Decimal
    subscription_id: str = ""
    outcome_amount: str = ""
    outcome_currency: str = ""
    paid_at: datetime | None = None
    # Why a person must look at it first, beside the reasons found in the facts; no part of the content.
    hold_reason: str = ""

    def content_sha256(self) -> str:
        """Of the payment's content in one canonical form: the same payment again has the same hash.

        `10` and `10.00` are the same amount, `ETH` and `eth` the same asset, and a time is the moment it names.
        """
        canonical = (
            self.source,
            self.payment_id,
            self.client_id,
            self.user_id,
            _plain(f"{self.amount_usd:f}"),
            self.subscription_id,
            _plain(self.outcome_amount),
            self.outcome_currency.lower(),
            self.paid_at.astimezone(UTC).isoformat() if self.paid_at else "",
        )
        # As json.dumps writes a list of strings, in half the time.
        text = f"[{', '.join(map(encode_basestring_ascii, canonical))}]"
        return hashlib.sha256(text.encode()).hexdigest()


def read_facts(body: bytes, *, source: str) -> PaymentFacts:
    """The payment that a body of `POST /api/v1/payments/` tells of.

    Raises:
        InvalidJsonError: not one JSON object (also: duplicate keys, NaN, nested too deep).
        InvalidFieldsError: fields that are missing, unknown or malformed, all of them told at once.
    """
    try:
        content = loads_exact(body)
    except InexactJsonError as error:
        raise InvalidJsonError(f"The body is refused: {error}.") from None
    if not isinstance(content, dict):
        raise InvalidJsonError("The body must be one JSON object.")
    return facts_of(content, source=source)


def named_in(body: bytes) -> tuple[str, str]:
    """The payment id and the client id that a body names, each empty if it names none; whatever else it says."""
    try:
        content = loads_exact(body)
    except InexactJsonError:
        return "", ""
    if not isinstance(content, dict):
        return "", ""
    return _named(content, "payment_id"), _named(content, "client_id")


def _named(content: Mapping[str, Any], field: str) -> str:
    read, _ = _FIELDS[field]
    try:
        return str(read(content.get(field)))
    except _RuleError:
        return ""


def facts_of(content: Mapping[str, Any], *, source: str) -> PaymentFacts:
    """The payment that a decoded JSON object tells of.

    Raises:
        InvalidFieldsError: fields that are missing, unknown or malformed, all of them told at once.
    """
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, (read, is_required) in _FIELDS.items():
        value = content.get(name)
        if value is None:
            if is_required:
                errors.append(FieldError(name, "required", "is required"))
            continue
        try:
            found[name] = read(value)
        except _RuleError as broken:
            errors.append(FieldError(name, "invalid", str(broken)))
    if not content.keys() <= _FIELDS.keys():
        unknown = (name for name in content if name not in _FIELDS)
        errors += [FieldError(name[:64], "unknown_field", "is not known here") for name in unknown]
    if ("outcome_amount" in found) != ("outcome_currency" in found) and not errors:
        errors.append(FieldError("outcome_amount", "incomplete", "comes together with outcome_currency or not at all"))
    if errors:
        raise InvalidFieldsError(errors)
    return PaymentFacts(source=source, **found)


class _RuleError(Exception):
    """A value breaks its field's rule; the text is the rule."""


def _word(limit: int) -> Callable[[Any], str]:
    is_one = re.compile(rf"[\x21-\x7e]{{1,{limit}}}").fullmatch

    def read(value: Any) -> str:
        # Payment systems number their payments; a number and its digits are the same id.
        text = str(value) if type(value) is int else value
        if isinstance(text, str) and is_one(text):
            return text
        raise _RuleError(f"must be 1 to {limit} printable ASCII characters without spaces")

    return read


def _optional_word(limit: int) -> Callable[[Any], str]:
    read = _word(limit)
    return lambda value: "" if value == "" else read(value)


def _usd(value: Any) -> Decimal:
    try:
        amount = parse_money(_number_text(value), field="amount_usd")
    except MoneyError:
        raise _RuleError("must be a plain decimal number with at most 12 digits before and 8 after the point") from None
    if not amount:
        raise _RuleError("must be above zero")
    return amount


def _coin_amount(value: Any) -> str:
    text = _number_text(value)
    if not COIN_AMOUNT.fullmatch(text):
        raise _RuleError("must be a plain decimal number with at most 30 digits before and 18 after the point")
    return text


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not CURRENCY.fullmatch(value):
        raise _RuleError("must be the ticker of an asset, 2 to 16 letters and digits")
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _RuleError("must be a time in ISO 8601 with its offset from UTC")


def _number_text(value: Any) -> str:
    """A number as its sender wrote it: as text, or as a JSON number without an exponent."""
    text = number_text(value)
    if isinstance(text, str):
        return text
    raise _RuleError("must be a plain decimal number, best as a string")


def _plain(amount: str) -> str:
    """One text for one number that is written without an exponent: no trailing zeros."""
    return amount.rstrip("0").rstrip(".") if "." in amount else amount


_FIELDS: Mapping[str, tuple[Callable[[Any], Any], bool]] = {
    "payment_id": (_word(128), True),
    "client_id": (_word(64), True),
    "user_id": (_word(64), True),
    "amount_usd": (_usd, True),
    "subscription_id": (_optional_word(128), False),
    "outcome_amount": (_coin_amount, False),
    "outcome_currency": (_currency, False),
    "paid_at": (_moment, False),
}

FIELD_NAMES = tuple(_FIELDS)
