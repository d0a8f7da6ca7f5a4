"""Two at once, for real: threads with connections of their own, and how to see that one waits for the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection, connections

T = TypeVar("T")

# No test waits so long where all is well: a machine with other work to do may.
PATIENCE_S = 60.0

_WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
"""


class Crew:
    """Workers beside the test; each call has a database connection of its own, closed when it is done."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` beside the test; `.result()` waits for it, and raises what it raised."""

        def with_own_connection() -> T:
            try:
                return work()
            finally:
                connections.close_all()

        return self._pool.submit(with_own_connection)


@contextmanager
def crew(size: int = 4) -> Iterator[Crew]:
    """Workers, all of whom have ended when the block is left."""
    with ThreadPoolExecutor(max_workers=size) as pool:
        yield Crew(pool)


def wait_until(is_so: Callable[[], object]) -> None:
    """Return when it is so.

    Raises:
        TimeoutError: it is not, for long.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(0.01)
    message = f"it was not so within {PATIENCE_S} s"
    raise TimeoutError(message)


def wait_until_blocked(sessions: int = 1) -> None:
    """Return when so many other sessions wait for a lock.

    Raises:
        TimeoutError: they do not, for long.
    """

    def is_blocked() -> bool:
        with connection.cursor() as cursor:
            # Within a transaction PostgreSQL shows what it showed at the first look.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(_WAITING)
            (waiting,) = cursor.fetchone()
        return bool(waiting >= sessions)

    wait_until(is_blocked)
