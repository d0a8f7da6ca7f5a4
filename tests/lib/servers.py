"""The servers one test run shares: started once, by the process that collects, and gone when it is."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from config.stack.postgres import Postgres, fitting_privilege
from config.stack.redis import Redis

START_TIME_LIMIT_S = 120


@contextmanager
def running(
    command: list[str], *, is_ready: Callable[[], bool], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ready; ended on the way out. Raises RuntimeError with its last words if it does not start."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd="/", env=environment)
    try:
        deadline = time.monotonic() + START_TIME_LIMIT_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgres(folder: Path, sockets: Path) -> Iterator[Postgres]:
    """A server that forgets everything when the machine does: tests need speed, not durability."""
    server = Postgres(
        data=folder / "postgres", sockets=sockets, privilege=fitting_privilege(), durable=False, max_connections=100
    )
    server.prepare()
    with running(server.command(), is_ready=server.is_ready, log=folder / "postgres.log"):
        server.make_database()
        yield server


@contextmanager
def redis(folder: Path, socket: Path) -> Iterator[Redis]:
    server = Redis(data=folder / "redis", socket=socket)
    server.prepare()
    with running(server.command(), is_ready=server.is_ready, log=folder / "redis.log"):
        yield server


class SharedServers:
    """PostgreSQL and Redis for all workers of a run, at the addresses tests.settings computes from the state folder.

    A server whose address the environment names already (DATABASE_URL, CELERY_BROKER_URL) is somebody else's: it is
    used and left alone.
    """

    def __init__(self, folder: Path, *, sockets: Path, redis_socket: Path) -> None:
        self._folder = folder
        self._sockets = sockets
        self._redis_socket = redis_socket
        self._open = ExitStack()

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open.callback(shutil.rmtree, self._folder, ignore_errors=True)
        if not os.environ.get("DATABASE_URL", "").strip():
            self._open.enter_context(postgres(self._folder, self._sockets))
        if not os.environ.get("CELERY_BROKER_URL", "").strip():
            self._open.enter_context(redis(self._folder, self._redis_socket))

    def stop(self) -> None:
        self._open.close()
