"""Emptying the outbox: each endpoint's events one after the other, several endpoints at the same time.

One sweep at a time sends, from one process, so that slow receivers take up one worker and no more: its main thread
alone talks to the database, and threads wait for the receivers. A try is written down, and its endpoint leased, before
the request leaves; what came back is written down after. A process that dies in between leaves its lease to run out,
and the event is sent again with the same id.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.http import refuse_in_transaction
from config.lib.public_http import DEADLINE_S, Posted, Poster
from payouts import gateways
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payouts.services.webhooks.messages import body_of, headers_of
from payouts.services.webhooks.outcomes import Outcome, give_up_of_disabled, record
from payouts.services.webhooks.secrets import LostKeyError, live_secrets

logger = logging.getLogger(__name__)

# Longer than a request and what is written before and after it can take.
LEASE = timedelta(seconds=3 * DEADLINE_S)
MOST_AT_ONCE = 8
# No new request is begun after this; the next sweep goes on.
_RUN_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request that is about to leave; `cannot` says why it does not."""

    attempt: WebhookAttempt
    delivery: WebhookDelivery
    endpoint: WebhookEndpoint
    lease: datetime
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    cannot: str = ""


def deliver_due(*, actor: Actor, run_s: int = _RUN_S) -> int:
    """Send what is due for about `run_s` seconds, and say how many events were delivered; 0 while another sweep sends."""
    refuse_in_transaction("an endpoint")
    give_up_of_disabled(now=timezone.now())
    if WebhookEndpoint.objects.being_sent_to(timezone.now()).exists():
        return 0
    return _Run(actor).until(time.monotonic() + run_s)


def is_any_due(*, now: datetime) -> bool:
    """Whether a sweep would find something to send."""
    return WebhookEndpoint.objects.due(now).exists()


class _Run:
    """One sweep: what is under way, and the connections that its endpoints are reached by."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._under_way: dict[Future[Outcome], Shot] = {}
        self._posters: dict[tuple[int, str], Poster] = {}
        self._delivered = 0
        self._broken: BaseException | None = None

    def until(self, ends_at: float) -> int:
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="webhook") as threads:
            try:
                self._fill(threads)
                while self._under_way:
                    done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._settle(self._under_way.pop(future), self._result(future))
                    if time.monotonic() < ends_at:
                        self._fill(threads)
            finally:
                for poster in self._posters.values():
                    poster.close()
        if self._broken is not None:
            raise self._broken
        return self._delivered

    def _result(self, future: Future[Outcome]) -> Outcome:
        """What a thread found; a fault of ours is one endpoint's failure first, and the sweep's at its end."""
        error = future.exception()
        if error is None:
            return future.result()
        logger.error("a webhook could not be sent", exc_info=error)
        self._broken = error
        return Outcome(error=f"Sending broke off on our side ({type(error).__name__}); the log has the reason.")

    def _fill(self, threads: ThreadPoolExecutor) -> None:
        free = MOST_AT_ONCE - len(self._under_way)
        for pk in WebhookEndpoint.objects.due(timezone.now()).values_list("pk", flat=True)[:free]:
            shot = _take(pk)
            if shot is not None:
                self._under_way[threads.submit(self._send, shot)] = shot

    def _send(self, shot: Shot) -> Outcome:
        """In a thread of its own; the only one that uses this endpoint's connection."""
        started = time.monotonic()
        try:
            if shot.cannot:
                return Outcome(error=shot.cannot)
            posted = self._poster(shot.endpoint).post(shot.body, shot.headers)
        except SluiceError as error:
            return Outcome(error=str(error), duration_ms=_ms_since(started))
        return _outcome_of(posted, _ms_since(started))

    def _poster(self, endpoint: WebhookEndpoint) -> Poster:
        # By the address too, which somebody may change meanwhile.
        key = (endpoint.pk, endpoint.url)
        poster = self._posters.get(key)
        if poster is None:
            poster = self._posters[key] = gateways.webhook_poster(endpoint.url)
        return poster

    def _settle(self, shot: Shot, outcome: Outcome) -> None:
        self._delivered += outcome.is_delivered
        key = (shot.endpoint.pk, shot.endpoint.url)
        if not outcome.is_delivered and key in self._posters:
            # The next try looks the name up anew.
            self._posters.pop(key).close()
        record(
            attempt_id=shot.attempt.pk,
            delivery_id=shot.delivery.pk,
            endpoint_id=shot.endpoint.pk,
            lease=shot.lease,
            outcome=outcome,
            actor=self._actor,
        )


def _take(endpoint_id: int) -> Shot | None:
    """Lease the endpoint, and write down that its first waiting event is about to be sent; None if there is nothing."""
    with transaction.atomic():
        now = timezone.now()
        free = WebhookEndpoint.objects.due(now).select_for_update(of=("self",), skip_locked=True)
        endpoint = free.filter(pk=endpoint_id).first()
        if endpoint is None:
            return None
        waiting = endpoint.deliveries.waiting().select_related("accumulation__client")
        delivery = waiting.order_by("pk").first()
        if delivery is None:
            return None
        lease = now + LEASE
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(leased_until=lease)
        WebhookDelivery.objects.filter(pk=delivery.pk).update(attempts=delivery.attempts + 1)
        attempt = WebhookAttempt.objects.create(endpoint=endpoint, delivery=delivery, started_at=now)
    return _shot(attempt, delivery, endpoint, lease)


def _shot(attempt: WebhookAttempt, delivery: WebhookDelivery, endpoint: WebhookEndpoint, lease: datetime) -> Shot:
    body, headers, cannot = body_of(delivery), {}, ""
    now = timezone.now()
    try:
        headers = headers_of(delivery, body, secrets=live_secrets(endpoint, now=now), now=now)
    except LostKeyError as error:
        cannot = str(error)
    return Shot(
        attempt=attempt,
        delivery=delivery,
        endpoint=endpoint,
        lease=lease,
        body=body,
        headers=headers,
        cannot=cannot,
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
