"""Scheduled work leaves a heartbeat, so that its silence is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from config.lib import clock
from hostpay.models import Heartbeat


@contextmanager
def beating(name: str) -> Iterator[None]:
    """Stamp the start and the end of one run of `name`; an error is stamped and goes on up."""
    _stamp(name, started_at=clock.now())
    try:
        yield
    except BaseException as error:
        _stamp(name, failed_at=clock.now(), last_error=f"{type(error).__name__}: {error}"[:2000])
        raise
    _stamp(name, succeeded_at=clock.now())


def _stamp(name: str, **columns: object) -> None:
    Heartbeat.objects.update_or_create(name=name, defaults=columns)
