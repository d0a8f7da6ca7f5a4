"""Calls of the services that our settings name: HTTP whose failures say whether they may have had an effect.

Nothing else opens sockets but config.lib.public_http, which posts to addresses that others chose.

A call is made once. Nothing is retried, redirected or routed through a proxy of the environment, and no connection
outlives its call: an idle one that the other side had closed would make a lost request look like a lost answer.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
import httpx

from config.lib.errors import OutcomeUnknownError, PermanentError, ProviderError, RateLimitedError, TransientError
from config.lib.exact_json import plain
from config.lib.timed_streams import TimedStream

logger = logging.getLogger(__name__)

_MAX_ANSWER_BYTES: Final = 2 * 1024 * 1024
_SHORTEST_KEY: Final = 8
_MAX_RETRY_AFTER_S: Final = 24 * 3600

# The request never left, or not as a whole address: connection refused, name not found, TLS refused.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class CallInTransactionError(RuntimeError):
    """A programming error: an outside call was about to be made while a database transaction was open."""


def _never() -> bool:
    return False


_is_in_transaction: Callable[[], bool] = _never


def forbid_in_transaction(is_in_transaction: Callable[[], bool]) -> Callable[[], bool]:
    """From now on every call asks `is_in_transaction` first, and is refused if it says yes; returns the one before.

    This module does not know the database; who does registers the question once at start.
    """
    global _is_in_transaction
    before, _is_in_transaction = _is_in_transaction, is_in_transaction
    return before


def refuse_in_transaction(what: str) -> None:
    """Go on only if no database transaction is open.

    Raises:
        CallInTransactionError: one is.
    """
    if _is_in_transaction():
        message = f"{what} was to be called in a database transaction"
        raise CallInTransactionError(message)


_transport: httpx.BaseTransport | None = None


def travel_by(transport: httpx.BaseTransport | None) -> httpx.BaseTransport | None:
    """Clients made from now on send through `transport`; None, as at start, is the real sockets. Returns the one before.

    This is how a simulated world, or one that dies between a request and its answer, is put in the real one's place.
    """
    global _transport
    before, _transport = _transport, transport
    return before


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What came back: any status below 500 but redirects and 429, which are raised."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    method: str
    label: str
    has_effect: bool


class HttpClient:
    """Calls one service.

    `base_url` may hold a secret (RPC services put their key into the path), `secret_headers` are: neither is ever shown.
    Safe to share between threads, and across a fork.
    """

    def __init__(
        self,
        *,
        service: str,
        base_url: str,
        timeout_s: int,
        secret_headers: Mapping[str, str] | None = None,
        max_answer_bytes: int = _MAX_ANSWER_BYTES,
    ) -> None:
        self.service = service
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._base_url = base_url.rstrip("/")
        # No compression: what is counted on the wire is then what is held in memory.
        self._headers = {"accept": "application/json", "accept-encoding": "identity", **(secret_headers or {})}
        self._secrets = tuple((secret_headers or {}).values())
        self._sockets = _TimedSockets()
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5)),
            follow_redirects=False,
            trust_env=False,
            transport=_transport or _travelling_by(self._sockets),
        )

    def __repr__(self) -> str:
        return f"<HttpClient of {self.service} at {urlsplit(self._base_url).hostname}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a client with its secrets is not written anywhere")

    def close(self) -> None:
        self._client.close()

    def masked(self, text: str) -> str:
        """The service's own words without what is secret to us, should it quote our key or address back."""
        address = urlsplit(self._base_url)
        # A key is a long part of the path; `v2` is not, and would leave holes in every other word.
        keys = (part for part in (*address.path.split("/"), address.query) if len(part) >= _SHORTEST_KEY)
        for secret in (*self._secrets, address.password, *keys):
            if secret:
                text = text.replace(secret, "***")
        return text

    def masked_document(self, content: Any) -> Any:
        """As `masked`, of every text in a document: it is stored as the service's own words, and shown."""
        match content:
            case str():
                return self.masked(content)
            case Mapping():
                return {self.masked_document(name): self.masked_document(each) for name, each in content.items()}
            case list():
                return [self.masked_document(each) for each in content]
            case _:
                return content

    def get(self, path: str, params: Mapping[str, str] | None = None) -> HttpAnswer:
        """Read something.

        Raises:
            TransientError: not reached, no answer in time, 5xx; RateLimitedError on 429.
            PermanentError: redirected, or an answer beyond all bounds.
        """
        call = _Call(method="GET", label=path, has_effect=False)
        return self._make(call, self._client.build_request("GET", self._base_url + path, params=params or {}))

    def post(self, path: str, body: object, *, has_effect: bool, label: str | None = None) -> HttpAnswer:
        """Send JSON. `label` stands in log and errors instead of the path.

        Raises:
            OutcomeUnknownError: with `has_effect`, whenever the request may have been received and we do not know
                what became of it.
            TransientError, PermanentError: as `get`; with `has_effect` they promise that nothing happened.
        """
        call = _Call(method="POST", label=label or path, has_effect=has_effect)
        content = json.dumps(plain(body), separators=(",", ":"), allow_nan=False).encode()
        request = self._client.build_request(
            "POST", self._base_url + path, content=content, headers={"content-type": "application/json"}
        )
        return self._make(call, request)

    def _make(self, call: _Call, request: httpx.Request) -> HttpAnswer:
        refuse_in_transaction(self._asked(call))
        request.headers.update(self._headers)
        started = time.monotonic()
        made = self._send(call, request, started)
        if isinstance(made, HttpAnswer):
            made = self._judge(call, made)
        self._log(call, made, started)
        # Raised out here, and not where it was caught, so that no httpx error with the request hangs on to it.
        if isinstance(made, ProviderError):
            raise made
        return made

    def _send(self, call: _Call, request: httpx.Request, started: float) -> HttpAnswer | ProviderError:
        self._sockets.ends_at = started + self._timeout_s
        try:
            response = self._client.send(request, stream=True)
            try:
                return self._receive(call, response, started)
            finally:
                response.close()
        except _NOT_SENT as error:
            return TransientError(f"{self._asked(call)}: not reached ({type(error).__name__}); nothing was sent")
        except httpx.TimeoutException as error:
            return self._lost(call, f"no answer within {self._timeout_s} s ({type(error).__name__})")
        except httpx.TransportError as error:
            return self._lost(call, f"the connection broke ({type(error).__name__})")

    def _receive(self, call: _Call, response: httpx.Response, started: float) -> HttpAnswer | ProviderError:
        if response.status_code == 429:
            return RateLimitedError(
                f"{self._asked(call)}: too many requests", retry_after_s=_retry_after_s(response.headers)
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            return self._unusable(call, "a compressed answer nobody asked for")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self._max_answer_bytes:
                return self._unusable(call, f"an answer of more than {self._max_answer_bytes} bytes")
            # What reaches us whole between two looks at the clock is late too.
            if time.monotonic() - started > self._timeout_s:
                return self._lost(call, f"no whole answer within {self._timeout_s} s")
        return HttpAnswer(status=response.status_code, body=bytes(body))

    def _judge(self, call: _Call, answer: HttpAnswer) -> HttpAnswer | ProviderError:
        if answer.status >= 500 or answer.status == 408:
            return self._lost(call, f"HTTP {answer.status}")
        if 300 <= answer.status < 400:
            # Whoever redirects may have done it first: a 303 is how some answer a POST that was carried out.
            return self._unusable(call, f"redirected (HTTP {answer.status}), which is not followed")
        return answer

    def _lost(self, call: _Call, what: str) -> TransientError:
        if call.has_effect:
            return OutcomeUnknownError(f"{self._asked(call)}: {what}; it may have been done")
        return TransientError(f"{self._asked(call)}: {what}")

    def _unusable(self, call: _Call, what: str) -> ProviderError:
        if call.has_effect:
            return self._lost(call, what)
        return PermanentError(f"{self._asked(call)}: {what}")

    def _asked(self, call: _Call) -> str:
        return f"{call.method} {call.label} of {self.service}"

    def _log(self, call: _Call, made: HttpAnswer | ProviderError, started: float) -> None:
        logger.info(
            "outside call",
            extra={
                "service": self.service,
                "method": call.method,
                "path": call.label,
                "outcome": made.status if isinstance(made, HttpAnswer) else made.code,
                "ms": round((time.monotonic() - started) * 1000),
            },
        )


class _TimedSockets(httpcore.NetworkBackend, threading.local):
    """The real ones, for each thread until its own `ends_at`; the transport's limit is per read, and knows no whole."""

    def __init__(self) -> None:
        self.ends_at = 0.0
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._sockets.connect_tcp(host, port, timeout, local_address, socket_options)
        return TimedStream(stream, self._time_left)

    def _time_left(self) -> float:
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole took too long")
        return left


def _travelling_by(sockets: httpcore.NetworkBackend) -> httpx.BaseTransport:
    """httpx's own transport over other sockets: it offers no way to name them, but its pool does."""
    transport = httpx.HTTPTransport(trust_env=False)
    transport._pool = httpcore.ConnectionPool(
        ssl_context=httpx.create_ssl_context(trust_env=False),
        max_connections=None,
        max_keepalive_connections=0,
        network_backend=sockets,
    )
    return transport


def _retry_after_s(headers: httpx.Headers) -> int | None:
    """The seconds of a Retry-After header; its other form, a date, is not worth trusting two clocks for."""
    text = headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        return None
    return min(int(text), _MAX_RETRY_AFTER_S)
