"""Signed tokens between batches and a host payment service that runs apart from it.

A token is a hint with a proof of origin: five minutes of validity, minted afresh for each delivery, each with a random
nonce by which its receiver can tell a replay. A token of one direction is never one of the other: each has a key of its
own, derived from every key of TOKEN_SIGNING_KEYS, and a salt of its own. The first key signs, all of them verify.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Final

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from config.lib.errors import SluiceError
from config.lib.money import InexactJsonError, MoneyError, dumps_exact, loads_exact, parse_money, plain
from hostpay.providers.addresses import AddressError, checksummed, is_hash

VALID_FOR_S: Final = 300
# How far ahead of ours another machine's clock may be.
_SKEW_S: Final = 60
_LONGEST_TOKEN: Final = 4096
_WORD: Final = re.compile(r"[\x21-\x7e]{1,64}")
_NONCE: Final = re.compile(r"[0-9a-f]{32}")


class TokenError(SluiceError):
    """A token that proves nothing. The message never holds the token."""

    code: ClassVar[str] = "token"


class TokenSignatureError(TokenError):
    """Not signed by any of our keys for this direction, or altered since."""

    code = "token_bad_signature"


class TokenExpiredError(TokenError):
    """Signed by us, and more than five minutes old, or from the future."""

    code = "token_expired"


class TokenMalformedError(TokenError):
    """Signed by us, and not what this direction says."""

    code = "token_malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """batches → hostpay: pay `from_amount` of the currency to the pay-in address of the exchange `cn_api_id`."""

    context: str
    batch_conversion_id: str
    cn_api_id: str
    from_currency: str
    from_network: str
    from_amount: Decimal
    payin_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequestClaims(PaymentRequest):
    """What a valid request says; `timestamp` is seconds since 1970."""

    timestamp: int
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapExecuted:
    """hostpay → batches: the exchange is done. To be read again from provider and chain before it counts."""

    batch_conversion_id: str
    cn_api_id: str
    tx_hash: str
    actual_usdt_received: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapExecutedClaims(SwapExecuted):
    """What a valid report says; `timestamp` is seconds since 1970."""

    timestamp: int
    nonce: str


def mint_payment_request(request: PaymentRequest) -> str:
    """A fresh token that asks for a payment.

    Raises:
        TokenMalformedError: a field that its reader would refuse.
    """
    facts = {
        "context": request.context,
        "batch_conversion_id": request.batch_conversion_id,
        "cn_api_id": request.cn_api_id,
        "from_currency": request.from_currency,
        "from_network": request.from_network,
        "from_amount": request.from_amount,
        "payin_address": request.payin_address,
    }
    return _mint(_Direction.REQUEST, _REQUEST_FIELDS, facts)


def read_payment_request(token: str) -> PaymentRequestClaims:
    """What a request token says.

    Raises:
        TokenSignatureError, TokenExpiredError, TokenMalformedError: it must not be acted upon.
    """
    return PaymentRequestClaims(**_read(_Direction.REQUEST, _REQUEST_FIELDS, token))


def mint_swap_executed(report: SwapExecuted) -> str:
    """A fresh token that reports an executed swap.

    Raises:
        TokenMalformedError: a field that its reader would refuse.
    """
    facts = {
        "batch_conversion_id": report.batch_conversion_id,
        "cn_api_id": report.cn_api_id,
        "tx_hash": report.tx_hash,
        "actual_usdt_received": report.actual_usdt_received,
    }
    return _mint(_Direction.REPORT, _REPORT_FIELDS, facts)


def read_swap_executed(token: str) -> SwapExecutedClaims:
    """What a report token says.

    Raises:
        TokenSignatureError, TokenExpiredError, TokenMalformedError: it must not be acted upon.
    """
    return SwapExecutedClaims(**_read(_Direction.REPORT, _REPORT_FIELDS, token))


class _Direction(Enum):
    """Its value is the salt, and what its keys are derived with."""

    REQUEST = "sluice.tokens.request.1"
    REPORT = "sluice.tokens.report.1"


Reader = Callable[[object], Any]


class _ExactJson:
    """django.core.signing's idea of a serializer."""

    def dumps(self, facts: Mapping[str, object]) -> bytes:
        return dumps_exact(facts).encode()

    def loads(self, body: bytes) -> Any:
        return loads_exact(body)


def _mint(direction: _Direction, readers: Mapping[str, Reader], facts: Mapping[str, object]) -> str:
    claims = {**facts, "timestamp": int(time.time()), "nonce": secrets.token_hex(16)}
    try:
        said = plain(claims)
    except MoneyError as error:
        raise TokenMalformedError(str(error)) from None
    # What its reader would refuse is a fault here, where it can be found.
    _check(readers, said)
    return _signer(direction).sign_object(said, serializer=_ExactJson)


def _read(direction: _Direction, readers: Mapping[str, Reader], token: object) -> dict[str, Any]:
    if not isinstance(token, str) or len(token) > _LONGEST_TOKEN or not token.isascii():
        raise TokenMalformedError(f"a token is up to {_LONGEST_TOKEN} ASCII characters")
    try:
        content = _signer(direction).unsign_object(token, serializer=_ExactJson, max_age=VALID_FOR_S)
    except SignatureExpired:
        raise TokenExpiredError(f"the token is more than {VALID_FOR_S} s old; ask for a fresh one") from None
    except BadSignature:
        raise TokenSignatureError("the token is not signed by a key for this direction, or was altered") from None
    except (InexactJsonError, ValueError, zlib.error):
        raise TokenMalformedError("the token is signed, and is no JSON") from None
    claims = _check(readers, content)
    age_s = int(time.time()) - claims["timestamp"]
    if not -_SKEW_S <= age_s <= VALID_FOR_S:
        raise TokenExpiredError(f"the token's time is {age_s} s ago; it is valid from -{_SKEW_S} to {VALID_FOR_S} s")
    return claims


def _check(readers: Mapping[str, Reader], content: object) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise TokenMalformedError("the token's content is no object")
    if set(content) != set(readers):
        missing, unknown = sorted(set(readers) - set(content)), sorted(set(content) - set(readers))
        raise TokenMalformedError(f"the token lacks {missing or 'nothing'} and has {unknown or 'nothing'} in excess")
    try:
        return {name: read(content[name]) for name, read in readers.items()}
    except (MoneyError, AddressError) as error:
        raise TokenMalformedError(str(error)) from None


def _signer(direction: _Direction) -> TimestampSigner:
    first, *others = (_derived(key, direction) for key in settings.TOKEN_SIGNING_KEYS)
    return TimestampSigner(key=first, salt=direction.value, algorithm="sha256", fallback_keys=[*others])


def _derived(key: str, direction: _Direction) -> str:
    return hmac.new(key.encode(), direction.value.encode(), hashlib.sha256).hexdigest()


def _word(field: str) -> Reader:
    def read(value: object) -> str:
        if not isinstance(value, str) or _WORD.fullmatch(value) is None:
            raise TokenMalformedError(f"{field} is not 1 to 64 printable ASCII characters without spaces")
        return value

    return read


def _amount(field: str, *, max_decimals: int) -> Reader:
    def read(value: object) -> Decimal:
        amount = parse_money(value, max_integer_digits=30, max_decimals=max_decimals, field=field)
        if not amount:
            raise TokenMalformedError(f"{field} is zero")
        return amount

    return read


def _tx_hash(value: object) -> str:
    if not isinstance(value, str) or not is_hash(value):
        raise TokenMalformedError("tx_hash is not 0x and 64 hexadecimal digits")
    return value.lower()


def _timestamp(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TokenMalformedError("timestamp is not a whole number of seconds")
    return value


def _nonce(value: object) -> str:
    if not isinstance(value, str) or _NONCE.fullmatch(value) is None:
        raise TokenMalformedError("nonce is not 32 hexadecimal digits")
    return value


_EVERY_TOKEN: Final[Mapping[str, Reader]] = {"timestamp": _timestamp, "nonce": _nonce}

_REQUEST_FIELDS: Final[Mapping[str, Reader]] = {
    "context": _word("context"),
    "batch_conversion_id": _word("batch_conversion_id"),
    "cn_api_id": _word("cn_api_id"),
    "from_currency": _word("from_currency"),
    "from_network": _word("from_network"),
    "from_amount": _amount("from_amount", max_decimals=18),
    "payin_address": lambda value: checksummed(value, field="payin_address"),
    **_EVERY_TOKEN,
}

_REPORT_FIELDS: Final[Mapping[str, Reader]] = {
    "batch_conversion_id": _word("batch_conversion_id"),
    "cn_api_id": _word("cn_api_id"),
    "tx_hash": _tx_hash,
    "actual_usdt_received": _amount("actual_usdt_received", max_decimals=6),
    **_EVERY_TOKEN,
}
