"""The health of the services we call: after some failures in a row one is left alone, longer each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from config.lib import clock
from config.lib.errors import PermanentError, RateLimitedError, TransientError
from hostpay import gateways
from hostpay.models import ServiceHealth
from hostpay.services.steps import Wait

EXCHANGE = gateways.EXCHANGE
FAILURES_TO_REST = 3
FIRST_REST = timedelta(seconds=30)
LONGEST_REST = timedelta(minutes=10)
# A success is written down after a failure, and otherwise now and then: the row says "all is well", not each call.
_SUCCESS_EVERY = timedelta(minutes=1)


def rest_of(name: str) -> Wait | None:
    """What to say instead of calling the service, while it rests; None if it may be called.

    When a rest is over one caller is let through to try, and the others wait for what it finds.
    """
    row = ServiceHealth.objects.filter(pk=name).first()
    now = clock.now()
    if row is None or row.resting_until is None:
        return None
    if row.resting_until > now:
        return _waiting(row, row.resting_until, now)
    turn = now + timedelta(seconds=4 * settings.PROVIDER_TIMEOUT_S)
    is_ours = ServiceHealth.objects.filter(pk=name, resting_until=row.resting_until).update(resting_until=turn)
    return None if is_ours else _waiting(row, turn, now)


@contextmanager
def counted(name: str) -> Iterator[None]:
    """Around one call, or several of one step: count how it went. A refusal is an answer, and the service is well."""
    try:
        yield
    except TransientError as error:
        _failed(name, error)
        raise
    except PermanentError:
        _succeeded(name)
        raise
    _succeeded(name)


def rest_length(failures: int) -> timedelta:
    """From `FIRST_REST` doubling to `LONGEST_REST`, with a jitter of a quarter either way."""
    doublings = min(max(failures - FAILURES_TO_REST, 0), 10)
    longest: timedelta = min(FIRST_REST * int(2**doublings), LONGEST_REST)
    return longest * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)


def _waiting(row: ServiceHealth, until: datetime, now: datetime) -> Wait:
    return Wait(
        reason=f"{row.name} rests after {row.failures} failures in a row: {row.last_error}",
        after_s=max(1, round((until - now).total_seconds()) + 1),
    )


def _failed(name: str, error: TransientError) -> None:
    now = clock.now()
    ServiceHealth.objects.get_or_create(name=name)
    with transaction.atomic():
        row = ServiceHealth.objects.select_for_update().get(pk=name)
        row.failures += 1
        row.last_error = str(error)
        row.failed_at = now
        row.resting_until = _rest_until(row, error, now)
        row.save(update_fields=("failures", "last_error", "failed_at", "resting_until"))


def _rest_until(row: ServiceHealth, error: TransientError, now: datetime) -> datetime | None:
    asked_for = error.retry_after_s if isinstance(error, RateLimitedError) else None
    if asked_for is not None:
        # The service's own word, kept at once; beyond our longest rest we ask whether it still holds.
        return now + min(timedelta(seconds=max(1, asked_for)), LONGEST_REST)
    return now + rest_length(row.failures) if row.failures >= FAILURES_TO_REST else None


def _succeeded(name: str) -> None:
    now = clock.now()
    row, is_new = ServiceHealth.objects.get_or_create(name=name, defaults={"succeeded_at": now})
    is_old = row.succeeded_at is None or now - row.succeeded_at > _SUCCESS_EVERY
    if not is_new and (row.failures or row.resting_until is not None or is_old):
        ServiceHealth.objects.filter(pk=name).update(failures=0, resting_until=None, last_error="", succeeded_at=now)
