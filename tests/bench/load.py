"""A load generator as small as its job: connections that are kept open, requests written before the clock starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: requests a second, and within how many milliseconds half, 95 and 99 of a hundred were answered."""

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class WrongAnswerError(RuntimeError):
    """The server answered something else than 201; the run says nothing then."""


def request_bytes(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def send_all(address: tuple[str, int], requests: Sequence[bytes], *, connections: int) -> Measured:
    """Send every request once, divided among `connections`, each as fast as the answers come.

    Raises:
        WrongAnswerError: an answer was not 201.
    """
    barrier = Barrier(connections + 1)
    shares = [requests[offset::connections] for offset in range(connections)]
    with ThreadPoolExecutor(connections) as pool:
        running = [pool.submit(_send_share, address, share, barrier) for share in shares]
        barrier.wait(TIMEOUT_S)
        started = time.perf_counter()
        times = sorted(moment for one in running for moment in one.result())
        elapsed = time.perf_counter() - started
    p50_ms, p95_ms, p99_ms = (times[len(times) * share // 100] * 1000 for share in (50, 95, 99))
    return Measured(per_second=len(times) / elapsed, p50_ms=p50_ms, p95_ms=p95_ms, p99_ms=p99_ms)


def _send_share(address: tuple[str, int], requests: Sequence[bytes], barrier: Barrier) -> list[float]:
    times = []
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        barrier.wait(TIMEOUT_S)
        for request in requests:
            started = time.perf_counter()
            connection.sendall(request)
            _read_answer(connection)
            times.append(time.perf_counter() - started)
    return times


def _read_answer(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += _more(connection)
    if not head.startswith(b"HTTP/1.1 201"):
        raise WrongAnswerError(head.decode(errors="replace") + body.decode(errors="replace")[:500])


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise WrongAnswerError("the server closed the connection")
    return received
