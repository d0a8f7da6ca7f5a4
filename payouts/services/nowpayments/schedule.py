"""When the provider is asked again about a payment."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from payouts.models import UNFINISHED, NowPayment

# A refund is told to who asks, never by a notification; so what has ended is looked at some more times.
WATCH = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
_MOST_DOUBLINGS = 5
_FIRST_RETRY_S, _LONGEST_RETRY_S = 30, 3600
# An address waits for its deposit for a week; a month is beyond any delay of a chain.
STALE_AFTER = timedelta(days=30)
STALE_AGAIN = timedelta(days=1)


def next_look(payment: NowPayment) -> datetime | None:
    """When to ask again after an answer that changed nothing; None when it was asked often enough."""
    now = timezone.now()
    if payment.status in UNFINISHED:
        if payment.created_at <= now - STALE_AFTER:
            return now + STALE_AGAIN
        return now + timedelta(seconds=settings.NOWPAYMENTS_POLL_EVERY_S * 2 ** min(payment.looks, _MOST_DOUBLINGS))
    asked = payment.looks + 1
    return now + WATCH[asked] - WATCH[asked - 1] if asked < len(WATCH) else None


def next_try(payment: NowPayment) -> datetime:
    """When to try again after a failure that may pass."""
    doubled = _FIRST_RETRY_S * 2 ** min(payment.attempts, 10)
    return timezone.now() + timedelta(seconds=min(doubled, _LONGEST_RETRY_S))


def lease_end() -> datetime:
    """Until when whoever takes a payment up has it for itself: longer than its two outside calls can take."""
    return timezone.now() + timedelta(seconds=3 * settings.PROVIDER_TIMEOUT_S + 15)
