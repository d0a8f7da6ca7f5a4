"""Where a process can die: before and after every commit, every write outside of a transaction, every call outside.

`Boundaries` watches one database connection and every HTTP client made while it is installed. A place is named by the
function of ours that was at work, so it is the same place in every run, however often a poll came round before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import httpx
from django.db import connections

from config.lib.http import travel_by
from hostpay import gateways

_OURS = ("hostpay.services", "batches.services", "batches.handlers", "payouts.services")
_READS = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET")


class SimulatedCrash(BaseException):
    """The process is dead: nothing may catch it."""


def end_of_the_process() -> None:
    """What is done at the place, if nothing else is said."""
    raise SimulatedCrash


@dataclass
class Boundaries:
    """The places met, in order and once each; `die_at` one of them, the first time it is met, or at the n-th at all."""

    die_at: str = ""
    die_after: int | None = None
    die: Callable[[], None] = end_of_the_process
    places: list[str] = field(default_factory=list)
    is_dead: bool = False
    met: int = 0
    has_written: bool = False

    def meet(self, when: str, what: str) -> None:
        """Called at every boundary."""
        if self.is_dead:
            # `except` and `finally` of the code that is being unwound: a dead process has neither.
            raise SimulatedCrash
        place = f"{when} {what} in {_who_is_at_work()}"
        self.met += 1
        self.has_written |= (when, what) in {("after", "commit"), ("after", "write")}
        is_new = place not in self.places
        if is_new:
            self.places.append(place)
        if (is_new and place == self.die_at) or self.met == self.die_after:
            self.is_dead = True
            self.die()

    @contextmanager
    def installed(self, transport: httpx.BaseTransport | None = None) -> Iterator[None]:
        """Watch the default connection, and the clients of this process, which are made anew before and after.

        Args:
            transport: what the calls go through; real sockets if left out.
        """
        connection = connections["default"]
        commit = connection.commit

        def watched_commit() -> None:
            self.meet("before", "commit")
            commit()
            self.meet("after", "commit")

        connection.commit = watched_commit  # type: ignore[method-assign]
        sockets = transport or httpx.HTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        before = travel_by(_WatchedTransport(self, sockets))
        forget_gateways()
        try:
            with connection.execute_wrapper(self._execute):
                yield
        finally:
            travel_by(before)
            forget_gateways()
            connection.commit = commit  # type: ignore[method-assign]

    def survive(self, work: Callable[[], object], *, transport: httpx.BaseTransport | None = None) -> bool:
        """Do the work; False if the process died meanwhile, and its connection with whatever was not committed."""
        try:
            with self.installed(transport):
                work()
        except BaseException:
            if not self.is_dead:
                raise
        if self.is_dead:
            connection = connections["default"]
            if connection.connection is not None:
                connection.connection.close()
            del connections["default"]
        return not self.is_dead

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 (the signature that Django calls)
        if self.is_dead:
            raise SimulatedCrash
        if context["connection"].in_atomic_block or sql.lstrip().upper().startswith(_READS):
            return execute(sql, params, many, context)
        self.meet("before", "write")
        result = execute(sql, params, many, context)
        self.meet("after", "write")
        return result


class Body(httpx.SyncByteStream):
    """An answer's body that is read once, as from a socket."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content


class _WatchedTransport(httpx.BaseTransport):
    """Another transport, with a boundary before the request leaves and one when the whole answer is here."""

    def __init__(self, boundaries: Boundaries, transport: httpx.BaseTransport) -> None:
        self._boundaries = boundaries
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = _label(request)
        self._boundaries.meet("before", call)
        answer = self._transport.handle_request(request)
        if not isinstance(answer.stream, httpx.SyncByteStream):
            raise TypeError("a synchronous transport gives a synchronous stream")
        content = b"".join(answer.stream)
        answer.close()
        self._boundaries.meet("after", call)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Body(content))

    def close(self) -> None:
        self._transport.close()


def forget_gateways() -> None:
    """Clients are made once a process; from here on new ones are made."""
    for build in vars(gateways).values():
        if hasattr(build, "cache_clear"):
            build.cache_clear()


def _label(request: httpx.Request) -> str:
    if request.url.path in {"", "/"}:
        return str(json.loads(request.content)["method"])
    return f"{request.method} {request.url.path}"


def _who_is_at_work() -> str:
    """The innermost function of our services on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_OURS):
            return f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "nobody"
