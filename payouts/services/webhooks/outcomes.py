"""What came of a try: the event is delivered, or waits for the next one, or is given up; and the endpoint may end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from django.db import connection, transaction
from django.db.models import F

from config import logs
from config.lib import clock
from config.lib.audit import Actor
from payouts.models import (
    TRIED_FOR,
    EndpointStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from payouts.services.webhooks.schedule import next_try

logger = logging.getLogger(__name__)

# Of an answer the beginning is enough to see what was meant.
_RESPONSE_KEPT = 4096
_LONGEST_ERROR = 500
_GIVEN_UP_AT_ONCE = 10_000
# An event whose time was over before its turn came has so many tries of its own: one failure says little.
_TRIES_OF_ITS_OWN = 3
# So many different ones given up in a row are the receiver's doing and not theirs.
_GIVEN_UP_IN_A_ROW = 5
# A key that is put back, or a fault that is mended, shows within minutes.
_OURS_AGAIN = timedelta(minutes=5)
_GONE = "The receiver says that it is gone for good (HTTP 410)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back; `error` is empty if the receiver took the event, `is_ours` says that it is not to blame."""

    error: str
    is_ours: bool = False
    status_code: int | None = None
    response: bytes = field(default=b"", repr=False)
    retry_after_s: int | None = None
    duration_ms: int = 0

    @property
    def is_delivered(self) -> bool:
        return not self.error

    @property
    def is_gone(self) -> bool:
        return self.status_code == HTTPStatus.GONE


def record(
    *,
    endpoint_id: int,
    lease: datetime,
    attempts: Sequence[WebhookAttempt],
    outcomes: Sequence[Outcome],
    actor: Actor,
) -> None:
    """Write down what came of a round of tries, and when the next one is.

    `outcomes` are of the first of `attempts`: those after an event that was not taken were not made, and are taken
    back. Under a lease that has run out, or was ended by another address, only what came of the tries counts.
    """
    now = clock.now()
    made, not_made = attempts[: len(outcomes)], attempts[len(outcomes) :]
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        _complete(made, outcomes, now)
        taken = [each.delivery_id for each, outcome in zip(made, outcomes, strict=True) if outcome.is_delivered]
        WebhookDelivery.objects.filter(pk__in=taken).update(delivered_at=now, given_up_at=None)
        not_counted = [*not_made, *made[-1:]] if outcomes[-1].is_ours else not_made
        WebhookDelivery.objects.filter(pk__in=[each.delivery_id for each in not_counted]).update(
            attempts=F("attempts") - 1
        )
        WebhookAttempt.objects.filter(pk__in=[each.pk for each in not_made]).delete()
        if endpoint.leased_until == lease:
            _go_on(endpoint, outcomes[-1], made[-1].delivery_id, now)
            if outcomes[-1].is_gone and endpoint.is_enabled:
                endpoint.move(EndpointStatus.DISABLED, actor=actor, reason=_GONE, disabled_reason=_GONE)


def give_up_of_disabled() -> int:
    """Give up what waited for disabled endpoints until its time was over; says how many."""
    now = clock.now()
    disabled = WebhookEndpoint.objects.filter(status=EndpointStatus.DISABLED).values_list("pk", flat=True)
    given_up = 0
    for pk in disabled:
        while count := _give_up(pk, now):
            given_up += count
    return given_up


def _complete(made: Sequence[WebhookAttempt], outcomes: Sequence[Outcome], now: datetime) -> None:
    for attempt, outcome in zip(made, outcomes, strict=True):
        attempt.ended_at = now
        attempt.duration_ms = outcome.duration_ms
        attempt.status_code = outcome.status_code
        attempt.error = outcome.error[:_LONGEST_ERROR]
        attempt.response_body = _readable(outcome.response)
    WebhookAttempt.objects.bulk_update(made, ("ended_at", "duration_ms", "status_code", "error", "response_body"))


def _go_on(endpoint: WebhookEndpoint, outcome: Outcome, delivery_id: int, now: datetime) -> None:
    found = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    if outcome.is_delivered:
        found.update(
            leased_until=None,
            next_attempt_at=now,
            failures=0,
            failing_since=None,
            last_error="",
            last_success_at=now,
            last_took_ms=outcome.duration_ms,
            given_up_in_a_row=0,
        )
        return
    if outcome.is_ours:
        # No failure of the receiver's, so nothing is given up for it.
        found.update(leased_until=None, next_attempt_at=now + _OURS_AGAIN, last_error=outcome.error[:_LONGEST_ERROR])
        return
    delivery = WebhookDelivery.objects.get(pk=delivery_id)
    is_given_up = delivery.tried_until <= now and _give_up_front(endpoint, delivery, now)
    failures = endpoint.failures + 1
    found.update(
        leased_until=None,
        next_attempt_at=next_try(
            now=now, failures=failures, tried_until=delivery.tried_until, asked_for_s=outcome.retry_after_s
        ),
        failures=failures,
        failing_since=endpoint.failing_since or now,
        last_error=outcome.error[:_LONGEST_ERROR],
        last_took_ms=outcome.duration_ms,
        given_up_in_a_row=endpoint.given_up_in_a_row + int(is_given_up),
    )


def _give_up_front(endpoint: WebhookEndpoint, front: WebhookDelivery, now: datetime) -> bool:
    """Give up an event that was not taken in its time, if it had its tries; says whether.

    What waited behind it may be taken: only after several have failed in a row, those whose time is over go with it.
    """
    if endpoint.given_up_in_a_row >= _GIVEN_UP_IN_A_ROW:
        return _give_up(endpoint.pk, now) > 0
    if front.attempts < _TRIES_OF_ITS_OWN:
        return False
    logger.warning("webhook given up", extra={"endpoint": endpoint.pk, "event": front.message_id})
    return WebhookDelivery.objects.waiting().filter(pk=front.pk).update(given_up_at=now) > 0


def _give_up(endpoint_id: int, now: datetime) -> int:
    """Give up the endpoint's first events whose time is over, since nobody has taken them; says how many.

    Not more than a statement can do in a moment: a batch's million have their time over together.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _GIVE_UP, {"now": now, "since": now - TRIED_FOR, "endpoint": endpoint_id, "most": _GIVEN_UP_AT_ONCE}
        )
        given_up: int = cursor.rowcount
    if given_up:
        logger.warning("webhooks given up", extra={"endpoint": endpoint_id, "events": given_up})
    return given_up


def _readable(body: bytes) -> str:
    """The beginning of an answer, as PostgreSQL can store it, and without a secret that it quotes back.

    Cut last: half a secret is masked by nobody.
    """
    text = body[: 2 * _RESPONSE_KEPT].decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return logs.redact(text)[:_RESPONSE_KEPT]


_GIVE_UP = f"""
    UPDATE {WebhookDelivery._meta.db_table} SET given_up_at = %(now)s
    WHERE id IN (
        SELECT id FROM {WebhookDelivery._meta.db_table}
        WHERE endpoint_id = %(endpoint)s AND delivered_at IS NULL AND given_up_at IS NULL
          AND coalesce(resent_at, created_at) <= %(since)s
        ORDER BY id LIMIT %(most)s)
"""  # noqa: S608 (only names of ours)
