"""The inbox: deliveries kept as they came, also those that were refused, and processed again on request."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError, SluiceError
from config.lib.problems import InvalidFieldsError
from payouts.models import (
    NOWPAYMENTS_SOURCE,
    UNSETTLED,
    Accumulation,
    InboundEvent,
    NowPayment,
    Outcome,
    Verdict,
)
from payouts.services.drafts import AmountTooSmallError
from payouts.services.facts import InvalidJsonError, read_facts
from payouts.services.nowpayments import replay_notification
from payouts.services.recording import (
    ConflictingPaymentError,
    Delivery,
    Recorded,
    UnknownClientError,
    record_payment,
)

_LONGEST_ERROR = 2000
# Outcomes after which processing again may lead elsewhere: the client exists by now, the fault is mended.
REPLAYABLE = (Outcome.RECEIVED, Outcome.FAILED, Outcome.REFUSED)
# What a delivery can be refused for; nothing else is the sender's fault.
REFUSALS = (InvalidJsonError, InvalidFieldsError, UnknownClientError, AmountTooSmallError)


def take_payment(*, delivery: Delivery, actor: Actor) -> Recorded:
    """Process one authentic delivery of `POST /api/v1/payments/`; whatever happens, the delivery is kept.

    Raises:
        SluiceError: one of REFUSALS, ConflictingPaymentError or PausedError (a paused delivery is not kept: its sender
            is told to come again).
        Exception: anything unforeseen, after the delivery was stored as failed.
    """
    is_settled = False
    try:
        facts = read_facts(delivery.body, source=delivery.source)
        recorded = record_payment(facts=facts, event=delivery, actor=actor)
        is_settled = True
        return recorded
    except REFUSALS as refusal:
        _keep(delivery, Outcome.REFUSED, str(refusal)[:_LONGEST_ERROR])
        is_settled = True
        raise
    except SluiceError:
        # A conflict was stored where it was found.
        is_settled = True
        raise
    finally:
        if not is_settled:
            _keep(delivery, Outcome.FAILED, "Processing broke off; the log has the reason.")


def replay_event(*, event_id: int, actor: Actor) -> Accumulation | None:
    """Process a kept delivery again; one that was recorded gives its accumulation and changes nothing.

    None if it told of a payment of which no money has arrived.

    Raises:
        RefusedError: it is not authentic, or it conflicts with what was recorded.
        SluiceError: what it was refused for is still so; the event says what.
    """
    source = InboundEvent.objects.values_list("source", flat=True).get(pk=event_id)
    if source == NOWPAYMENTS_SOURCE:
        # It may have to ask outside, so in no transaction of ours.
        event = InboundEvent.objects.select_related("accumulation").get(pk=event_id)
        if _is_recorded(event):
            return event.accumulation
        # What comes of it now is for somebody to see to again.
        InboundEvent.objects.filter(pk=event.pk).update(acknowledged_at=None)
        return replay_notification(event=event, actor=actor)
    with transaction.atomic():
        event = InboundEvent.objects.select_for_update(of=("self",)).select_related("accumulation").get(pk=event_id)
        if _is_recorded(event):
            return event.accumulation
        event.attempts += 1
        event.acknowledged_at = None
        ended = _processed_again(event, actor)
    # Raised after the commit, so that the new attempt and its reason are kept.
    if isinstance(ended, SluiceError):
        raise ended
    return ended.accumulation


def _is_recorded(event: InboundEvent) -> bool:
    """Whether there is nothing left to do.

    Raises:
        RefusedError: nothing can be done.
    """
    if event.accumulation is not None and event.outcome in {Outcome.RECORDED, Outcome.REPLAYED}:
        return True
    if event.verdict != Verdict.VALID or event.outcome not in REPLAYABLE:
        raise RefusedError(
            why=f"Event {event.pk} is {event.get_verdict_display()}, {event.get_outcome_display()}.",
            next_step="Only an authentic delivery that failed or was refused can be replayed.",
        )
    return False


def failed_events() -> list[int]:
    """Ids of the authentic deliveries that might become accumulations and are not left as they are, oldest first."""
    replayable = InboundEvent.objects.filter(
        verdict=Verdict.VALID, outcome__in=REPLAYABLE, acknowledged_at__isnull=True
    )
    return list(replayable.order_by("pk").values_list("pk", flat=True))


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
        event.acknowledged_at = clock.now()
        event.save(update_fields=("acknowledged_at",))
        event.note(actor=actor, reason=f"left as it is: {reason.strip()}")
    return event


def why_not_acknowledged(event: InboundEvent) -> str:
    """Why nobody has to say that it is left so; nothing if somebody has."""
    if event.verdict != Verdict.VALID or event.outcome not in UNSETTLED:
        return (
            f"Event {event.pk} is {event.get_verdict_display()}, {event.get_outcome_display()}: nobody must see to it."
        )
    return "" if event.acknowledged_at is None else f"Event {event.pk} is left as it is already."


def _processed_again(event: InboundEvent, actor: Actor) -> Recorded | SluiceError:
    try:
        return record_payment(facts=read_facts(bytes(event.body), source=event.source), event=event, actor=actor)
    except REFUSALS as refusal:
        event.outcome, event.error = Outcome.REFUSED, str(refusal)[:_LONGEST_ERROR]
        event.save()
        return refusal
    except ConflictingPaymentError as conflict:
        return conflict


def _keep(delivery: Delivery, outcome: Outcome, error: str) -> None:
    event = delivery.as_event()
    event.outcome, event.error = outcome, error
    event.save()
