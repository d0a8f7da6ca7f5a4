"""Whether a notification is NOWPayments' own: HMAC-SHA512 over the JSON body with its keys sorted, in hex.

What exactly is signed is described in several ways that differ. What JavaScript signs, in the provider's own code, is
the body parsed, sorted and written again, so three texts are tried: the body as it came, its sorted form, and that form
with arrays turned into objects (the documentation's sample does so, the provider's library does not). A number keeps
the text it came with: parsed and printed again by Python, a fee of 0.000002 would become 2e-06 and its notification
would never verify. The form in which only the top level's keys are given to `JSON.stringify` is never tried: it leaves
everything nested out of the signature.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from config.lib.exact_json import InexactJsonError, loads_exact

_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{128}")
# An object's keys of this form come first in JavaScript, by their value, in whatever order they were put in.
_ARRAY_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_LARGEST_INDEX: Final = 2**32 - 2


class _Literal(str):
    """A number's own text."""

    __slots__ = ()


def is_signed(body: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Whether `signature`, the header `x-nowpayments-sig`, is one of `body` by one of `secrets`."""
    given = signature.strip()
    if not _SIGNATURE.fullmatch(given):
        return False
    digest = bytes.fromhex(given)
    return any(hmac.compare_digest(digest, _hmac(text, secret)) for text in _signable_texts(body) for secret in secrets)


def signature_of(text: bytes, secret: str) -> str:
    """The header's value for a text signed as it is."""
    return _hmac(text, secret).hex()


def canonical_forms(body: bytes) -> tuple[bytes, ...]:
    """The sorted form of a JSON body, with arrays kept and with arrays as objects; none if it is not JSON as we accept it.

    Both write what JavaScript would, but for numbers, which keep their text.
    """
    try:
        # For its refusals alone: depth, duplicate keys, what no database stores.
        loads_exact(body)
        content = json.loads(body, parse_float=_Literal, parse_int=_Literal)
    except (InexactJsonError, ValueError):
        return ()
    return tuple(_written(content, write_array).encode() for write_array in (_as_array, _as_object))


def _signable_texts(body: bytes) -> Iterator[bytes]:
    yield body
    yield from canonical_forms(body)


def _hmac(text: bytes, secret: str) -> bytes:
    return hmac.new(secret.encode(), text, hashlib.sha512).digest()


_WriteArray = Callable[[Sequence[Any], Callable[[Any], str]], str]


def _written(value: Any, write_array: _WriteArray) -> str:
    def write(item: Any) -> str:
        match item:
            case _Literal():
                return str(item)
            case dict():
                return _as_members(item, write)
            case list():
                return write_array(item, write)
            case _:
                return json.dumps(item, ensure_ascii=False)

    return write(value)


def _as_members(members: Mapping[str, Any], write: Callable[[Any], str]) -> str:
    texts = (f"{json.dumps(key, ensure_ascii=False)}:{write(members[key])}" for key in sorted(members, key=_js_order))
    return "{" + ",".join(texts) + "}"


def _as_array(items: Sequence[Any], write: Callable[[Any], str]) -> str:
    return "[" + ",".join(map(write, items)) + "]"


def _as_object(items: Sequence[Any], write: Callable[[Any], str]) -> str:
    return "{" + ",".join(f'"{index}":{write(item)}' for index, item in enumerate(items)) + "}"


def _js_order(key: str) -> tuple[bool, int, bytes]:
    """Where JavaScript puts a key after sorting: array indexes by value, then the others by their UTF-16 units."""
    if _ARRAY_INDEX.fullmatch(key) and int(key) <= _LARGEST_INDEX:
        return False, int(key), b""
    return True, 0, key.encode("utf-16-be")
