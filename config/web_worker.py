"""gunicorn's threads; but what is no HTTP is refused in our API's words, and nobody is waited for without end.

`gunicorn --worker-class config.web_worker.Worker config.wsgi`
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import TConn, ThreadWorker

from config.lib.problems import CONTENT_TYPE, problem

# What is told of each, and nothing of what was sent; all others are not HTTP as it should be.
_REFUSALS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (errors.LimitRequestLine, 414, "uri_too_long", "The address is longer than any of ours."),
    (errors.LimitRequestHeaders, 431, "headers_too_large", "There are more header lines than we read, or longer ones."),
    (errors.ExpectationFailed, 417, "expectation_failed", "Expect nothing but 100-continue."),
    (errors.ParseException, 400, "bad_request", "The request is not HTTP as we read it."),
)
_OURS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)


class SilenceFilter(logging.Filter):
    """Somebody who went silent is a line: gunicorn takes it for a fault of ours, with a traceback for each connection."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
            record.msg, record.args = "closed on a caller that went silent", ()
            record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        return True


class Worker(ThreadWorker):  # type: ignore[misc] # (gunicorn has no types)
    """A caller that goes silent in the middle of a request, or reads no answer, gives its thread back after PATIENCE_S.

    One that goes on in drips does after READ_WITHIN_S, and has its answer in drips for ANSWERED_WITHIN_S. Who comes
    again and again with such takes all threads all the same: that is for the proxy in front, which hands requests on whole.
    """

    PATIENCE_S = 5
    # For the four megabytes of the largest request.
    READ_WITHIN_S = 30
    # Longer than any work of ours takes, whose answer must not be cut off.
    ANSWERED_WITHIN_S = 600

    def init_process(self) -> None:
        """Begin to serve; returns when the worker ends."""
        self.log.error_log.addFilter(SilenceFilter())
        # Changed by the threads that serve, looked through by the one that accepts.
        self._since: dict[TConn, float] = {}
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Serve what has come on a connection."""
        # Not a timeout of Python's: gunicorn sets that itself, to none.
        patience = struct.pack("ll", self.PATIENCE_S, 0)
        for waiting in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, waiting, patience)
        self._since[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            del self._since[conn]

    def murder_pending(self) -> None:
        """Each second or more often: end what waits for its first byte, and the reading of what comes in drips."""
        super().murder_pending()
        now = time.monotonic()
        for conn, since in [*self._since.items()]:
            # Its thread reads an end from then on. What has been read whole goes on to its answer.
            with suppress(OSError):
                if now - since > self.ANSWERED_WITHIN_S:
                    conn.sock.shutdown(socket.SHUT_RDWR)
                elif now - since > self.READ_WITHIN_S:
                    conn.sock.shutdown(socket.SHUT_RD)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what could not be parsed; a fault of ours is its base's affair."""
        for kind, status, code, detail in _REFUSALS:
            if isinstance(exc, kind) and not isinstance(exc, _OURS):
                self.log.warning("refused what is no HTTP: %s, from %s", type(exc).__name__, addr[0] if addr else "")
                _refuse(client, status, code, detail)
                return
        super().handle_error(req, client, addr, exc)


def _refuse(client: socket.socket, status: int, code: str, detail: str) -> None:
    body = problem(status, code, detail).content
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    try:
        write_nonblock(client, head.encode("ascii") + body)
    except OSError:
        # It has gone, or does not read: nobody is there to be told.
        return
