"""JSON in which a number keeps its digits: decimals come in as Decimal and go out as strings, and a float is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from config.lib.errors import SluiceError

_LONGEST_NUMBER: Final = 100
# Below the nesting at which the parser itself runs out of stack.
_DEEPEST: Final = 32
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# Numbers as text, of which only the length matters here.
_ELEMENTS: Final = json.JSONDecoder(parse_float=str, parse_int=str)
_UNMARKED: Final = bytes(set(range(256)) - set(b'"\\[]{}'))
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class MoneyError(SluiceError):
    """An amount, or a text that holds amounts, that cannot be taken exactly as it stands."""

    code = "inexact"


class InexactJsonError(MoneyError):
    """A text that is not JSON, or says something with two meanings; the message never quotes the text."""

    code = "invalid_json"


class ScientificDecimal(Decimal):
    """A number that was written with an exponent; its value is exact, but its text is not kept."""


def loads_exact(text: bytes | str) -> Any:
    """Parse UTF-8 JSON: fractions become Decimal (with an exponent: ScientificDecimal), whole numbers int.

    Raises:
        InexactJsonError: not JSON; NaN or Infinity; a number of more than 100 characters or beyond 10^±100; a key twice
            in one object; nesting deeper than 32; NUL or half a surrogate pair in a string (PostgreSQL stores neither).
    """
    try:
        source = text if isinstance(text, str) else text.decode("utf-8")
        if isinstance(text, str) or not _is_plainly_shallow(text):
            _check_depth(source)
        parsed = json.loads(
            source,
            parse_float=_decimal,
            parse_int=_whole,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        raise InexactJsonError("the text is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InexactJsonError(f"not JSON: {error.msg} at character {error.pos}") from None
    # Of bytes only an escape can make one: UTF-8 has no halves of pairs, and the parser takes no bare NUL.
    if isinstance(text, str) or "\\u" in source:
        _check_strings(parsed)
    return parsed


def texts_in_list(text: bytes) -> list[bytes]:
    """Of JSON that `loads_exact` takes, a list or an object with one list in it: each element as it stands there.

    Read again from its own text an element is what it was. Written anew it can be more: 1e1 and 10 are one value.

    Raises:
        InexactJsonError: it is neither.
    """
    source = text.decode()
    at = _past_space(source, 0)
    if source.startswith("{", at):
        _, at = _ELEMENTS.raw_decode(source, _past_space(source, at + 1))
        at = _past_space(source, _past_space(source, at) + len(":"))
    if not source.startswith("[", at):
        raise InexactJsonError("neither a list nor an object with one list in it")
    found = []
    at = _past_space(source, at + 1)
    while not source.startswith("]", at):
        _, end = _ELEMENTS.raw_decode(source, at)
        found.append(source[at:end].encode())
        at = _past_space(source, end)
        if source.startswith(",", at):
            at = _past_space(source, at + 1)
    return found


def dumps_exact(value: object) -> str:
    """Compact JSON with sorted keys; a Decimal is written as a string, never in exponent form.

    Raises:
        InexactJsonError: a float, a Decimal that is not finite, a key that is not a string, or a type JSON lacks.
    """
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def plain(value: object) -> Any:
    """The same with Decimals as strings, so that any JSON encoder writes it.

    Raises:
        InexactJsonError: as `dumps_exact`.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case Mapping():
            return {_key(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            raise InexactJsonError(f"a {type(value).__name__} has no exact JSON")


def _past_space(source: str, at: int) -> int:
    while source.startswith((" ", "\t", "\n", "\r"), at):
        at += 1
    return at


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InexactJsonError(f"a {type(key).__name__} is no key")
    return key


def _is_plainly_shallow(source: bytes) -> bool:
    """Whether the nesting is surely none to refuse, found in a tenth of the time that an exact look takes.

    Without what is neither bracket nor quote, a string is a pair of quotes, unless a bracket or a backslash stands in
    it: then quotes are left over. And each pass over what is left takes away no more than one level.
    """
    marks = source.translate(None, _UNMARKED).replace(b'""', b"")
    if b'"' in marks or b"\\" in marks:
        return False
    for _ in range(_DEEPEST // 2):
        marks = marks.replace(b"{}", b"").replace(b"[]", b"")
    return not marks


def _check_depth(source: str) -> None:
    depth = 0
    for mark in re.findall(r"[\[{\]}]", _STRING.sub('""', source)):
        depth += 1 if mark in "[{" else -1
        if depth > _DEEPEST:
            raise InexactJsonError(f"nested deeper than {_DEEPEST}")


def _decimal(digits: str) -> Decimal:
    kind = ScientificDecimal if "e" in digits.lower() else Decimal
    number = kind(digits) if len(digits) <= _LONGEST_NUMBER else None
    # A small exponent's zeros are written out by whoever prints the number: 0E+999999999 as well.
    if number is None or abs(int(number.as_tuple().exponent)) > _LONGEST_NUMBER:
        raise InexactJsonError(f"a number of more than {_LONGEST_NUMBER} digits")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise InexactJsonError(f"a number of more than {_LONGEST_NUMBER} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise InexactJsonError(f"{name} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InexactJsonError("an object names a key twice")
    return found


def _check_strings(value: object) -> None:
    match value:
        case str():
            if _UNSTORABLE.search(value):
                raise InexactJsonError("a string holds NUL or half a surrogate pair")
        case dict():
            for key, item in value.items():
                _check_strings(key)
                _check_strings(item)
        case list():
            for item in value:
                _check_strings(item)
