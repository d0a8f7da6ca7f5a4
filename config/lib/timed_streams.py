"""Connections whose every wait is cut to what is left of a whole: a byte now and then does not prolong it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import httpcore


class TimedStream(httpcore.NetworkStream):
    """`time_left` says the seconds that are left, and raises httpcore.ReadTimeout when there are none."""

    def __init__(self, stream: httpcore.NetworkStream, time_left: Callable[[], float]) -> None:
        self._stream = stream
        self._time_left = time_left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._time_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._time_left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._time_left())
        return TimedStream(secured, self._time_left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
