"""Events tried before their time, sent again, given up or left so, and forgotten long after it."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

logger = logging.getLogger(__name__)

KEPT_FOR = timedelta(days=60)
_FORGOTTEN_AT_ONCE = 5000
# Some seconds' worth at most, of the million that a batch may have.
_RESENT_AT_ONCE = 20_000


def try_endpoint(*, endpoint_id: int, actor: Actor, reason: str) -> WebhookEndpoint:
    """Have the first event that waits for a failing endpoint tried now, and not when its wait is over.

    It is a try like every other: if it fails, the wait after it is the next longer one.

    Raises:
        RefusedError: the endpoint is disabled, nothing waits for it, what waits is due anyway, or no reason was given.
        WebhookEndpoint.DoesNotExist: there is none.
    """
    need_reason(reason)
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        _need_enabled(endpoint)
        if not endpoint.deliveries.waiting().exists():
            raise RefusedError(
                why=f"Nothing waits for endpoint {endpoint}.",
                next_step="Send it a test, or send again what was given up.",
            )
        now = clock.now()
        if endpoint.next_attempt_at <= now:
            raise RefusedError(
                why=f"What waits for endpoint {endpoint} is due already.", next_step="Look at its tries in a minute."
            )
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(next_attempt_at=now)
        data = {"instead_of": endpoint.next_attempt_at}
        endpoint.note(actor=actor, reason=f"tried before its time: {reason.strip()}", data=data)
    return WebhookEndpoint.objects.select_related("client").get(pk=endpoint_id)


def resend_delivery(*, delivery_id: int, actor: Actor, reason: str) -> WebhookDelivery:
    """Have one event sent again under the same id, whether it was delivered or given up.

    It takes its old place among what waits, and is tried for three days from now.

    Raises:
        RefusedError: it waits already, its endpoint is disabled, or no reason was given.
        WebhookDelivery.DoesNotExist: there is none.
    """
    with transaction.atomic():
        delivery, endpoint = _locked(delivery_id, reason)
        if delivery.state == "waiting":
            raise RefusedError(why=f"Event {delivery.message_id} waits to be sent already.", next_step="Let it go on.")
        _need_enabled(endpoint)
        now = clock.now()
        WebhookDelivery.objects.filter(pk=delivery.pk).update(delivered_at=None, given_up_at=None, resent_at=now)
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(next_attempt_at=now)
        endpoint.note(actor=actor, reason=f"sent again: {reason.strip()}", data={"event": delivery.message_id})
    return WebhookDelivery.objects.get(pk=delivery.pk)


def resend_failed(*, endpoint_id: int, since: datetime, actor: Actor, reason: str) -> int:
    """Have all events sent again that happened since then and were given up, in their order; says how many.

    They go in parts, between which whoever sends gets the endpoint's lock; each part is in the endpoint's history.

    Raises:
        RefusedError: the endpoint is disabled, or no reason was given.
        WebhookEndpoint.DoesNotExist: there is none.
    """
    need_reason(reason)
    until = clock.now()
    count = 0
    while part := _resend_part(endpoint_id, since=since, until=until, actor=actor, reason=reason):
        count += part
    logger.info("webhooks sent again", extra={"endpoint": endpoint_id, "events": count, "actor": str(actor)})
    return count


def _resend_part(endpoint_id: int, *, since: datetime, until: datetime, actor: Actor, reason: str) -> int:
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        _need_enabled(endpoint)
        now = clock.now()
        # What is given up meanwhile is not sent again for ever.
        failed = endpoint.deliveries.given_up().filter(created_at__gte=since, given_up_at__lte=until)
        part = failed.order_by("created_at", "pk").values("pk")[:_RESENT_AT_ONCE]
        count = WebhookDelivery.objects.filter(pk__in=part).update(given_up_at=None, resent_at=now)
        if count:
            WebhookEndpoint.objects.filter(pk=endpoint.pk).update(next_attempt_at=now)
            data = {"since": since, "events": count}
            endpoint.note(actor=actor, reason=f"all given up sent again: {reason.strip()}", data=data)
    return count


def give_up_delivery(*, delivery_id: int, actor: Actor, reason: str) -> WebhookDelivery:
    """Try an event no longer, so that those behind it can go on.

    Raises:
        RefusedError: it does not wait, or no reason was given.
        WebhookDelivery.DoesNotExist: there is none.
    """
    with transaction.atomic():
        delivery, endpoint = _locked(delivery_id, reason)
        if delivery.state != "waiting":
            raise RefusedError(
                why=f"Event {delivery.message_id} does not wait.", next_step="Only one that waits can be given up."
            )
        now = clock.now()
        WebhookDelivery.objects.filter(pk=delivery.pk).update(given_up_at=now)
        # What was behind it has not failed yet.
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(next_attempt_at=now)
        endpoint.note(actor=actor, reason=f"given up: {reason.strip()}", data={"event": delivery.message_id})
    return WebhookDelivery.objects.get(pk=delivery.pk)


def acknowledge_given_up(*, endpoint_id: int, actor: Actor, reason: str) -> WebhookEndpoint:
    """Leave what was given up until now as it is, and say so no longer where operators look.

    Raises:
        RefusedError: nothing was given up that nobody knows of, or no reason was given.
        WebhookEndpoint.DoesNotExist: there is none.
    """
    need_reason(reason)
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        newest = endpoint.deliveries.given_up().aggregate(at=Max("given_up_at"))["at"]
        if newest is None or (endpoint.acknowledged_at is not None and newest <= endpoint.acknowledged_at):
            raise RefusedError(
                why=f"Of endpoint {endpoint} nothing was given up that nobody knows of.", next_step="Nothing is to do."
            )
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(acknowledged_at=newest)
        data = {"until": newest}
        endpoint.note(actor=actor, reason=f"what was given up is left so: {reason.strip()}", data=data)
    return WebhookEndpoint.objects.get(pk=endpoint_id)


def forget_deliveries() -> int:
    """Delete events older than KEPT_FOR that were delivered or given up, with their tries; says how many went."""
    forgotten = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_FORGET, {"before": clock.now() - KEPT_FOR, "most": _FORGOTTEN_AT_ONCE})
            count: int = cursor.fetchone()[0]
        forgotten += count
        if count < _FORGOTTEN_AT_ONCE:
            return forgotten


def _locked(delivery_id: int, reason: str) -> tuple[WebhookDelivery, WebhookEndpoint]:
    """The event and its endpoint, whose lock is for both: whoever sends takes the endpoint too."""
    need_reason(reason)
    endpoint_id = WebhookDelivery.objects.values_list("endpoint_id", flat=True).get(pk=delivery_id)
    endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
    return WebhookDelivery.objects.get(pk=delivery_id), endpoint


def _need_enabled(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_enabled:
        raise RefusedError(why=f"Endpoint {endpoint} is disabled.", next_step="Enable it first, then ask again.")


_FORGET = f"""
    WITH old AS (
        SELECT id FROM {WebhookDelivery._meta.db_table}
        WHERE created_at < %(before)s AND (delivered_at IS NOT NULL OR given_up_at IS NOT NULL)
          AND (resent_at IS NULL OR resent_at < %(before)s)
        LIMIT %(most)s
        -- One that somebody has sent again at this moment stays.
        FOR UPDATE SKIP LOCKED
    ), tries AS (
        DELETE FROM {WebhookAttempt._meta.db_table} WHERE delivery_id IN (SELECT id FROM old)
    ), gone AS (
        DELETE FROM {WebhookDelivery._meta.db_table} WHERE id IN (SELECT id FROM old) RETURNING id
    )
    SELECT count(*) FROM gone
"""  # noqa: S608 (only names of ours)
