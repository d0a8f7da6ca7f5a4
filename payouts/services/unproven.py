"""What callers cost us who do not prove who they are: one statement each, and none while they are beyond their bound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from payouts.models import FailedTries, InboundEvent, Outcome, RejectedDeliveries, TryKind, Verdict
from payouts.services.callers import counted_as
from payouts.services.shut_out import ShutOut

# Anybody can send what is not authentic, so it is kept in bounds.
UNAUTHENTIC_KEPT = 1000
UNAUTHENTIC_BODY_BYTES = 4096
MAX_EVENT_ID = 128
_TRIMMED_EVERY = 64
_MINUTE = timedelta(minutes=1)

shut_out = ShutOut()


def count_failure(*, kind: TryKind, address: str) -> bool:
    """Count one failed proof from `address`; true while the address has not had UNPROVEN_REQUESTS_PER_MINUTE of them.

    An address of IPv6 is not heard either when its whole site has had some times as many.
    """
    asked = _asked(kind, address)
    if shut_out.has(kind=kind, callers=asked["callers"]):
        return False
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_FAILURE, asked)
        (over,) = cursor.fetchone()
    shut_out.add(kind=kind, callers=over)
    return not over


def turn_away(
    *, source: str, event_id: str, headers: Mapping[str, str], body: bytes, why: str, sentence: str, address: str
) -> bool:
    """Count a delivery that did not prove its sender, and keep it: cut short, and about the newest UNAUTHENTIC_KEPT.

    False if its address has sent too many of the kind to be listened to; it is counted all the same (in the database
    with the next one that is looked at), and not kept. `why` is a word to count by, `sentence` says it to people.
    """
    kind, rejection = TryKind.SIGNATURE, (source, why)
    asked = _asked(kind, address)
    if shut_out.has(kind=kind, callers=asked["callers"]):
        shut_out.count(rejection)
        return False
    kept = {
        "source": source,
        "event_id": event_id[:MAX_EVENT_ID],
        "headers": json.dumps(dict(headers)),
        "body": body[:UNAUTHENTIC_BODY_BYTES],
        "error": sentence,
    }
    with shut_out.uncounted(also=rejection) as told, connection.cursor() as cursor:
        # In the same order in every process: each row waits for who has it.
        pairs = sorted(told)
        counts = {
            "sources": [of for of, _ in pairs],
            "whys": [word for _, word in pairs],
            "counts": [told[pair] for pair in pairs],
        }
        cursor.execute(_TURN_AWAY, asked | kept | counts)
        over, event_pk = cursor.fetchone()
    shut_out.add(kind=kind, callers=over)
    # A flood must not wait for the sweep to be bounded, and not pay for it at every drop either.
    if event_pk is not None and event_pk % _TRIMMED_EVERY == 0:
        bound_rejected_events()
    return not over


def bound_rejected_events() -> int:
    """Delete unauthentic deliveries but the newest UNAUTHENTIC_KEPT; says how many went."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_OLD, [Verdict.INVALID.value, Verdict.INVALID.value, UNAUTHENTIC_KEPT])
        deleted: int = cursor.rowcount
    return deleted


def rejected_totals() -> list[tuple[str, str, int]]:
    """Source, reason and number of all deliveries that were ever turned away."""
    return list(RejectedDeliveries.objects.order_by("source", "why").values_list("source", "why", "total"))


def _asked(kind: TryKind, address: str) -> dict[str, Any]:
    now, counted = timezone.now(), counted_as(address)
    return {
        "kind": kind.value,
        "callers": [who for who, _ in counted],
        "bounds": [share * settings.UNPROVEN_REQUESTS_PER_MINUTE for _, share in counted],
        "now": now,
        "fresh_from": now - _MINUTE,
    }


# The widest network first, in every process: a row waits for who has it. Nothing of it needs to survive a fall of the
# machine, so nobody waits for the disk.
_COUNTED = f"""
    WITH callers AS (
        SELECT * FROM unnest(%(callers)s::text[], %(bounds)s::bigint[]) WITH ORDINALITY AS callers (who, bound, place)
    ), counted AS (
        INSERT INTO {FailedTries._meta.db_table} AS tries (kind, who, failures, since, failed_at)
        SELECT %(kind)s, who, 1, %(now)s, %(now)s FROM callers ORDER BY place
        ON CONFLICT (kind, who) DO UPDATE
        SET failures = CASE WHEN tries.since > %(fresh_from)s THEN tries.failures + 1 ELSE 1 END,
            since = CASE WHEN tries.since > %(fresh_from)s THEN tries.since ELSE %(now)s END,
            failed_at = %(now)s
        RETURNING who, failures
    ), judged AS (
        SELECT coalesce(array_agg(who) FILTER (WHERE failures > bound), '{{}}') AS over,
               set_config('synchronous_commit', 'off', true)
        FROM counted JOIN callers USING (who)
    )
"""  # noqa: S608 (only names of ours)

_COUNT_FAILURE = f"{_COUNTED} SELECT over FROM judged"  # noqa: S608 (as above)

_TURN_AWAY = f"""
    {_COUNTED}, kept AS (
        INSERT INTO {InboundEvent._meta.db_table}
            (source, event_id, headers, body, verdict, outcome, error, attempts)
        SELECT %(source)s, %(event_id)s, %(headers)s::jsonb, %(body)s, '{Verdict.INVALID}', '{Outcome.REFUSED}', %(error)s, 1
        FROM judged WHERE over = '{{}}'
        RETURNING id
    ), told AS (
        INSERT INTO {RejectedDeliveries._meta.db_table} AS rejected (source, why, total)
        SELECT * FROM unnest(%(sources)s::text[], %(whys)s::text[], %(counts)s::bigint[])
        ON CONFLICT (source, why) DO UPDATE SET total = rejected.total + excluded.total
    )
    SELECT over, (SELECT id FROM kept) FROM judged
"""  # noqa: S608 (only names of ours)

_FORGET_OLD = f"""
    DELETE FROM {InboundEvent._meta.db_table}
    WHERE verdict = %s
      AND id <= (SELECT id FROM {InboundEvent._meta.db_table} WHERE verdict = %s ORDER BY id DESC OFFSET %s LIMIT 1)
"""  # noqa: S608 (only table names of ours)
