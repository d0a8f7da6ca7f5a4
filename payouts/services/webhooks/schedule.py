"""When an endpoint that did not take an event is tried again."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

# Quick at first, for a receiver that is being restarted; then four times a day until the three days are over.
_WAITS_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600)
# A receiver's own word counts up to this; it may have written milliseconds.
_LONGEST_ASKED_FOR = timedelta(hours=6)
# With events to be given up one after the other, a dead endpoint is not asked more often than this.
_SHORTEST_TO_LAST = timedelta(minutes=1)


def next_try(*, now: datetime, failures: int, tried_until: datetime, asked_for_s: int | None) -> datetime:
    """After so many failures in a row: later and later, with a jitter of a fifth either way, so that many do not come
    back as one; and once exactly when the time of the event in front is over, which is its last try.
    """
    longest = timedelta(seconds=_WAITS_S[min(max(failures, 1), len(_WAITS_S)) - 1])
    wait: timedelta = longest * random.uniform(0.8, 1.2)  # noqa: S311 (spreads load, guards nothing)
    if asked_for_s is not None:
        wait = max(wait, min(timedelta(seconds=asked_for_s), _LONGEST_ASKED_FOR))
    to_last = max(tried_until - now, _SHORTEST_TO_LAST)
    return now + min(wait, to_last)
