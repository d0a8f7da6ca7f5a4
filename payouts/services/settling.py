"""Deliveries that are not in the books: which they are, and which of them are left so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from payouts.models import (
    NOWPAYMENTS_SOURCE,
    UNSETTLED,
    Accumulation,
    InboundEvent,
    InboundEventStatusChange,
    NowPayment,
    Outcome,
    Verdict,
)

_SETTLED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which deliveries are meant: all that is said must be so. `error` is a part of the reason, in any case."""

    source: str = ""
    outcomes: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    error: str = ""
    payment_id: str = ""
    client_id: str = ""

    def among(self, events: QuerySet[InboundEvent]) -> QuerySet[InboundEvent]:
        """Those of them, oldest first."""
        said = {
            "source": self.source,
            "outcome__in": self.outcomes,
            "received_at__gte": self.since,
            "received_at__lt": self.until,
            "named_client_id": self.client_id,
        }
        found = events.filter(**{name: value for name, value in said.items() if value})
        if self.error:
            found = found.filter(with_error(self.error))
        if self.payment_id:
            found = found.filter(about_payment(self.payment_id))
        return found.order_by("pk")


class TooManyError(RefusedError):
    """More deliveries are meant than were allowed."""

    code = "too_many"


def with_error(part: str) -> Q:
    """Deliveries with this in the reason why they are not in the books; those with a reason have an index."""
    return ~Q(error="") & Q(error__icontains=part)


def about_payment(payment_id: str) -> Q:
    """Deliveries that tell of this payment; each part of the condition has an index."""
    recorded = list(Accumulation.objects.filter(payment_id=payment_id).values_list("pk", flat=True))
    return (
        Q(accumulation_id__in=recorded)
        | Q(named_payment_id=payment_id)
        | Q(source=NOWPAYMENTS_SOURCE, event_id=payment_id)
    )


def unsettled_events() -> QuerySet[InboundEvent]:
    """Authentic deliveries that a person must see to: not in the books, and nobody has said that they are left so.

    Of NOWPayments' notifications it is the payment that says what is to be decided, where there is one.
    """
    spoken_for = NowPayment.objects.filter(payment_id=OuterRef("event_id"))
    return InboundEvent.objects.unsettled().filter(
        ~Q(source=NOWPAYMENTS_SOURCE) | Q(outcome=Outcome.FAILED) | ~Exists(spoken_for)
    )


def acknowledge_event(*, event_id: int, actor: Actor, reason: str) -> InboundEvent:
    """Leave a delivery that is not in the books as it ended, and say so no longer where operators look.

    It can still be processed again.

    Raises:
        RefusedError: it waits for nobody, or no reason was given.
        InboundEvent.DoesNotExist: there is none.
    """
    need_reason(reason)
    with transaction.atomic():
        event = InboundEvent.objects.select_for_update(of=("self",)).defer("body").get(pk=event_id)
        why_not = why_not_acknowledged(event)
        if why_not:
            raise RefusedError(why=why_not, next_step="Nothing is to do.")
        marks = {"acknowledged_at": clock.now()}
        _mark([event], actor=actor, reason=f"left as it is: {reason.strip()}", marks=marks)
    event.refresh_from_db()
    return event


def why_not_acknowledged(event: InboundEvent) -> str:
    """Why nobody has to say that it is left so; nothing if somebody has."""
    if event.verdict != Verdict.VALID or event.outcome not in UNSETTLED:
        return (
            f"Event {event.pk} is {event.get_verdict_display()}, {event.get_outcome_display()}: nobody must see to it."
        )
    return "" if event.acknowledged_at is None else f"Event {event.pk} is left as it is already."


def acknowledge_events(*, which: Which, at_most: int, actor: Actor, reason: str) -> int:
    """Leave all of these that wait for a person as they ended; says how many.

    Raises:
        TooManyError: they are more than `at_most`; none was changed.
        RefusedError: no reason was given.
    """
    marks = {"acknowledged_at": clock.now()}
    return mark_all(
        unsettled_events(), which, at_most=at_most, actor=actor, what="left as it is", reason=reason, marks=marks
    )


def settle_sent_again(*, actor: Actor) -> int:
    """Leave refused deliveries as they are whose payment was recorded afterwards, as it was sent again; says how many.

    A sender that repeats what is refused until the client exists leaves a row each time, which would wait for a person.
    """
    recorded = Accumulation.objects.filter(
        source=OuterRef("source"), payment_id=OuterRef("named_payment_id"), created_at__gte=OuterRef("received_at")
    )
    settled = 0
    while True:
        with transaction.atomic():
            # One that somebody is at stays as it is until the next time.
            refused = InboundEvent.objects.unsettled().filter(Exists(recorded), outcome=Outcome.REFUSED)
            free = refused.order_by("pk").select_for_update(of=("self",), skip_locked=True).only("pk", "outcome")
            found = list(free[:_SETTLED_AT_ONCE])
            marks = {"acknowledged_at": clock.now()}
            _mark(found, actor=actor, reason="left as it is: sent again, and recorded", marks=marks)
        settled += len(found)
        if len(found) < _SETTLED_AT_ONCE:
            return settled


def mark_all(
    events: QuerySet[InboundEvent],
    which: Which,
    *,
    at_most: int,
    actor: Actor,
    what: str,
    reason: str,
    marks: Mapping[str, datetime],
) -> int:
    """Set the columns `marks` of all of `events` that are meant, each with its line in the history; says how many.

    Raises:
        TooManyError: they are more than `at_most`; none was changed.
        RefusedError: no reason was given.
    """
    need_reason(reason)
    with transaction.atomic():
        locked = which.among(events).select_for_update(of=("self",)).only("pk", "outcome")
        found = list(locked[: at_most + 1])
        if len(found) > at_most:
            raise TooManyError(
                why=f"More than {at_most:,} deliveries match; nothing was changed.", next_step="Narrow it down."
            )
        _mark(found, actor=actor, reason=f"{what}: {reason.strip()}", marks=marks)
    return len(found)


def _mark(events: Sequence[InboundEvent], *, actor: Actor, reason: str, marks: Mapping[str, datetime]) -> None:
    InboundEvent.objects.filter(pk__in=[event.pk for event in events]).update(**marks)
    InboundEventStatusChange.objects.bulk_create(
        InboundEventStatusChange(
            subject=event, from_status=event.outcome, to_status=event.outcome, actor=str(actor), reason=reason
        )
        for event in events
    )
