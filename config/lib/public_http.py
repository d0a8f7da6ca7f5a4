"""Posting to addresses that others chose: none of them leads into our own network, and none makes us wait.

A name is looked up once, every address that it stands for is checked, and the connection goes to a checked one: what
the name stands for a moment later changes nothing. A redirection is not followed, a proxy of the environment is not
asked, and DEADLINE_S is for all of it together, from the look-up to the answer's last byte.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

import httpcore
import httpx

from config.lib.errors import ProviderError, TransientError
from config.lib.public_addresses import Destination, LookUp, UnfitAddressError, checked_addresses, destination_of
from config.lib.timed_streams import TimedStream

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 10
MOST_ANSWER_BYTES: Final = 64 * 1024
# More addresses than these of one name are not tried.
_MOST_ADDRESSES: Final = 4
_LONGEST_RETRY_AFTER_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What came back, whatever the status; of the body at most MOST_ANSWER_BYTES, or what came in time."""

    status: int
    body: bytes
    retry_after_s: int | None


class Poster:
    """Posts to one URL, by one connection while that lasts. Used by one thread at a time; use it in a `with`."""

    def __init__(
        self,
        url: str,
        *,
        is_sandbox: bool,
        ports: Collection[int] | None = None,
        look_up: LookUp | None = None,
        trusting: str | None = None,
    ) -> None:
        """`trusting` names a file of certificates to be believed instead of the usual ones.

        Raises:
            UnfitAddressError: as `destination_of`.
        """
        self.destination = destination_of(url, is_sandbox=is_sandbox, ports=ports)
        self._backend = _CheckedBackend(self.destination, is_sandbox=is_sandbox, look_up=look_up)
        self._pool = httpcore.ConnectionPool(
            network_backend=self._backend,
            ssl_context=_certificates(trusting),
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=DEADLINE_S,
            retries=0,
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Send `body` as JSON, once. Nothing about the address is in the error's text but its host.

        Raises:
            UnfitAddressError: the host stands for an address that is not public.
            TransientError: not reached, or no answer in time.
        """
        started = time.monotonic()
        made = self._exchange(body, headers, started)
        logger.info(
            "webhook sent",
            extra={
                "host": self.destination.host,
                "outcome": made.status if isinstance(made, Posted) else made.code,
                "ms": round((time.monotonic() - started) * 1000),
            },
        )
        # Raised out here, so that no error of the library, with the request in it, hangs on to it.
        if isinstance(made, ProviderError):
            raise made
        return made

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, body: bytes, headers: Mapping[str, str], started: float) -> Posted | ProviderError:
        self._backend.ends_at = started + DEADLINE_S
        at = self.destination
        url = httpcore.URL(scheme=at.scheme, host=at.host, port=at.port, target=at.target)
        sent = [
            ("Host", at.authority),
            ("Content-Type", "application/json"),
            # What is counted on the wire is then what is held in memory.
            ("Accept-Encoding", "identity"),
            ("User-Agent", "Sluice-Webhooks/1"),
            *headers.items(),
        ]
        try:
            with self._pool.stream("POST", url, headers=sent, content=body) as response:
                return _posted(response)
        except (UnfitAddressError, TransientError) as refusal:
            return refusal
        except httpcore.TimeoutException as error:
            return TransientError(f"{at.host}: no answer within {DEADLINE_S} s ({type(error).__name__})")
        except httpcore.ConnectError as error:
            return TransientError(f"{at.host}: not reached ({_first_words(error)})")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return TransientError(f"{at.host}: the connection broke ({type(error).__name__})")


def _posted(response: httpcore.Response) -> Posted:
    body = bytearray()
    try:
        for chunk in response.iter_stream():
            body += chunk
            if len(body) >= MOST_ANSWER_BYTES:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        # The status says whether it was taken; the body is only for people to read.
        logger.info("the answer's body broke off", extra={"status": response.status})
    retry_after = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    return Posted(
        status=response.status,
        body=bytes(body[:MOST_ANSWER_BYTES]),
        retry_after_s=_seconds(retry_after.decode("latin-1")),
    )


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, looked up once, and lets no single wait outlast the whole."""

    def __init__(self, destination: Destination, *, is_sandbox: bool, look_up: LookUp | None) -> None:
        self.ends_at = 0.0
        self._destination = destination
        self._is_sandbox = is_sandbox
        self._look_up = look_up
        self._sockets = httpcore.SyncBackend()
        self._addresses: list[str] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (what is left of the whole is the limit)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        if (host, port) != (self._destination.host, self._destination.port):
            raise UnfitAddressError(f"{host} is not what was asked for")
        if not self._addresses:
            self._addresses = checked_addresses(
                self._destination, is_sandbox=self._is_sandbox, within_s=self.time_left(), look_up=self._look_up
            )
        *others, last = self._addresses[:_MOST_ADDRESSES]
        for address in others:
            try:
                return self._connect(address, port, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                logger.info("an address of a webhook's host was not reached", extra={"address": address})
        return self._connect(last, port, local_address, socket_options)

    def _connect(
        self, address: str, port: int, local_address: str | None, socket_options: Iterable[Any] | None
    ) -> httpcore.NetworkStream:
        stream = self._sockets.connect_tcp(address, port, self.time_left(), local_address, socket_options)
        return TimedStream(stream, self.time_left)

    def time_left(self) -> float:
        """Seconds.

        Raises:
            ReadTimeout: none.
        """
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole took too long")
        return left


@cache
def _certificates(trusting: str | None) -> ssl.SSLContext:
    """Read once: it takes as long as a request."""
    if trusting is not None:
        return ssl.create_default_context(cafile=trusting)
    return httpx.create_ssl_context(trust_env=False)


def _seconds(text: str) -> int | None:
    """A Retry-After in seconds; its other form, a date, is not worth trusting two clocks for."""
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        return None
    return min(int(text), _LONGEST_RETRY_AFTER_S)


def _first_words(error: Exception) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
