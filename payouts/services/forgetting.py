"""Bodies of old deliveries forgotten: what was in them stays in the books, and their hash stays in their row."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.db import connection

from config.lib import clock
from payouts.models import NOWPAYMENTS_SOURCE, UNSETTLED, BodyState, InboundEvent, NowPayment, Outcome, Verdict

logger = logging.getLogger(__name__)

_FORGOTTEN_AT_ONCE = 2000
_SWEPT_FOR_S = 60


def forget_bodies() -> int:
    """Forget the bodies of deliveries older than INBOX_BODIES_KEPT_DAYS, for a minute at most; says how many went.

    Not of one that waits for somebody: it is passed by, and its body goes when it has ended or is left as it is. What
    is left of a body is its SHA-256; headers, outcome and history stay.
    """
    until = time.monotonic() + _SWEPT_FOR_S
    before = clock.now() - timedelta(days=settings.INBOX_BODIES_KEPT_DAYS)
    forgotten = 0
    while time.monotonic() < until:
        # One statement is one transaction: what was forgotten stays so, whatever becomes of the rest.
        with connection.cursor() as cursor:
            cursor.execute(_FORGET, {"before": before, "most": _FORGOTTEN_AT_ONCE})
            states = [state for (state,) in cursor.fetchall()]
        forgotten += states.count(BodyState.FORGOTTEN)
        if not states:
            break
    if forgotten:
        logger.info("bodies of deliveries forgotten", extra={"deliveries": forgotten, "before": before.isoformat()})
    return forgotten


_TABLE = InboundEvent._meta.db_table
# A notification's own payment says whether anything is to be decided.
_IS_SPOKEN_FOR = f"""(event.source = '{NOWPAYMENTS_SOURCE}' AND event.outcome <> '{Outcome.FAILED}' AND EXISTS (
        SELECT FROM {NowPayment._meta.db_table} AS payment
        WHERE payment.payment_id = event.event_id AND payment.review_reason = ''))"""
_WAITS = f"""(event.verdict = '{Verdict.VALID}' AND (
        event.outcome = '{Outcome.RECEIVED}' OR event.replay_at IS NOT NULL
        OR (event.outcome IN ({", ".join(f"'{each}'" for each in UNSETTLED)}) AND event.acknowledged_at IS NULL
            AND NOT {_IS_SPOKEN_FOR})))"""

# Rows are passed once, in the order of their ids, from where the last one was passed: no index on their time is needed,
# which every payment would pay for. It goes up to the first that is young enough, since ids and times may cross.
_FORGET = f"""
    WITH next AS (
        SELECT id, received_at FROM {_TABLE}
        WHERE id > greatest(
            (SELECT max(id) FROM {_TABLE} WHERE body_state = '{BodyState.FORGOTTEN}'),
            (SELECT max(id) FROM {_TABLE} WHERE body_state = '{BodyState.OVERDUE}'),
            0
        )
        ORDER BY id LIMIT %(most)s
    ), young AS (
        SELECT min(id) AS first FROM next WHERE received_at >= %(before)s
    ), passed AS (
        SELECT id FROM next, young WHERE first IS NULL OR id < first
    ), ended AS (
        SELECT id FROM {_TABLE} AS event WHERE body_state = '{BodyState.OVERDUE}' AND NOT {_WAITS} LIMIT %(most)s
    )
    UPDATE {_TABLE} AS event
    SET body_state = CASE WHEN {_WAITS} THEN '{BodyState.OVERDUE}' ELSE '{BodyState.FORGOTTEN}' END,
        body_sha256 = CASE WHEN {_WAITS} THEN '' ELSE encode(sha256(body), 'hex') END,
        body = CASE WHEN {_WAITS} THEN body ELSE '' END
    WHERE id IN (SELECT id FROM passed UNION ALL SELECT id FROM ended)
    RETURNING body_state
"""  # noqa: S608 (only names and words of ours)
