"""Recording a payment: the one way an accumulation comes into being.

The usual case is one statement and no transaction block: it inserts the accumulation and the delivery that told of it,
and what endpoints are to be told, all or nothing, if the client is still as this process last saw it and nothing is
paused. In every other case the client is looked up first. Model instances are made only where a person or another part of the program will look at
one: making them is a good part of the time a payment takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from django.db import connection, transaction

from config.lib import locks
from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.prepared import Prepared
from hostpay.models import Pause, Switch
from hostpay.services import refuse_if_paused
from payouts.models import (
    Accumulation,
    AccumulationStatus,
    Client,
    InboundEvent,
    Outcome,
    Verdict,
    VoidOrder,
    WebhookEvent,
)
from payouts.services.drafts import AmountTooSmallError, Draft, Terms, draft_of, voided
from payouts.services.facts import PaymentFacts, named_in
from payouts.services.voiding import void_orders_for
from payouts.services.webhooks.telling import OUTBOX, listening, tell_of_recorded

# A delivery that was refused is kept with its reason, of which the beginning is enough.
_LONGEST_ERROR = 2000


class UnknownClientError(SluiceError):
    """Nobody has the client id that the payment names."""

    code = "unknown_client"

    def __init__(self, external_id: str, *, next_step: str = "The delivery is kept and can be replayed.") -> None:
        self.external_id = external_id
        super().__init__(f"No client has the id {external_id}. {next_step}")


class ConflictingPaymentError(SluiceError):
    """The same payment was recorded with other content; what was recorded stands."""

    code = "conflicting_payment"


class ConflictingDeliveryError(SluiceError):
    """The delivery's id stood for another payment: a sender that numbers anew, or a mistake. Nothing was recorded."""

    code = "conflicting_delivery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An authentic delivery that is in no table yet: it is stored with what becomes of it."""

    source: str
    event_id: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def as_event(self) -> InboundEvent:
        """The row to store it in, not saved."""
        return InboundEvent(
            source=self.source,
            event_id=self.event_id,
            headers=dict(self.headers),
            body=self.body,
            verdict=Verdict.VALID,
        )

    def as_unsettled(self, outcome: Outcome, error: str) -> InboundEvent:
        """The row of one that is not in the books, not saved: with the reason, and to be found by what it names."""
        event = self.as_event()
        leave_unsettled(event, outcome, error)
        return event


def leave_unsettled(event: InboundEvent, outcome: Outcome, error: str) -> None:
    """Say of a delivery, not saved yet, why it is not in the books, and whose payment it names."""
    event.outcome, event.error = outcome, error[:_LONGEST_ERROR]
    event.named_payment_id, event.named_client_id = named_in(bytes(event.body))


class Recorded(NamedTuple):
    """What stands for a payment, and whether this call made it."""

    accumulation_id: int
    payment_id: str
    status: str
    gross_usd: Decimal
    fee_usd: Decimal
    pending_usd_amount: Decimal
    hold_reason: str
    is_new: bool

    @property
    def accumulation(self) -> Accumulation:
        """The row itself, read now."""
        return Accumulation.objects.get(pk=self.accumulation_id)


def record_payment(*, facts: PaymentFacts, event: Delivery | InboundEvent | None, actor: Actor) -> Recorded:
    """Record one payment as a claim of its client; the same payment again gives what was recorded.

    `event` is what told of it: a Delivery is inserted together with the accumulation, a stored event is updated;
    without one (an import) there is only the accumulation. A refusal stores nothing, but for a conflict, which is
    stored with the event.

    Raises:
        PausedError: an operator paused the intake.
        UnknownClientError: no such client.
        AmountTooSmallError: the fee would take all of it.
        ConflictingPaymentError: recorded before, with other content.
        ConflictingDeliveryError: its id recorded another payment; kept with the event as well.
    """
    if isinstance(event, Delivery):
        recorded = _record_at_once(facts, event)
        if recorded is not None:
            return recorded
    draft = draft_of(facts, _look_up(facts.client_id))
    if isinstance(event, Delivery):
        _refuse_if_id_is_taken(draft, event)
    pk, row = _insert_step_by_step(draft, event, actor)
    if pk is None:
        return _recorded_before(draft, event)
    return _recorded(pk, row, is_new=True)


class _Seen(NamedTuple):
    """A client's terms, the version of its row that they stand in, and whether an endpoint listens for its payments."""

    terms: Terms
    version: str
    is_listened_for: bool


# What this process saw of each client. Never trusted: the statement that uses it compares the version, and refuses
# where nobody was seen to listen and somebody does; so an entry that is out of date costs a look-up and nothing else.
_seen: dict[str, _Seen] = {}
_MOST_SEEN = 10_000


def _record_at_once(facts: PaymentFacts, delivery: Delivery) -> Recorded | None:
    """The usual case in one statement; None, with nothing written, if it is not the usual case."""
    seen = _seen.get(facts.client_id)
    if seen is None:
        return None
    # What is too small under terms out of date may do under the present ones.
    with suppress(AmountTooSmallError):
        draft = draft_of(facts, seen.terms)
        if draft.status == AccumulationStatus.PENDING:
            pk = _insert_at_once(draft, delivery, seen)
            return None if pk is None else _recorded(pk, draft, is_new=True)
    return None


def _look_up(external_id: str) -> Terms:
    """The client's terms as they are now, if nothing is paused."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND_CLIENT, [external_id])
        row = cursor.fetchone()
    refuse_if_paused(Switch.INTAKE)
    if row is None:
        raise UnknownClientError(external_id)
    version, is_listened_for, *terms = row
    if len(_seen) >= _MOST_SEEN:
        _seen.clear()
    seen = _seen[external_id] = _Seen(Terms._make(terms), version, is_listened_for)
    return seen.terms


def _insert_at_once(draft: Draft, delivery: Delivery, seen: _Seen) -> int | None:
    """One statement for all rows; the accumulation's id.

    None, and nothing inserted, if the payment was recorded before or is void, the delivery's id has recorded another,
    the client has changed, the intake is paused, or an endpoint listens that was not seen.
    """
    void = (draft.source, draft.payment_id)
    guard = (draft.client_id, seen.version, Switch.INTAKE.value, *void, delivery.source, delivery.event_id)
    told = (delivery.source, delivery.event_id, json.dumps(delivery.headers), delivery.body)
    statement = _INSERT_AND_TELL if seen.is_listened_for else _INSERT_UNLESS_LISTENED_FOR
    with connection.cursor() as cursor:
        outcome = (Verdict.VALID.value, Outcome.RECORDED.value)
        statement.execute(cursor, (*draft, *guard, draft.client_id, *told, *outcome))
        return _first(cursor.fetchone())


def _insert_step_by_step(draft: Draft, event: Delivery | InboundEvent | None, actor: Actor) -> tuple[int | None, Draft]:
    """The same in a transaction of several statements, for every case but the usual one; and what was inserted.

    A payment that was declared void before it came is born so.

    Raises:
        PausedError: an operator has paused the intake since the client was looked up.
    """
    with transaction.atomic():
        locks.hold_shared(locks.Lock.INTAKE)
        refuse_if_paused(Switch.INTAKE)
        order = void_orders_for(source=draft.source, payment_ids=[draft.payment_id]).get(draft.payment_id)
        row = draft if order is None else voided(draft)
        with connection.cursor() as cursor:
            cursor.execute(_INSERT_ACCUMULATION, row)
            pk = _first(cursor.fetchone())
        if pk is not None:
            if order is not None:
                VoidOrder.objects.filter(pk=order.pk).update(accumulation=pk)
            if row.status != AccumulationStatus.PENDING:
                reason = draft.hold_reason if order is None else order.reason
                Accumulation(pk=pk, status=row.status).record_birth(actor=actor, reason=reason)
            tell_of_recorded(accumulation_ids=[pk])
            _store_outcome(event, Outcome.RECORDED, accumulation_id=pk)
    return pk, row


def _refuse_if_id_is_taken(draft: Draft, delivery: Delivery) -> None:
    """Go on only if the delivery's id recorded no other payment.

    Raises:
        ConflictingDeliveryError: it did; the delivery is kept for a person.
    """
    others = Accumulation.objects.filter(
        inbound_events__source=delivery.source,
        inbound_events__event_id=delivery.event_id,
        inbound_events__verdict=Verdict.VALID,
        inbound_events__outcome=Outcome.RECORDED,
    ).exclude(source=draft.source, payment_id=draft.payment_id)
    other = others.first()
    if other is None:
        return
    why = f"The delivery {delivery.event_id} recorded payment {other.payment_id} before, and {draft.payment_id} is another."
    _store_outcome(delivery, Outcome.CONFLICT, error=why)
    raise ConflictingDeliveryError(why)


def _recorded_before(draft: Draft, event: Delivery | InboundEvent | None) -> Recorded:
    """What stands for this payment already, with the delivery stored beside it."""
    existing = Accumulation.objects.get(source=draft.source, payment_id=draft.payment_id)
    if existing.content_sha256 != draft.content_sha256:
        why = f"Payment {draft.payment_id} was recorded as accumulation {existing.pk} with other content, which stands."
        _store_outcome(event, Outcome.CONFLICT, accumulation_id=existing.pk, error=why)
        raise ConflictingPaymentError(why)
    _store_outcome(event, Outcome.REPLAYED, accumulation_id=existing.pk)
    return _recorded(existing.pk, existing, is_new=False)


def _store_outcome(
    event: Delivery | InboundEvent | None, outcome: Outcome, *, accumulation_id: int | None = None, error: str = ""
) -> None:
    if event is None:
        return
    row = event.as_event() if isinstance(event, Delivery) else event
    row.outcome, row.accumulation_id, row.error = outcome, accumulation_id, error
    if outcome == Outcome.CONFLICT:
        leave_unsettled(row, outcome, error)
    row.save()


def _recorded(pk: int, row: Draft | Accumulation, *, is_new: bool) -> Recorded:
    return Recorded(
        accumulation_id=pk,
        payment_id=row.payment_id,
        status=row.status,
        gross_usd=row.gross_usd,
        fee_usd=row.fee_usd,
        pending_usd_amount=row.pending_usd_amount,
        hold_reason=row.hold_reason,
        is_new=is_new,
    )


def _first(row: tuple[int, ...] | None) -> int | None:
    return None if row is None else row[0]


# The transaction that wrote the row, and where it lies: both change with every change of the row.
_VERSION = "xmin::text || ctid::text"

_ACCUMULATED = f"'{WebhookEvent.ACCUMULATED.value}'"

_FIND_CLIENT = f"""
    SELECT {_VERSION}, EXISTS (SELECT FROM {listening(_ACCUMULATED, client="client.id")}),
           {", ".join("id" if name == "client_id" else name for name in Terms._fields)}
    FROM {Client._meta.db_table} AS client
    WHERE external_id = %s
"""  # noqa: S608 (only names of ours)

_PLACES = ", ".join(["%s"] * len(Draft._fields))
_INTO_ACCUMULATIONS = f"INSERT INTO {Accumulation._meta.db_table} ({', '.join(Draft._fields)})"
_UNLESS_RECORDED = "ON CONFLICT (source, payment_id) DO NOTHING RETURNING id"

_INSERT_ACCUMULATION = f"{_INTO_ACCUMULATIONS} VALUES ({_PLACES}) {_UNLESS_RECORDED}"

_IF_AS_SEEN = f"""
        {_INTO_ACCUMULATIONS}
        SELECT {_PLACES} FROM {Client._meta.db_table}
        WHERE id = %s AND {_VERSION} = %s
          AND NOT EXISTS (SELECT FROM {Pause._meta.db_table}
                          WHERE switch = %s AND resumed_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
          AND NOT EXISTS (SELECT FROM {VoidOrder._meta.db_table} WHERE source = %s AND payment_id = %s)
          AND NOT EXISTS (SELECT FROM {InboundEvent._meta.db_table}
                          WHERE source = %s AND event_id = %s AND verdict = 'valid' AND outcome = 'recorded')"""  # noqa: S608

_INTO_INBOX = f"""
    INSERT INTO {InboundEvent._meta.db_table}
           (source, event_id, headers, body, verdict, outcome, error, attempts, accumulation_id)
    SELECT %s, %s, %s::jsonb, %s, %s, %s, '', 1, id FROM accumulation
    RETURNING accumulation_id"""  # noqa: S608

# Half of what such a statement takes is its parsing and planning.
_INSERT_UNLESS_LISTENED_FOR = Prepared(
    "record_payment",
    f"""
    WITH accumulation AS ({_IF_AS_SEEN}
          AND NOT EXISTS (SELECT FROM {listening(_ACCUMULATED, client="%s")})
        {_UNLESS_RECORDED}
    ){_INTO_INBOX}
""",
)

_INSERT_AND_TELL = Prepared(
    "record_payment_and_tell",
    f"""
    WITH accumulation AS ({_IF_AS_SEEN}
        {_UNLESS_RECORDED}
    ), told AS (
        {OUTBOX})
        SELECT endpoint.id, {_ACCUMULATED}, accumulation.id
        FROM accumulation, {listening(_ACCUMULATED, client="%s")}
    ){_INTO_INBOX}
""",  # noqa: S608 (only names of ours)
)
