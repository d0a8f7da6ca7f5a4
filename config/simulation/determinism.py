"""One seed, one history: whatever our code draws from the machine (time, ids, jitter) comes from the seed here."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

from django.db import connection
from django.utils import timezone

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    """Time stands still but for `advance`."""

    time: datetime = _BEGINNING

    def now(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by
        self.tell_database()

    def tell_database(self) -> None:
        """A connection made anew knows nothing of it."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('sluice.now', %s, false)", [self.time.isoformat()])


@contextmanager
def determined(seed: int, clock: Clock) -> Iterator[None]:
    """Ids, jitter and times in the block follow from the seed and the clock."""
    ids = random.Random(f"ids {seed}")  # noqa: S311 (a replay must repeat them)
    machine = SimpleNamespace(urandom=ids.randbytes)
    before = random.getstate()
    random.seed(f"jitter {seed}")
    try:
        # uuid.uuid4 is bound as the default of many columns; where it takes its bytes from is not.
        with patch.object(uuid, "os", machine), patch.object(timezone, "now", clock.now):
            yield
    finally:
        random.setstate(before)
