"""JSON-RPC to an Ethereum node, and strict readers of what it answers. A call is made once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from config.lib.errors import OutcomeUnknownError, PermanentError, ProviderError, RateLimitedError, TransientError
from config.lib.http import HttpClient
from config.lib.money import InexactJsonError, loads_exact
from hostpay.providers.addresses import AddressError, checksummed, is_hash

_QUANTITY: Final = re.compile(r"0x(0|[1-9a-f][0-9a-f]{0,63})")
_DATA: Final = re.compile(r"0x([0-9a-f]{2})*")
_LONGEST_WORDS: Final = 200

# JSON-RPC 2.0 and EIP-1474: what asking again does not change.
_INVALID_REQUEST, _NO_SUCH_METHOD, _INVALID_PARAMS, _UNSUPPORTED = -32600, -32601, -32602, -32004
_LIMIT_EXCEEDED: Final = -32005


class NodeAnswerError(PermanentError):
    """The node's answer is not what the method promises."""

    code = "node_bad_answer"


class RpcRefusal(Exception):  # noqa: N818 (an answer of the node, which its caller turns into an error or a result)
    """The node answered with an error: its number, and its words without secrets."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(words)
        self.number = number
        self.words = words


class Rpc:
    """The wire. `rpc_url` often holds a key and is never shown."""

    def __init__(self, *, rpc_url: str, timeout_s: int) -> None:
        self._http = HttpClient(service="ethereum node", base_url=rpc_url, timeout_s=timeout_s)
        self._ids = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Rpc over {self._http!r}>"

    def ask(self, method: str, *params: object) -> Any:
        """The result of a question; None where the node says null.

        Raises:
            TransientError: no answer, or an error that may pass; RateLimitedError.
            PermanentError: an error that asking again does not change.
        """
        try:
            return self.call(method, *params, has_effect=False)
        except RpcRefusal as refusal:
            raise error_of(method, refusal) from None

    def call(self, method: str, *params: object, has_effect: bool) -> Any:
        """The result of a call, which with `has_effect` is not asked but done.

        Raises:
            RpcRefusal: the node answered with an error.
            OutcomeUnknownError: with `has_effect`, no answer that tells.
            TransientError, PermanentError: as `ask`.
        """
        number = next(self._ids)
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
        answer = self._http.post("", body, has_effect=has_effect, label=method)
        content = _object_in(answer.body)
        error = content.get("error")
        if isinstance(error, Mapping):
            code = error.get("code")
            raise RpcRefusal(code if isinstance(code, int) else 0, self._words(error.get("message")))
        if answer.status == 200 and content.get("id") == number and "result" in content:
            return content["result"]
        message = f"{method}: HTTP {answer.status} without the result that was asked for"
        if answer.status != 200:
            # A gate-keeper's no: the node itself answers errors with 200, or in the form above.
            raise PermanentError(message)
        if has_effect:
            raise OutcomeUnknownError(f"{message}; it may have been done")
        raise TransientError(message)

    def _words(self, message: object) -> str:
        text = message if isinstance(message, str) else ""
        printable = "".join(c if c.isprintable() else " " for c in text)
        return self._http.masked(" ".join(printable.split()))[:_LONGEST_WORDS]


def _object_in(body: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer; an empty one if it is none, as that holds no result either."""
    try:
        content = loads_exact(body)
    except InexactJsonError:
        return {}
    return content if isinstance(content, Mapping) else {}


def error_of(method: str, refusal: RpcRefusal) -> ProviderError:
    """The error that a refused question is."""
    message = f"{method}: the node answers {refusal.number} {refusal.words}"
    if refusal.number == _LIMIT_EXCEEDED:
        return RateLimitedError(message)
    if refusal.number in {_INVALID_REQUEST, _NO_SUCH_METHOD, _INVALID_PARAMS, _UNSUPPORTED}:
        return PermanentError(message)
    return TransientError(message)


def quantity(value: object, *, of: str) -> int:
    """A number as `0x` and hex without leading zeros.

    Raises:
        NodeAnswerError: anything else; above all null, which must never become 0.
    """
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise NodeAnswerError(f"{of}: {_shown(value)} is no quantity")
    return int(value, 16)


def data(value: object, *, of: str) -> bytes:
    """Bytes as `0x` and pairs of hex digits.

    Raises:
        NodeAnswerError: anything else.
    """
    if not isinstance(value, str) or _DATA.fullmatch(value) is None:
        raise NodeAnswerError(f"{of}: {_shown(value)} is no data")
    return bytes.fromhex(value[2:])


def hash_text(value: object, *, of: str) -> str:
    """A hash in lower case.

    Raises:
        NodeAnswerError: anything else.
    """
    if not isinstance(value, str) or not is_hash(value):
        raise NodeAnswerError(f"{of}: {_shown(value)} is no hash")
    return value.lower()


def address(value: object, *, of: str) -> str:
    """An address with its EIP-55 checksum; the zero address is one here, as tokens are minted from it.

    Raises:
        NodeAnswerError: anything else.
    """
    if isinstance(value, str) and value == "0x" + "0" * 40:
        return value
    try:
        return checksummed(value, field=of)
    except AddressError as error:
        raise NodeAnswerError(str(error)) from None


def record(value: object, *, of: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        NodeAnswerError: anything else.
    """
    if not isinstance(value, Mapping):
        raise NodeAnswerError(f"{of}: the result is no object")
    return value


def sequence(value: object, *, of: str) -> list[Any]:
    """A JSON list.

    Raises:
        NodeAnswerError: anything else.
    """
    if not isinstance(value, list):
        raise NodeAnswerError(f"{of}: the result is no list")
    return value


def _shown(value: object) -> str:
    return repr(value)[:80]
