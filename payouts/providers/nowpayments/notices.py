"""What NOWPayments says about a payment, in a notification or in an answer: strict about money and identity.

The two differ in their types (ids are numbers here and strings there, times are epoch milliseconds or ISO 8601), so ids
are read as text and times either way.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from config.lib.errors import SluiceError
from config.lib.exact_json import InexactJsonError, loads_exact

logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TICKER: Final = re.compile(r"[A-Za-z0-9]{2,16}")
_PLAIN_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?")
_MOST: Final = Decimal(10) ** 30
_FINEST_EXPONENT: Final = -30
_LONGEST_TEXT: Final = 256
_MOST_EXTRA_IDS: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadNoticeError(SluiceError):
    """What NOWPayments said cannot be understood."""

    code = "bad_notice"


class Word(StrEnum):
    """The provider's words for where a payment stands, in the order in which one outranks another.

    A payment that is known by a word never goes back to an earlier one, whatever arrives when. Money that comes after
    `expired` or `failed` is still money, and only `refunded` outranks `finished`.
    """

    WAITING = "waiting"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    SENDING = "sending"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PARTIALLY_PAID = "partially_paid"
    FINISHED = "finished"
    REFUNDED = "refunded"


_WORDS: Final = {**{word.value: word for word in Word}, "canceled": Word.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentNotice:
    """One payment as NOWPayments tells it.

    `word` is None when it is one we do not know, `status_text` is what was said. Amounts are None where nothing was
    said. `outcome_amount` of `outcome_currency` is what reached us, after the provider's fees; `price_amount` is what
    was asked for, and a repeated deposit (`parent_payment_id`) repeats that of the first, which lists it in `extra_ids`.
    """

    payment_id: str
    parent_payment_id: str
    extra_ids: tuple[str, ...]
    word: Word | None
    status_text: str
    order_id: str
    price_amount: Decimal | None
    price_currency: str
    pay_address: str
    pay_amount: Decimal | None
    pay_currency: str
    actually_paid: Decimal | None
    outcome_amount: Decimal | None
    outcome_currency: str
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherNotice:
    """A notification about something else at NOWPayments: a withdrawal, or a move between custody accounts."""

    other_id: str
    status_text: str


def read_notice(body: bytes) -> PaymentNotice | OtherNotice:
    """What a notification tells, by its shape: payments have a `payment_id`, everything else an `id`.

    Raises:
        BadNoticeError: neither, or a field that money or identity depends on is malformed.
    """
    content = _object(body)
    if not _is_absent(content.get("payment_id")):
        return _payment(content)
    if not _is_absent(content.get("id")):
        return OtherNotice(other_id=_id(content, "id"), status_text=_text(content, "status")[:32])
    raise BadNoticeError("The notification has neither a payment_id nor an id.")


def read_payment(body: bytes) -> PaymentNotice:
    """The payment in an answer to `GET /v1/payment/{id}`.

    Raises:
        BadNoticeError: it is not one.
    """
    return _payment(_object(body))


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = loads_exact(body)
    except InexactJsonError as error:
        raise BadNoticeError(f"The body is refused: {error}.") from None
    if not isinstance(content, dict):
        raise BadNoticeError("The body is no JSON object.")
    return content


def _payment(content: Mapping[str, Any]) -> PaymentNotice:
    said = _text(content, "payment_status").lower()
    if not said:
        raise BadNoticeError("payment_status is missing.")
    return PaymentNotice(
        payment_id=_id(content, "payment_id"),
        parent_payment_id="" if _is_absent(content.get("parent_payment_id")) else _id(content, "parent_payment_id"),
        extra_ids=_extra_ids(content.get("payment_extra_ids")),
        word=_WORDS.get(said),
        status_text=said[:32],
        order_id=_text(content, "order_id"),
        price_amount=_amount(content, "price_amount"),
        price_currency=_ticker(content, "price_currency"),
        pay_address=_text(content, "pay_address"),
        pay_amount=_amount(content, "pay_amount"),
        pay_currency=_ticker(content, "pay_currency"),
        actually_paid=_amount(content, "actually_paid"),
        outcome_amount=_amount(content, "outcome_amount"),
        outcome_currency=_ticker(content, "outcome_currency"),
        created_at=_moment(content.get("created_at")),
        updated_at=_moment(content.get("updated_at")),
    )


def _is_absent(value: object) -> bool:
    """Absent values are missing, null, blank, or the text "null"."""
    return value is None or (isinstance(value, str) and value in {"", "null"})


def _extra_ids(value: object) -> tuple[str, ...]:
    """The payments that later deposits to this one's address became, each once.

    It only says where to look, so what cannot be read of it is no reason to refuse the payment that it came with.
    """
    if _is_absent(value):
        return ()
    named = value if isinstance(value, list) else []
    read = [text for each in named[:_MOST_EXTRA_IDS] if (text := _id_text(each))]
    if not isinstance(value, list) or len(read) < len(value):
        logger.warning("payment_extra_ids is not whole", extra={"read": len(read)})
    return tuple(dict.fromkeys(read))


def _id_text(value: object) -> str:
    """The id, or nothing if it is none."""
    text = str(value) if type(value) is int else value
    return text if isinstance(text, str) and _ID.fullmatch(text) else ""


def _id(content: Mapping[str, Any], name: str) -> str:
    text = _id_text(content.get(name))
    if not text:
        raise BadNoticeError(f"{name} is no id.")
    return text


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if _is_absent(value):
        return ""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise BadNoticeError(f"{name} is no text of at most {_LONGEST_TEXT} characters.")
    return text


def _ticker(content: Mapping[str, Any], name: str) -> str:
    text = _text(content, name)
    if text and not _TICKER.fullmatch(text):
        raise BadNoticeError(f"{name} is no ticker.")
    return text.lower()


def _amount(content: Mapping[str, Any], name: str) -> Decimal | None:
    """An amount of zero or more, as a JSON number or as a plain decimal string."""
    value = content.get(name)
    if _is_absent(value):
        return None
    if isinstance(value, str) and _PLAIN_DECIMAL.fullmatch(value):
        value = Decimal(value)
    # True is an int to Python, and no money.
    amount = Decimal(value) if type(value) is int else value
    if not isinstance(amount, Decimal) or amount.is_signed() or amount >= _MOST:
        raise BadNoticeError(f"{name} is no amount of money.")
    if int(amount.as_tuple().exponent) < _FINEST_EXPONENT:
        raise BadNoticeError(f"{name} is finer than any coin.")
    return amount


def _moment(value: object) -> datetime | None:
    """Epoch milliseconds or ISO 8601; what is no time counts as absent, since no money depends on it."""
    try:
        if type(value) is int:
            return _EPOCH + timedelta(milliseconds=value)
        if isinstance(value, str) and value:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return None
