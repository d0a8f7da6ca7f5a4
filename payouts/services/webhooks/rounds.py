"""One endpoint's turn: its first waiting events, leased and written down before the first of them is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config.lib import clock
from config.lib.errors import SluiceError
from config.lib.public_http import DEADLINE_S, Posted, Poster
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payouts.services.webhooks.messages import body_of, headers_of
from payouts.services.webhooks.outcomes import Outcome
from payouts.services.webhooks.secrets import LostKeyError, live_secrets

# Writing down twenty costs little more than writing down one, and twenty repeats after a crash are bearable.
_MOST_IN_A_ROUND = 20
# No request of a round is begun after this.
_ROUND_S = 10
# A receiver that takes longer over an answer is slow: its round ends there, and it waits among its like.
SLOW_MS = 1000
# Longer than a round and its last request, and what is written before and after it.
LEASE = timedelta(seconds=_ROUND_S + DEADLINE_S + 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is about to be sent to one endpoint, in this order; `cannot` says why nothing is."""

    endpoint: WebhookEndpoint
    lease: datetime
    deliveries: Sequence[WebhookDelivery]
    attempts: Sequence[WebhookAttempt]
    secrets: list[str] = field(repr=False)
    cannot: str = ""


class Sending:
    """A round under way: a thread sends it, and the main one looks at it and may call it off."""

    def __init__(self, taken: Round) -> None:
        self.round = taken
        self.is_called_off = False
        self._is_known_as_slow = taken.endpoint.last_took_ms >= SLOW_MS
        self._asked_at = time.monotonic()

    @property
    def is_slow(self) -> bool:
        """Whether its endpoint was slow the last time, or is so at this moment."""
        return self._is_known_as_slow or _ms_since(self._asked_at) >= SLOW_MS

    def send(self, *, poster: Callable[[WebhookEndpoint], Poster], ends_at: float) -> list[Outcome]:
        """What came of each event, up to the first that was not taken at all or not at once.

        In a thread of its own, as nobody else sends to this endpoint.
        """
        ends_at = min(ends_at, time.monotonic() + _ROUND_S)
        outcomes: list[Outcome] = []
        for delivery in self.round.deliveries:
            self._asked_at = time.monotonic()
            outcomes.append(self._send_one(delivery, poster))
            is_at_ease = outcomes[-1].is_delivered and outcomes[-1].duration_ms < SLOW_MS
            if not is_at_ease or self.is_called_off or time.monotonic() >= ends_at:
                break
        return outcomes

    def _send_one(self, delivery: WebhookDelivery, poster: Callable[[WebhookEndpoint], Poster]) -> Outcome:
        if self.round.cannot:
            return Outcome(error=self.round.cannot, is_ours=True)
        body = body_of(delivery)
        headers = headers_of(delivery, body, secrets=self.round.secrets, now=timezone.now())
        try:
            posted = poster(self.round.endpoint).post(body, headers)
        except SluiceError as error:
            return Outcome(error=str(error), duration_ms=_ms_since(self._asked_at))
        return _outcome_of(posted, _ms_since(self._asked_at))


def take(endpoint_id: int) -> Round | None:
    """Lease the endpoint, and write down that its first waiting events are about to be sent; None if there is nothing."""
    with transaction.atomic():
        now = clock.now()
        free = WebhookEndpoint.objects.due(now).select_for_update(of=("self",), skip_locked=True)
        endpoint = free.filter(pk=endpoint_id).first()
        if endpoint is None:
            return None
        waiting = endpoint.deliveries.waiting().select_related("accumulation__client").order_by("pk")
        # After a failure one is enough to see whether it is over.
        deliveries = list(waiting[: 1 if endpoint.failures else _MOST_IN_A_ROUND])
        if not deliveries:
            return None
        lease = now + LEASE
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(leased_until=lease)
        WebhookDelivery.objects.filter(pk__in=[each.pk for each in deliveries]).update(attempts=F("attempts") + 1)
        attempts = WebhookAttempt.objects.bulk_create(
            [WebhookAttempt(endpoint=endpoint, delivery=each, started_at=now) for each in deliveries]
        )
    secrets, cannot = [], ""
    try:
        secrets = live_secrets(endpoint, now=now)
    except LostKeyError as error:
        cannot = str(error)
    return Round(
        endpoint=endpoint, lease=lease, deliveries=deliveries, attempts=attempts, secrets=secrets, cannot=cannot
    )


def _outcome_of(posted: Posted, duration_ms: int) -> Outcome:
    if 200 <= posted.status < 300:
        error = ""
    elif 300 <= posted.status < 400:
        error = f"HTTP {posted.status}: redirections are not followed; change the endpoint's address."
    else:
        error = f"HTTP {posted.status}"
    return Outcome(
        error=error,
        status_code=posted.status,
        response=posted.body,
        retry_after_s=posted.retry_after_s,
        duration_ms=duration_ms,
    )


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
