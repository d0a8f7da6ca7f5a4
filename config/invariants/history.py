"""A status is what its events say, along the edges that the models declare."""

from __future__ import annotations

from batches.models import BatchConversion
from config.invariants.kinds import Invariant, by_sql
from config.lib.lifecycle import Lifecycle
from hostpay.models import ExchangeOrder, HostPayment, Transaction
from payouts.models import Accumulation, WebhookEndpoint

# The first event is a birth; each other one starts where the one before it ended, along an edge or staying put; and
# the last one ended where the row is.
_FOLD = """
WITH event AS (
    SELECT subject_id, id, from_status, to_status,
           lag(to_status) OVER one AS came_from,
           lead(id) OVER one IS NULL AS is_last
      FROM {events}
    WINDOW one AS (PARTITION BY subject_id ORDER BY id)
)
SELECT %(name)s || ' ' || event.subject_id,
       'its event ' || event.id || ' goes from ' || coalesce(nullif(event.from_status, ''), 'birth') || ' to '
       || event.to_status || ', the one before ended at ' || coalesce(event.came_from, 'nothing')
       || ', and it is ' || subject.status
  FROM event JOIN {rows} subject ON subject.id = event.subject_id
 WHERE event.from_status <> coalesce(event.came_from, '')
    OR (event.from_status <> event.to_status AND event.from_status <> ''
        AND event.from_status || '>' || event.to_status <> ALL (%(edges)s))
    OR (event.is_last AND event.to_status <> subject.status)
 UNION ALL
SELECT %(name)s || ' ' || subject.id, 'it is ' || subject.status || ', and has no events'
  FROM {rows} subject
 WHERE NOT EXISTS (SELECT FROM {events} event WHERE event.subject_id = subject.id)
"""

# What a batch does to all its members is one event of the batch, so a member's own events see it leave as `pending`
# and come back, if at all, from `swapping`; and one recorded as pending has no birth of its own.
_FOLD_OF_MEMBERS = """
WITH event AS (
    SELECT subject_id, id, from_status, to_status,
           lag(to_status, 1, '') OVER one AS came_from,
           lead(id) OVER one IS NULL AS is_last
      FROM payouts_accumulationstatuschange
    WINDOW one AS (PARTITION BY subject_id ORDER BY id)
)
SELECT 'accumulation ' || event.subject_id,
       'its event ' || event.id || ' goes from ' || coalesce(nullif(event.from_status, ''), 'birth') || ' to '
       || event.to_status || ', the one before ended at ' || coalesce(nullif(event.came_from, ''), 'nothing')
       || ', and it is ' || subject.status
  FROM event JOIN payouts_accumulation subject ON subject.id = event.subject_id
 WHERE (event.from_status <> event.came_from
        AND NOT (event.from_status IN ('pending', 'swapping') AND event.came_from IN ('', 'pending')))
    OR (event.from_status <> event.to_status AND event.from_status <> ''
        AND event.from_status || '>' || event.to_status <> ALL (%(edges)s))
    OR (event.is_last AND event.to_status <>
        CASE WHEN subject.status IN ('swapping', 'completed') THEN 'pending' ELSE subject.status END)
 UNION ALL
SELECT 'accumulation ' || subject.id, 'it is ' || subject.status || ', and no event says why'
  FROM payouts_accumulation subject
 WHERE subject.status IN ('held', 'voided')
   AND NOT EXISTS (SELECT FROM payouts_accumulationstatuschange event WHERE event.subject_id = subject.id)
"""


def _edges(model: type[Lifecycle]) -> list[str]:
    return [f"{start}>{end}" for start, ends in model.edges.items() for end in ends]


def _fold(model: type[Lifecycle]) -> Invariant:
    name = str(model._meta.verbose_name)
    statement = _FOLD.format(rows=model._meta.db_table, events=model.change_model()._meta.db_table)
    return Invariant(
        id="I11",
        promise=f"the status of every {name} is what its events say",
        look=by_sql(statement, name=name, edges=_edges(model)),
    )


HISTORY = (
    *(_fold(model) for model in (HostPayment, ExchangeOrder, Transaction, BatchConversion, WebhookEndpoint)),
    Invariant(
        id="I11",
        promise="the status of every accumulation is what its events say",
        look=by_sql(_FOLD_OF_MEMBERS, edges=_edges(Accumulation)),
    ),
)
