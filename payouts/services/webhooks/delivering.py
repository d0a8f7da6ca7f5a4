"""Emptying the outbox: each endpoint's events one after the other, many endpoints at the same time.

One sweep at a time sends, from one process, so that slow receivers take up one worker and no more: its main thread
alone talks to the database, and threads wait for the receivers. An endpoint is leased for a round of some events, and
each try written down, before the first request leaves; what came back is written down after the round, which ends with
the first event that is not taken. A process that dies in between leaves its lease to run out, and the round's events
are sent again with the same ids; whoever sweeps next goes on with the other endpoints at once.

An endpoint that is slow takes its own place and nobody else's. While it is waited for, the main thread goes on looking
for what is due; of the places a part is for those that are known as slow, and a host has a few. When a sweep's time is
over and a slow one still is not, the quick ones are served until it ends.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime

from django.db import DatabaseError

from config.lib import clock, locks
from config.lib.audit import Actor
from config.lib.http import refuse_in_transaction
from config.lib.public_http import Poster
from payouts import gateways
from payouts.models import WebhookEndpoint, host_of
from payouts.services.webhooks.outcomes import Outcome, record
from payouts.services.webhooks.rounds import SLOW_MS, Sending, take

logger = logging.getLogger(__name__)

# A thread that waits costs next to nothing.
MOST_AT_ONCE = 24
# Of these. However many are slow, the others have two places in three.
MOST_SLOW = 8
# Of these too: a service that receives for many of our clients may go down for all of them together.
MOST_OF_A_HOST = 4
# Only quick ones are begun after this, and while a slow one is waited for; the next sweep goes on.
_RUN_S = 20
# None is begun after this, which is less than a task may last.
_LONGEST_RUN_S = 120
# So often the main thread looks for what has become due, and whether what is being sent still should be.
_LOOK_EVERY_S = 0.25


def deliver_due(*, actor: Actor, run_s: int = _RUN_S) -> int:
    """Send what is due for about `run_s` seconds, and say how many events were delivered; 0 while another sweep sends."""
    refuse_in_transaction("an endpoint")
    with locks.alone(locks.Lock.WEBHOOKS) as is_ours:
        return _Run(actor, run_s=run_s).to_the_end() if is_ours else 0


def is_any_due(*, now: datetime) -> bool:
    """Whether a sweep would find something to send."""
    return WebhookEndpoint.objects.due(now).exists()


class _Run:
    """One sweep: what is under way, and the connections that its endpoints are reached by."""

    def __init__(self, actor: Actor, *, run_s: int) -> None:
        self._actor = actor
        self._ends_at = time.monotonic() + run_s
        self._ends_at_last = time.monotonic() + max(run_s, _LONGEST_RUN_S)
        self._under_way: dict[Future[list[Outcome]], Sending] = {}
        self._posters: dict[tuple[int, str], Poster] = {}
        self._delivered = 0
        self._broken: BaseException | None = None

    def to_the_end(self) -> int:
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="webhook") as threads:
            try:
                self._fill(threads, until=self._ends_at)
                while self._under_way:
                    done, _ = wait(self._under_way, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._settle(self._under_way.pop(future), self._result(future))
                    self._call_off_what_changed()
                    self._refill(threads)
            finally:
                for poster in self._posters.values():
                    poster.close()
        if self._broken is not None:
            raise self._broken
        return self._delivered

    def _refill(self, threads: ThreadPoolExecutor) -> None:
        now = time.monotonic()
        if now < self._ends_at:
            self._fill(threads, until=self._ends_at)
        elif now < self._ends_at_last and any(sending.is_slow for sending in self._under_way.values()):
            self._fill(threads, until=self._ends_at_last, only_quick=True)

    def _fill(self, threads: ThreadPoolExecutor, *, until: float, only_quick: bool = False) -> None:
        """Begin what is due, longest due first, where there is room for it."""
        if len(self._under_way) >= MOST_AT_ONCE:
            return
        due = WebhookEndpoint.objects.due(clock.now()).values_list("pk", "url", "last_took_ms")
        for pk, url, took_ms in due:
            is_slow = took_ms >= SLOW_MS
            if (is_slow and only_quick) or not self._is_room_for(pk, url, is_slow=is_slow):
                continue
            taken = take(pk)
            if taken is not None:
                sending = Sending(taken)
                self._under_way[threads.submit(sending.send, poster=self._poster, ends_at=until)] = sending

    def _is_room_for(self, pk: int, url: str, *, is_slow: bool) -> bool:
        under_way = self._under_way.values()
        # Its lease may have been ended while somebody still waits for its answer.
        if len(under_way) >= MOST_AT_ONCE or any(each.round.endpoint.pk == pk for each in under_way):
            return False
        if is_slow and sum(each.is_slow for each in under_way) >= MOST_SLOW:
            return False
        return Counter(each.round.endpoint.host for each in under_way)[host_of(url)] < MOST_OF_A_HOST

    def _call_off_what_changed(self) -> None:
        """Let what is sent to an endpoint that was disabled, or has another address or secret, end with this request."""
        under_way = {each.round.endpoint.pk: each for each in self._under_way.values()}
        found = WebhookEndpoint.objects.filter(pk__in=under_way).values_list("pk", "leased_until", "secret_made_at")
        for pk, lease, secret_made_at in found:
            taken = under_way[pk].round
            if (lease, secret_made_at) != (taken.lease, taken.endpoint.secret_made_at):
                under_way[pk].is_called_off = True

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

    def _settle(self, sending: Sending, outcomes: list[Outcome]) -> None:
        taken = sending.round
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
