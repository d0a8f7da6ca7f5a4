"""Whoever is to be told of an event is told, or its endpoint is seen to fail."""

from __future__ import annotations

from config.invariants.kinds import Invariant, by_sql

# Every sweep takes what is due within some seconds, and a lease lasts half a minute.
_LONGEST_SILENCE = "15 minutes"
# No try is put off for longer: six hours and their jitter.
_LONGEST_WAIT = "8 hours"
# What was under way while an endpoint was made, and clocks that differ.
_GRACE = "2 minutes"
# It is asked every five minutes, so what is older was asked often.
_ASKED_BACK = "1 day"

_SOMEBODY_SENDS = """
SELECT 'webhook endpoint ' || endpoint.id,
       'events wait for it, and the next try is to be at ' || endpoint.next_attempt_at || ', under a lease until '
       || coalesce(endpoint.leased_until::text, 'never')
  FROM payouts_webhookendpoint endpoint
 WHERE endpoint.status = 'enabled'
   AND (greatest(endpoint.next_attempt_at, endpoint.leased_until) < %(now)s::timestamptz - %(silence)s::interval
        OR endpoint.next_attempt_at > %(now)s::timestamptz + %(wait)s::interval)
   AND EXISTS (SELECT FROM payouts_webhookdelivery delivery
                WHERE delivery.endpoint_id = endpoint.id AND delivery.delivered_at IS NULL
                  AND delivery.given_up_at IS NULL
                  AND coalesce(delivery.resent_at, delivery.created_at)
                      < %(now)s::timestamptz - %(silence)s::interval)
"""

# The event by which an accumulation came to where it is; back to pending there are three ways.
_EVERYTHING_IS_TOLD = """
WITH way (status, event) AS (
    VALUES ('pending', 'payment.accumulated'), ('pending', 'payment.released'), ('pending', 'payment.returned'),
           ('held', 'payment.held'), ('voided', 'payment.voided'), ('swapping', 'payment.batched'),
           ('completed', 'payment.converted')
), listening AS (
    SELECT endpoint.id, endpoint.client_id, endpoint.subscribed_at, way.status
      FROM payouts_webhookendpoint endpoint JOIN way ON way.event = ANY(endpoint.events)
     WHERE endpoint.status = 'enabled'
     GROUP BY endpoint.id, endpoint.client_id, endpoint.subscribed_at, way.status
    HAVING count(*) = (SELECT count(*) FROM way AS every WHERE every.status = way.status)
)
SELECT 'accumulation ' || told.id,
       'it is ' || told.status || ' since ' || told.status_changed_at || ', and nothing tells endpoint ' || listening.id
       || ' of it'
  FROM listening
  JOIN payouts_accumulation told
    ON told.status = listening.status AND (listening.client_id IS NULL OR listening.client_id = told.client_id)
   AND told.status_changed_at > listening.subscribed_at + %(grace)s::interval
   AND told.status_changed_at > %(now)s::timestamptz - %(back)s::interval
 WHERE NOT EXISTS (
        SELECT FROM payouts_webhookdelivery delivery JOIN way ON way.event = delivery.event
         WHERE delivery.accumulation_id = told.id AND delivery.endpoint_id = listening.id
           AND way.status = told.status
           AND delivery.created_at > told.status_changed_at - %(apart)s::interval)
"""


def everything_is_told(now: str = "now", apart: str = _GRACE) -> Invariant:
    """Asked of the accumulations. Both as PostgreSQL reads them, for a simulation with a clock of its own.

    Args:
        apart: how far the times of a move and of its event, which are one transaction's, can be from each other.
    """
    return Invariant(
        id="I12",
        promise="every event that an endpoint asks for is written down",
        look=by_sql(_EVERYTHING_IS_TOLD, now=now, grace=_GRACE, apart=apart, back=_ASKED_BACK),
        stops_money=False,
    )


def somebody_sends(now: str = "now") -> Invariant:
    """Asked of the endpoints."""
    return Invariant(
        id="I12",
        promise="what is to be told is sent, or seen to fail",
        look=by_sql(_SOMEBODY_SENDS, now=now, silence=_LONGEST_SILENCE, wait=_LONGEST_WAIT),
        stops_money=False,
    )


OUTBOX = (everything_is_told(), somebody_sends())
