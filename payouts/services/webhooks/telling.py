"""The outbox: what happens to accumulations is written down for every endpoint that asks for it, in the same transaction.

Each function is called in the transaction that it tells of, after the rows were changed, and is one statement however
many they are. Where no endpoint listens, one look at a table of a few rows is all that it costs.

An event's number is drawn when the accumulation's row is locked, so for each payment the numbers are in the order in
which things happened. Events of different payments at one moment have no order, and none is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from payouts.models import (
    Accumulation,
    AccumulationStatus,
    AccumulationStatusChange,
    EndpointStatus,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)

# What being recorded is called, by the status that it is recorded with.
_RECORDED_AS = {
    AccumulationStatus.PENDING.value: WebhookEvent.ACCUMULATED,
    AccumulationStatus.HELD.value: WebhookEvent.HELD,
    AccumulationStatus.VOIDED.value: WebhookEvent.VOIDED,
}


def tell_of_payments(*, event: WebhookEvent, accumulation_ids: Sequence[int], reason: str = "") -> None:
    """The same happened to each of these accumulations."""
    if accumulation_ids and _is_anybody_listening(event):
        _execute(_TELL_OF_PAYMENTS, event=event.value, ids=list(accumulation_ids), reason=reason)


def tell_of_recorded(*, accumulation_ids: Sequence[int]) -> None:
    """These were recorded a moment ago, each as its status says, and why that is not `pending` as its birth says."""
    if accumulation_ids and _is_anybody_listening(*_RECORDED_AS.values()):
        _execute(_TELL_OF_RECORDED, ids=list(accumulation_ids))


def tell_of_members(*, event: WebhookEvent, batch_id: UUID, reason: str = "") -> None:
    """The same happened, or is about to, to all members of a batch."""
    if _is_anybody_listening(event):
        _execute(_TELL_OF_MEMBERS, event=event.value, batch_id=batch_id, reason=reason)


def _is_anybody_listening(*events: WebhookEvent) -> bool:
    wanted = [event.value for event in events]
    return WebhookEndpoint.objects.filter(status=EndpointStatus.ENABLED, events__overlap=wanted).exists()


def _execute(statement: str, **parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


OUTBOX = f"INSERT INTO {WebhookDelivery._meta.db_table} (endpoint_id, event, accumulation_id"


def listening(event: str, *, client: str) -> str:
    """FROM and WHERE, in SQL, of the endpoints that listen for the event `event` of payments of `client`."""
    return f"""{WebhookEndpoint._meta.db_table} AS endpoint
    WHERE endpoint.status = '{EndpointStatus.ENABLED.value}' AND {event} = ANY(endpoint.events)
      AND (endpoint.client_id IS NULL OR endpoint.client_id = {client})"""


# Who listens to all clients and who listens to one, apart: together they would be looked at for every single row.
_OF_EVERYBODY = "endpoint.client_id IS NULL"
_OF_ITS_CLIENT = "endpoint.client_id = told.client_id"
_ENDPOINTS = f"{WebhookEndpoint._meta.db_table} AS endpoint"
_ACCUMULATIONS = f"{Accumulation._meta.db_table} AS told"
_ENABLED = f"endpoint.status = '{EndpointStatus.ENABLED.value}'"


def _for_each_listening(columns: str, *, of: str, event: str, where: str) -> str:
    """SELECT, in SQL, the columns of each of the accumulations `where` says with each endpoint that listens for `event`.

    The third column is the accumulation's id, in whose order the events are numbered.
    """
    selects = [
        f"SELECT {columns} FROM {of}, {_ENDPOINTS} WHERE {_ENABLED} AND {event} = ANY(endpoint.events)"  # noqa: S608 (names of ours)
        f" AND {whose} AND {where}"
        for whose in (_OF_EVERYBODY, _OF_ITS_CLIENT)
    ]
    return f"{' UNION ALL '.join(selects)} ORDER BY 3"


_TELL_OF_PAYMENTS = f"{OUTBOX}, reason) " + _for_each_listening(
    "endpoint.id, %(event)s, told.id, %(reason)s",
    of=_ACCUMULATIONS,
    event="%(event)s",
    where="told.id = ANY(%(ids)s)",
)

_SAID = ", ".join(f"('{status}', '{event.value}')" for status, event in _RECORDED_AS.items())
_FIRST_REASON = f"""
    coalesce((SELECT reason FROM {AccumulationStatusChange._meta.db_table}
              WHERE subject_id = told.id ORDER BY id LIMIT 1), '')
"""  # noqa: S608 (only names of ours)
_TELL_OF_RECORDED = f"{OUTBOX}, reason) " + _for_each_listening(
    f"endpoint.id, said.event, told.id, {_FIRST_REASON}",
    of=f"{_ACCUMULATIONS} JOIN (VALUES {_SAID}) AS said (status, event) ON said.status = told.status",
    event="said.event",
    where="told.id = ANY(%(ids)s)",
)

_TELL_OF_MEMBERS = f"{OUTBOX}, batch_id, converted_usdt_amount, reason) " + _for_each_listening(
    "endpoint.id, %(event)s, told.id, told.batch_conversion_id, told.converted_usdt_amount, %(reason)s",
    of=_ACCUMULATIONS,
    event="%(event)s",
    where="told.batch_conversion_id = %(batch_id)s",
)
