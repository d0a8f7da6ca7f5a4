"""Kept deliveries processed again: one at once, or as many as are meant, one after another, by the sweep."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import RefusedError, SluiceError
from config.lib.exact_json import InexactJsonError, loads_exact
from hostpay.services import PausedError
from payouts.models import NOWPAYMENTS_SOURCE, Accumulation, BodyState, InboundEvent, Outcome, Verdict
from payouts.services.facts import read_facts
from payouts.services.inbox import REFUSALS
from payouts.services.nowpayments import replay_notification
from payouts.services.recording import ConflictingPaymentError, Recorded, leave_unsettled, record_payment
from payouts.services.settling import Which, mark_all

# Outcomes after which processing again may lead elsewhere: the client exists by now, the fault is mended.
REPLAYABLE = (Outcome.RECEIVED, Outcome.FAILED, Outcome.REFUSED)
# One of NOWPayments may ask outside, three times at most.
_LEASE = timedelta(minutes=5)
_SWEPT_FOR_S = 10


def replay_event(*, event_id: int, actor: Actor, reason: str = "") -> Accumulation | None:
    """Process a kept delivery again; one that was recorded gives its accumulation and changes nothing.

    None if it told of a payment of which no money has arrived. That it was tried, and what for, goes into its history.

    Raises:
        RefusedError: it is not authentic, or it conflicts with what was recorded.
        SluiceError: what it was refused for is still so; the event says what.
        InboundEvent.DoesNotExist: there is none.
    """
    event = InboundEvent.objects.select_related("accumulation").get(pk=event_id)
    if _is_recorded(event):
        return event.accumulation
    why = f"processed again: {reason.strip()}" if reason.strip() else "processed again"
    if event.source == NOWPAYMENTS_SOURCE:
        return _replay_notification(event, actor, why)
    ended = _replay_payment(event_id, actor, why)
    # Raised after the commit, so that the new attempt and its reason are kept.
    if isinstance(ended, SluiceError):
        raise ended
    return ended


def why_not_replayed(event: InboundEvent) -> str:
    """Why it cannot be processed again, or nothing."""
    if event.body_state == BodyState.FORGOTTEN:
        return (
            f"The body of event {event.pk} was forgotten: it is older than {settings.INBOX_BODIES_KEPT_DAYS} days, and was"
            " in the books or left as it is. Its sender may send it again."
        )
    if event.verdict == Verdict.VALID and event.outcome in REPLAYABLE:
        if event.outcome == Outcome.REFUSED and _is_list(event):
            return f"Event {event.pk} is a list that was refused as a whole: only its sender can mend it. {event.error}"
        return ""
    return (
        f"Event {event.pk} is {event.get_verdict_display()}, {event.get_outcome_display()}; only an authentic delivery"
        " that failed or was refused can be processed again."
    )


def replayable_events(which: Which = Which()) -> QuerySet[InboundEvent]:  # noqa: B008 (frozen)
    """Authentic deliveries that might become accumulations and are not left as they are, oldest first."""
    # Each half has an index of its own.
    open_ones = Q(outcome=Outcome.RECEIVED) | Q(outcome__in=(Outcome.FAILED, Outcome.REFUSED))
    return which.among(InboundEvent.objects.filter(open_ones, verdict=Verdict.VALID, acknowledged_at__isnull=True))


def ask_for_replays(*, which: Which, at_most: int, actor: Actor, reason: str) -> int:
    """Have all of these processed again by the sweep, oldest first; says how many. Those that wait already go on waiting.

    Raises:
        TooManyError: they are more than `at_most`; none was changed.
        RefusedError: no reason was given.
    """
    fresh = replayable_events().filter(replay_at__isnull=True)
    marks = {"replay_at": clock.now()}
    return mark_all(
        fresh, which, at_most=at_most, actor=actor, what="to be processed again", reason=reason, marks=marks
    )


def waiting_replays() -> int:
    """How many deliveries are still to be processed again."""
    return InboundEvent.objects.filter(replay_at__isnull=False).count()


def carry_out_replays(*, actor: Actor) -> int:
    """Process again, for some seconds, what somebody asked for; says how many were. A paused intake stops it.

    Raises:
        Exception: anything unforeseen at one of them, which is not tried again by itself; the next sweep goes on.
    """
    until = time.monotonic() + _SWEPT_FOR_S
    count = 0
    while time.monotonic() < until:
        now = clock.now()
        due = (
            InboundEvent.objects.filter(replay_at__lte=now).order_by("replay_at", "pk").only("pk", "replay_at").first()
        )
        if due is None:
            break
        # Whoever moves the time ahead has it until then.
        taken = InboundEvent.objects.filter(pk=due.pk, replay_at=due.replay_at).update(replay_at=now + _LEASE)
        if taken and not _carry_out(due.pk, actor):
            break
        count += taken
    return count


def _carry_out(event_id: int, actor: Actor) -> bool:
    """False if it waits on, since the intake is paused."""
    is_paused = False
    try:
        replay_event(event_id=event_id, actor=actor)
    except PausedError:
        is_paused = True
    except RefusedError as refusal:
        # Somebody asked for it, and its history must say why nothing was done.
        InboundEvent.objects.get(pk=event_id).note(actor=actor, reason=f"not processed again: {refusal}")
    except SluiceError:
        # Its row and its history say what came of it.
        pass
    finally:
        InboundEvent.objects.filter(pk=event_id).update(replay_at=clock.now() if is_paused else None)
    return not is_paused


def _is_list(event: InboundEvent) -> bool:
    """Whether it is a request of many payments; those of one that was processed are deliveries of their own."""
    if event.source == NOWPAYMENTS_SOURCE:
        return False
    try:
        content = loads_exact(bytes(event.body))
    except InexactJsonError:
        return False
    return isinstance(content, list) or (isinstance(content, dict) and "payments" in content)


def _is_recorded(event: InboundEvent) -> bool:
    """Whether there is nothing left to do.

    Raises:
        RefusedError: nothing can be done.
    """
    if event.accumulation_id is not None and event.outcome in {Outcome.RECORDED, Outcome.REPLAYED}:
        return True
    why_not = why_not_replayed(event)
    if why_not:
        raise RefusedError(why=why_not, next_step="It stays as it is.")
    return False


def _replay_payment(event_id: int, actor: Actor, why: str) -> Accumulation | SluiceError | None:
    with transaction.atomic():
        event = InboundEvent.objects.select_for_update(of=("self",)).select_related("accumulation").get(pk=event_id)
        # Somebody may have been faster.
        if _is_recorded(event):
            return event.accumulation
        came_from = event.outcome
        event.attempts += 1
        # What comes of it now is for somebody to see to again.
        event.acknowledged_at = None
        ended = _processed_again(event, actor)
        event.note(actor=actor, reason=why, came_from=came_from)
    return ended if isinstance(ended, SluiceError) else ended.accumulation


def _replay_notification(event: InboundEvent, actor: Actor, why: str) -> Accumulation | None:
    # It may have to ask outside, so in no transaction of ours.
    came_from = event.outcome
    InboundEvent.objects.filter(pk=event.pk).update(acknowledged_at=None)
    try:
        return replay_notification(event=event, actor=actor)
    finally:
        event.refresh_from_db(fields=("outcome",))
        event.note(actor=actor, reason=why, came_from=came_from)


def _processed_again(event: InboundEvent, actor: Actor) -> Recorded | SluiceError:
    try:
        return record_payment(facts=read_facts(bytes(event.body), source=event.source), event=event, actor=actor)
    except REFUSALS as refusal:
        leave_unsettled(event, Outcome.REFUSED, str(refusal))
        event.save()
        return refusal
    except ConflictingPaymentError as conflict:
        return conflict
