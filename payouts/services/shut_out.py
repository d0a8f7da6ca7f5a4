"""Whom this process does not listen to at the moment: what they send costs the database nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import Error

# So often one of them is looked at all the same. An operator who lets somebody be heard again waits no longer.
_LOOKED_AT_EVERY_S = 5.0
_MOST_REMEMBERED = 10_000

Rejection = tuple[str, str]


class ShutOut:
    """Callers beyond their bound, and how many deliveries of theirs are not in the figures of the database yet.

    Only a saving: what is forgotten here is found out again by the next look into the database.
    """

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self._uncounted: Counter[Rejection] = Counter()
        self._lock = threading.Lock()

    def has(self, *, kind: str, callers: Iterable[str]) -> bool:
        now = time.monotonic()
        return any(self._until.get((kind, who), now) > now for who in callers)

    def add(self, *, kind: str, callers: Iterable[str]) -> None:
        """Do not listen to them for some seconds."""
        until = time.monotonic() + _LOOKED_AT_EVERY_S
        with self._lock:
            if len(self._until) > _MOST_REMEMBERED:
                self._until.clear()
            self._until.update({(kind, who): until for who in callers})

    def count(self, rejection: Rejection) -> None:
        """One delivery more that the database does not know of."""
        with self._lock:
            self._uncounted[rejection] += 1

    @contextmanager
    def uncounted(self, *, also: Rejection) -> Iterator[dict[Rejection, int]]:
        """What the database is to be told inside of this, `also` among it; what fails is told the next time."""
        with self._lock:
            told, self._uncounted = self._uncounted + Counter([also]), Counter()
        try:
            yield told
        except Error:
            with self._lock:
                self._uncounted += told
            raise

    def forget(self) -> None:
        with self._lock:
            self._until.clear()
            self._uncounted.clear()
