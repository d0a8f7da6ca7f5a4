"""Emptying the outbox: each endpoint's events one after the other, several endpoints at the same time.

One sweep at a time sends, from one process, so that slow receivers take up one worker and no more: its main thread
alone talks to the database, and threads wait for the receivers. An endpoint is leased for a round of some events, and
each try written down, before the first request leaves; what came back is written down after the round, which ends with
the first event that is not taken. A process that dies in between leaves its lease to run out, and the round's events
are sent again with the same ids.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import F
from django.utils import timezone

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.http import refuse_in_transaction
from config.lib.public_http import DEADLINE_S, Posted, Poster
from payouts import gateways
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payouts.services.webhooks.messages import body_of, headers_of
from payouts.services.webhooks.outcomes import Outcome, record
from payouts.services.webhooks.secrets import LostKeyError, live_secrets

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 8
# Writing down twenty costs little more than writing down one, and twenty repeats after a crash are bearable.
_MOST_IN_A_ROUND = 20
# No request of a round is begun after this.
_ROUND_S = 10
# No round is begun after this; the next sweep goes on.
_RUN_S = 20
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


def deliver_due(*, actor: Actor, run_s: int = _RUN_S) -> int:
    """Send what is due for about `run_s` seconds, and say how many events were delivered; 0 while another sweep sends."""
    refuse_in_transaction("an endpoint")
    if WebhookEndpoint.objects.being_sent_to(clock.now()).exists():
        return 0
    return _Run(actor, ends_at=time.monotonic() + run_s).to_the_end()


def is_any_due(*, now: datetime) -> bool:
    """Whether a sweep would find something to send."""
    return WebhookEndpoint.objects.due(now).exists()


class _Run:
    """One sweep: what is under way, and the connections that its endpoints are reached by."""

    def __init__(self, actor: Actor, *, ends_at: float) -> None:
        self._actor = actor
        self._ends_at = ends_at
        self._under_way: dict[Future[list[Outcome]], Round] = {}
        self._posters: dict[tuple[int, str], Poster] = {}
        self._delivered = 0
        self._broken: BaseException | None = None

    def to_the_end(self) -> int:
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="webhook") as threads:
            try:
                self._fill(threads)
                while self._under_way:
                    done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._settle(self._under_way.pop(future), self._result(future))
                    if time.monotonic() < self._ends_at:
                        self._fill(threads)
            finally:
                for poster in self._posters.values():
                    poster.close()
        if self._broken is not None:
            raise self._broken
        return self._delivered

    def _fill(self, threads: ThreadPoolExecutor) -> None:
        free = MOST_AT_ONCE - len(self._under_way)
        for pk in WebhookEndpoint.objects.due(clock.now()).values_list("pk", flat=True)[:free]:
            taken = _take(pk)
            if taken is not None:
                self._under_way[threads.submit(self._send, taken)] = taken

    def _send(self, taken: Round) -> list[Outcome]:
        """What came of each event, up to the first that was not taken; in a thread of its own, as nobody else sends
        to this endpoint.
        """
        ends_at = min(self._ends_at, time.monotonic() + _ROUND_S)
        outcomes: list[Outcome] = []
        for delivery in taken.deliveries:
            outcomes.append(self._send_one(taken, delivery))
            if not outcomes[-1].is_delivered or time.monotonic() >= ends_at:
                break
        return outcomes

    def _send_one(self, taken: Round, delivery: WebhookDelivery) -> Outcome:
        if taken.cannot:
            return Outcome(error=taken.cannot, is_ours=True)
        body = body_of(delivery)
        headers = headers_of(delivery, body, secrets=taken.secrets, now=timezone.now())
        started = time.monotonic()
        try:
            posted = self._poster(taken.endpoint).post(body, headers)
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

    def _result(self, future: Future[list[Outcome]]) -> list[Outcome]:
        """What a thread found; a fault of ours is one endpoint's wait first, and the sweep's at its end."""
        error = future.exception()
        if error is None:
            return future.result()
        logger.error("a webhook could not be sent", exc_info=error)
        self._broken = error
        told = f"Sending broke off on our side ({type(error).__name__}); the log has the reason."
        return [Outcome(error=told, is_ours=True)]

    def _settle(self, taken: Round, outcomes: list[Outcome]) -> None:
        self._delivered += sum(outcome.is_delivered for outcome in outcomes)
        key = (taken.endpoint.pk, taken.endpoint.url)
        if not outcomes[-1].is_delivered and key in self._posters:
            # The next try looks the name up anew.
            self._posters.pop(key).close()
        try:
            record(
                endpoint_id=taken.endpoint.pk,
                lease=taken.lease,
                attempts=taken.attempts,
                outcomes=outcomes,
                actor=self._actor,
            )
        except DatabaseError as error:
            # Its lease runs out, and its events are sent again; what other rounds have learned is still to be written.
            logger.exception("what came of webhooks was not written down", extra={"endpoint": taken.endpoint.pk})
            self._broken = error


def _take(endpoint_id: int) -> Round | None:
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
