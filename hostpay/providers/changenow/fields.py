"""Reads single fields of the provider's answers: strict about money and identity, tolerant about the rest.

Absent optional values come as missing, null or "" (all three were seen), amounts as bare JSON numbers or as strings, and
times with or without their `Z`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from config.lib.errors import TransientError
from config.lib.money import Asset, InexactJsonError, MoneyError, UnknownAssetError, asset_of, loads_exact, parse_money
from hostpay.providers.changenow.errors import BadAnswerError

# Above all money there is, and with eighteen decimals still within the 28 digits that decimals keep.
_MOST = Decimal(10) ** 9
# A limit may be told as a figure that stands for none.
_MOST_AS_LIMIT = Decimal(10) ** 30
_FINEST_EXPONENT: Final = -30
_ORDER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_TEXT: Final = 256
_LONGEST_HASH: Final = 66


def json_of_read(body: bytes, *, asked: str) -> Any:
    """The JSON of an answer to a question.

    Raises:
        TransientError: it is not JSON. A gate-keeper's page stands before the provider now and then, and goes again.
    """
    try:
        return loads_exact(body)
    except InexactJsonError as error:
        raise TransientError(f"{asked}: the answer is unreadable ({error})") from None


class Fields:
    """One JSON object of an answer, with the words to complain about it.

    Raises (by every method): BadAnswerError, naming the question and the field.
    """

    def __init__(self, content: object, *, asked: str) -> None:
        if not isinstance(content, Mapping):
            raise BadAnswerError(f"{asked}: the answer is not an object")
        self.content: Mapping[str, Any] = content
        self._asked = asked

    def part(self, name: str) -> Fields:
        """The object in field `name`, an empty one if it is absent."""
        return Fields(self.content.get(name) or {}, asked=f"{self._asked}, {name}")

    def order_id(self, name: str) -> str:
        """An id that fits into our books and into a query."""
        found = self.content.get(name)
        if not isinstance(found, str) or _ORDER_ID.fullmatch(found) is None:
            raise self._bad(name, "is no order id")
        return found

    def text(self, name: str) -> str:
        """A text that must be there."""
        found = self.text_or_none(name)
        if found is None:
            raise self._bad(name, "is missing")
        return found

    def text_or_none(self, name: str) -> str | None:
        found = self.content.get(name)
        if found is None or found == "":
            return None
        if not isinstance(found, str) or len(found) > _LONGEST_TEXT:
            raise self._bad(name, f"is no text of up to {_LONGEST_TEXT} characters")
        return found

    def hash_or_none(self, name: str) -> str | None:
        """A transaction hash as our books spell it; None if it is longer than any we know."""
        found = self.content.get(name)
        if not isinstance(found, str) or not 0 < len(found) <= _LONGEST_HASH:
            return None
        return found.lower() if found.startswith("0x") else found

    def time_or_none(self, name: str) -> datetime | None:
        """Without an offset it is UTC; what is no time counts as absent."""
        found = self.content.get(name)
        if not isinstance(found, str):
            return None
        try:
            moment = datetime.fromisoformat(found)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def amount(self, name: str) -> Decimal:
        """An amount above zero that must be there."""
        found = self.amount_or_none(name)
        if not found:
            raise self._bad(name, "is missing or zero" if found is None else "is zero")
        return found

    def amount_or_none(self, name: str) -> Decimal | None:
        """An amount of zero or more, and of less than any account holds."""
        return self._amount_below(name, _MOST)

    def limit_or_none(self, name: str) -> Decimal | None:
        """The least or the most that may be sold: nothing is computed with it."""
        return self._amount_below(name, _MOST_AS_LIMIT)

    def _amount_below(self, name: str, most: Decimal) -> Decimal | None:
        found = self.content.get(name)
        if found is None or found == "":
            return None
        amount = self._string_amount(name, found) if isinstance(found, str) else _number(found)
        if amount is None or amount.is_signed() or amount > most:
            raise self._bad(name, "is no amount of money")
        if int(amount.as_tuple().exponent) < _FINEST_EXPONENT:
            raise self._bad(name, "is finer than any coin")
        return amount

    def asset_or_none(self, ticker: str, network: str) -> Asset | None:
        """The asset of two fields; None if it is not told, or one we do not handle."""
        said = self.content.get(ticker), self.content.get(network)
        if not isinstance(said[0], str) or not isinstance(said[1], str):
            return None
        try:
            return asset_of(said[0], said[1])
        except UnknownAssetError:
            return None

    def _string_amount(self, name: str, found: str) -> Decimal:
        try:
            return parse_money(found, max_integer_digits=30, max_decimals=-_FINEST_EXPONENT, field=name)
        except MoneyError as error:
            raise BadAnswerError(f"{self._asked}: {error}") from None

    def _bad(self, name: str, what: str) -> BadAnswerError:
        return BadAnswerError(f"{self._asked}: {name} {what}")


def _number(found: object) -> Decimal | None:
    if isinstance(found, Decimal):
        return found
    # True is an int to Python, and no money.
    return Decimal(found) if type(found) is int else None
