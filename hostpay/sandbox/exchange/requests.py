"""A request as the handlers see it, and how they read its fields."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hostpay.sandbox.exchange.assets import BY_KEY, Currency
from hostpay.sandbox.exchange.errors import ApiError, not_valid

AMOUNT = re.compile(r"\d{1,20}(\.\d{1,18})?", re.ASCII)
MAX_PAYLOAD_FIELDS, MAX_PAYLOAD_TEXT = 5, 64


@dataclass(frozen=True, kw_only=True)
class Request:
    """`owner` is a fingerprint of the caller's API key, None when it gave none that is known."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    owner: str | None
    is_operator: bool

    def json(self) -> dict[str, Any]:
        """The body as an object, numbers as Decimals. Raises ApiError."""
        try:
            body = json.loads(self.body or b"{}", parse_float=Decimal, parse_int=Decimal)
        except ValueError as error:
            raise not_valid("Body is not valid JSON") from error
        if not isinstance(body, dict):
            raise not_valid("Body is not an object")
        return body


def text(fields: Mapping[str, Any], name: str) -> str | None:
    """The field, None when it is missing, null or blank. Raises ApiError."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise not_valid(f"{name} must be a string")
    return value


def required(fields: Mapping[str, Any], name: str) -> str:
    value = text(fields, name)
    if value is None:
        raise not_valid(f"{name} is required")
    return value


def amount(fields: Mapping[str, Any], name: str) -> Decimal:
    """A positive amount, given as a string or as a number. Raises ApiError."""
    value = fields.get(name)
    if value is None or value == "":
        raise not_valid(f"{name} is required")
    written = f"{value:f}" if isinstance(value, Decimal) and value.is_finite() else value
    if not isinstance(written, str) or not AMOUNT.fullmatch(written) or Decimal(written) == 0:
        raise not_valid(f"{name} is not a valid amount")
    return Decimal(written)


def choice(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """One of the words; the first when it is not given. Raises ApiError."""
    value = text(fields, name) or choices[0]
    if value not in choices:
        raise not_valid(f"{name} must be one of {', '.join(choices)}")
    return value


def currency(fields: Mapping[str, Any], side: str) -> Currency:
    """The currency of one side, `from` or `to`. Without a network its own is meant. Raises ApiError."""
    ticker = required(fields, f"{side}Currency")
    network = text(fields, f"{side}Network")
    for found in BY_KEY.values():
        if found.ticker == ticker and network in {None, found.network}:
            return found
    raise not_valid(f"Currency {ticker} is not supported")


def payload(fields: Mapping[str, Any]) -> str | None:
    """The partner's own object, as JSON text. Raises ApiError."""
    value = fields.get("payload")
    if value is None or value == "":
        return None
    good = isinstance(value, dict) and len(value) <= MAX_PAYLOAD_FIELDS
    if not good or any(not isinstance(item, str) or len(item) > MAX_PAYLOAD_TEXT for item in value.values()):
        raise ApiError(400, "not_valid_params", "payload is not valid")
    return json.dumps(value)
