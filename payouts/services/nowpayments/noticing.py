"""What a notification or an answer changes about a payment: nothing that could move it back.

Words are ranked, and a payment has the highest that was ever told of it, with the figures told along with that word by
the latest clock. The order of arrival makes no difference, nor does repetition.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from config.lib.audit import Actor
from payouts.models import (
    ARRIVED,
    NOWPAYMENTS_SOURCE,
    RANK,
    UNFINISHED,
    InboundEvent,
    NowPayment,
    NowPaymentStatus,
    Outcome,
    ReviewCause,
    Verdict,
)
from payouts.providers.nowpayments import BadNoticeError, PaymentNotice, read_notice
from payouts.services.nowpayments.parents import fill_in, later_to_learn_of, learn_from_itself, learn_of_later
from payouts.services.nowpayments.reviewing import open_review, try_again_with_news
from payouts.services.nowpayments.schedule import WATCH
from payouts.services.nowpayments.told import FIGURES, Told, shown, told_by, version_of
from payouts.services.recording import ConflictingPaymentError
from payouts.services.refusals import count_refusals

logger = logging.getLogger(__name__)

# An event that is an answer says so in its headers.
_ASKED = {"asked": "GET /v1/payment/{id}"}
# Processed again by the sweep or by hand; everything else is done with.
_OPEN = (Outcome.RECEIVED, Outcome.FAILED, Outcome.REFUSED)


def process_notification(*, event_id: int, actor: Actor) -> int | None:
    """Process one stored notification, unless that was done; the id of the payment it told of, if there is one.

    Raises:
        Exception: anything unforeseen, after the notification was marked as failed; it can be replayed. A database
            that is away leaves it as it was, for the sweep.
    """
    event = InboundEvent.objects.filter(pk=event_id, source=NOWPAYMENTS_SOURCE, verdict=Verdict.VALID).first()
    if event is None or event.outcome not in _OPEN:
        return None
    is_settled = False
    try:
        payment_id = _process(event, actor)
        is_settled = True
        return payment_id
    except (OperationalError, InterfaceError):
        is_settled = True
        raise
    finally:
        if not is_settled:
            _close(event, Outcome.FAILED, "Processing broke off; the log has the reason.")


def take_answer(*, body: bytes, told: PaymentNotice, actor: Actor, keeps_always: bool = False) -> NowPayment | None:
    """Take what the provider answered when asked; kept as an event only if it changes anything, or if `keeps_always`.

    Returns the payment; None if we know none by this number and nothing was kept.
    """
    with transaction.atomic():
        payment = NowPayment.objects.select_for_update(of=("self",)).filter(payment_id=told.payment_id).first()
        if not keeps_always and (payment is None or not _would_change(payment, told_by(told, is_answer=True))):
            return payment
        event = InboundEvent.objects.create(
            source=NOWPAYMENTS_SOURCE,
            event_id=told.payment_id,
            headers=_ASKED,
            body=body,
            verdict=Verdict.VALID,
        )
        payment, outcome = _apply(told, event, actor)
        _close(event, outcome, "")
        return payment


def _process(event: InboundEvent, actor: Actor) -> int | None:
    try:
        told = read_notice(bytes(event.body))
    except BadNoticeError as bad:
        _close(event, Outcome.REFUSED, str(bad))
        count_refusals(source=event.source, codes=[bad.code])
        return None
    if not isinstance(told, PaymentNotice):
        _close(
            event,
            Outcome.NOTED,
            f"About {told.other_id}, which is no payment ({told.status_text}): a withdrawal, or a move in custody.",
        )
        return None
    with transaction.atomic():
        payment, outcome = _apply(told, event, actor)
        _close(event, outcome, "")
    if outcome == Outcome.CONFLICT:
        count_refusals(source=event.source, codes=[ConflictingPaymentError.code])
    return payment.pk


def _close(event: InboundEvent, outcome: Outcome, error: str) -> None:
    InboundEvent.objects.filter(pk=event.pk, outcome__in=_OPEN).update(
        outcome=outcome, error=error[:2000], attempts=event.attempts + 1
    )


def _apply(notice: PaymentNotice, event: InboundEvent, actor: Actor) -> tuple[NowPayment, Outcome]:
    """The payment, locked, after it took in the notice; and what that came to."""
    told = told_by(notice, is_answer=event.headers == _ASKED)
    payment, is_new = NowPayment.objects.select_for_update(of=("self",)).get_or_create(
        payment_id=notice.payment_id,
        defaults={
            "status": told.status,
            "is_parent_told": told.is_parent_told,
            **told.identity,
            **told.figures,
            "provider_updated_at": told.updated_at,
            "event": event,
            "next_action_at": _next_look(told.status, is_booked=False),
        },
    )
    if is_new:
        payment.record_birth(actor=actor, reason="NOWPayments told of it", data=shown(told))
        outcome = Outcome.NOTED
    else:
        outcome = _merge(payment, told, event, actor)
    if not told.is_known_word and payment.set_aside_at is None:
        reason = f"NOWPayments calls it {told.said!r}, a word we do not know."
        open_review(payment=payment, actor=actor, cause=ReviewCause.UNKNOWN_WORD, reason=reason)
    if later_to_learn_of(payment, told):
        learn_of_later(payment, told, event, actor)
        outcome = Outcome.NOTED if outcome in {Outcome.LATE, Outcome.REPLAYED} else outcome
    return payment, outcome


def _merge(payment: NowPayment, told: Told, event: InboundEvent, actor: Actor) -> Outcome:
    differing = _differing(payment, told)
    if differing:
        what = "; ".join(f"{name} was {getattr(payment, name)}, is {told.identity[name]}" for name in differing)
        reason = f"NOWPayments tells of it differently: {what}."
        if payment.set_aside_at is None:
            open_review(payment=payment, actor=actor, cause=ReviewCause.CONFLICT, reason=reason)
        return Outcome.CONFLICT
    blanks = {name: value for name, value in told.identity.items() if value and not getattr(payment, name)}
    if told.is_parent_told and not payment.is_parent_told:
        learn_from_itself(payment, blanks, actor)
    elif blanks:
        fill_in(payment, blanks, actor)
    if RANK[told.status] > RANK[payment.status]:
        _advance_to(payment, told, event, actor)
        return Outcome.NOTED
    if RANK[told.status] < RANK[payment.status] or told.version < version_of(payment):
        return Outcome.LATE
    if told.version == version_of(payment) or not _figures_differ(payment, told):
        return Outcome.REPLAYED
    _correct(payment, told, event, actor)
    return Outcome.NOTED


def _advance_to(payment: NowPayment, told: Told, event: InboundEvent, actor: Actor) -> None:
    try_again_with_news(payment=payment, actor=actor, reason="NOWPayments tells more of it")
    came_from, was_other = payment.status, _figures_differ(payment, told)
    is_booked = payment.accumulation_id is not None
    payment.move(
        told.status,
        actor=actor,
        reason=f"NOWPayments: {told.said}",
        data=shown(told),
        **_standing(told, event),
        next_action_at=None if payment.set_aside_at else _next_look(told.status, is_booked=is_booked),
        looks=0,
        attempts=0,
        last_error="",
    )
    if is_booked and told.status == NowPaymentStatus.FINISHED:
        now = f"{payment.outcome_amount or 'nothing'} {payment.outcome_currency}".strip()
        booked = "with other figures: " + now if was_other else "with the same figures"
        open_review(
            payment=payment,
            actor=actor,
            cause=ReviewCause.NEWS,
            reason=f"It was {came_from} when it was booked, and is finished now, {booked}. What was booked stands.",
        )
    _tell_of_news_aside(payment, actor)


def _correct(payment: NowPayment, told: Told, event: InboundEvent, actor: Actor) -> None:
    """The same word with later figures."""
    try_again_with_news(payment=payment, actor=actor, reason="NOWPayments tells more of it")
    before = {name: getattr(payment, name) for name in FIGURES}
    # What the later telling leaves out stands.
    columns = {name: value or before.get(name, value) for name, value in _standing(told, event).items()}
    if payment.accumulation_id is None and payment.set_aside_at is None and payment.status in ARRIVED:
        columns["next_action_at"] = timezone.now()
    NowPayment.objects.filter(pk=payment.pk).update(**columns)
    payment.refresh_from_db()
    payment.note(actor=actor, reason="NOWPayments corrected its figures", data={"before": before, **shown(told)})
    if payment.accumulation_id is not None:
        reason = f"{_correction(payment, told, before)}; what was booked stands."
        open_review(payment=payment, actor=actor, cause=ReviewCause.NEWS, reason=reason)
    _tell_of_news_aside(payment, actor)


def _correction(payment: NowPayment, told: Told, before: Mapping[str, str]) -> str:
    """How the figures were corrected and when: no two read alike, so that each is a question of its own."""
    now = {name: getattr(payment, name) for name in FIGURES}
    changes = [
        f"{name} was {before[name] or 'nothing'}, is {now[name]}" for name in FIGURES if now[name] != before[name]
    ]
    at = "" if told.updated_at is None else f" at {told.updated_at:%Y-%m-%d %H:%M:%S.%f} UTC"
    return f"NOWPayments changed its figures{at}, after they were booked: {', '.join(changes)}"


def _tell_of_news_aside(payment: NowPayment, actor: Actor) -> None:
    """Who set it aside did not know of money that came since."""
    if payment.set_aside_at is not None and payment.status in ARRIVED:
        arrived = f"{payment.outcome_amount or 'nothing yet'} {payment.outcome_currency}".strip()
        reason = (
            f"It was set aside, and since then NOWPayments calls it {payment.status}, with an outcome of {arrived}."
        )
        open_review(payment=payment, actor=actor, cause=ReviewCause.NEWS, reason=reason)


def _standing(told: Told, event: InboundEvent) -> dict[str, Any]:
    """The columns that go with a word; a value worked out from earlier figures is void."""
    return {
        **told.figures,
        "provider_updated_at": told.updated_at,
        "event": event,
        "valued_usd": None,
        "eth_usd": None,
    }


def _next_look(status: str, *, is_booked: bool) -> datetime | None:
    now = timezone.now()
    if status == NowPaymentStatus.REFUNDED:
        return now if is_booked else None
    if status in ARRIVED and not is_booked:
        return now
    if status in UNFINISHED:
        return now + timedelta(seconds=settings.NOWPAYMENTS_POLL_EVERY_S)
    return now + WATCH[0]


def _would_change(payment: NowPayment, told: Told) -> bool:
    if not told.is_known_word or _differing(payment, told):
        # Said once; while a person has not decided, every further answer says the same.
        return not payment.review_reason
    if later_to_learn_of(payment, told):
        return True
    if RANK[told.status] != RANK[payment.status]:
        return RANK[told.status] > RANK[payment.status]
    return told.version > version_of(payment) and _figures_differ(payment, told)


def _differing(payment: NowPayment, told: Told) -> list[str]:
    return [
        name
        for name, value in told.identity.items()
        if value and getattr(payment, name) and value != getattr(payment, name)
    ]


def _figures_differ(payment: NowPayment, told: Told) -> bool:
    """Whether another figure is told; one that is left out says nothing."""
    return any(value and value != getattr(payment, name) for name, value in told.figures.items())
