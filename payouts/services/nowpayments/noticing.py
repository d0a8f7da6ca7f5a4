"""What a notification or an answer changes about a payment: nothing that could move it back.

Words are ranked, and a payment has the highest that was ever told of it, with the figures told along with that word by
the latest clock. The order of arrival makes no difference, nor does repetition.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.money import usd_text
from payouts.models import (
    ARRIVED,
    NOWPAYMENTS_SOURCE,
    RANK,
    UNFINISHED,
    Accumulation,
    InboundEvent,
    NowPayment,
    NowPaymentStatus,
    Outcome,
    Verdict,
)
from payouts.providers.nowpayments import BadNoticeError, PaymentNotice, read_notice
from payouts.services.nowpayments.reviewing import open_review
from payouts.services.nowpayments.schedule import WATCH

logger = logging.getLogger(__name__)

# What makes it this payment and not another one.
_IDENTITY = ("parent_payment_id", "order_id", "price_amount", "price_currency", "pay_currency", "pay_address")
_FIGURES = ("pay_amount", "actually_paid", "outcome_amount", "outcome_currency")
# An event that is an answer says so in its headers.
_ASKED = {"asked": "GET /v1/payment/{id}"}
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# Processed again by the sweep or by hand; everything else is done with.
_OPEN = (Outcome.RECEIVED, Outcome.FAILED, Outcome.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A notice as columns of a payment; amounts as plain text."""

    status: str
    said: str
    is_known_word: bool
    is_parent_told: bool
    identity: Mapping[str, str]
    figures: Mapping[str, str]
    updated_at: datetime | None

    @property
    def version(self) -> tuple[datetime, tuple[str, ...]]:
        """Which of two tellings of the same word stands: the later one, and the same one whoever comes first."""
        return _version(self.updated_at, self.figures)


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
        if not keeps_always and (payment is None or not _would_change(payment, _columns_of(told, is_answer=True))):
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
    return payment.pk


def _close(event: InboundEvent, outcome: Outcome, error: str) -> None:
    InboundEvent.objects.filter(pk=event.pk, outcome__in=_OPEN).update(
        outcome=outcome, error=error[:2000], attempts=event.attempts + 1
    )


def _apply(notice: PaymentNotice, event: InboundEvent, actor: Actor) -> tuple[NowPayment, Outcome]:
    """The payment, locked, after it took in the notice; and what that came to."""
    told = _columns_of(notice, is_answer=event.headers == _ASKED)
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
        payment.record_birth(actor=actor, reason="NOWPayments told of it", data=_shown(told))
        outcome = Outcome.NOTED
    else:
        outcome = _merge(payment, told, event, actor)
    if not told.is_known_word:
        open_review(payment=payment, actor=actor, reason=f"NOWPayments calls it {told.said!r}, a word we do not know.")
    return payment, outcome


def _merge(payment: NowPayment, told: _Told, event: InboundEvent, actor: Actor) -> Outcome:
    differing = _differing(payment, told)
    if differing:
        what = "; ".join(f"{name} was {getattr(payment, name)}, is {told.identity[name]}" for name in differing)
        open_review(payment=payment, actor=actor, reason=f"NOWPayments tells of it differently: {what}.")
        return Outcome.CONFLICT
    _fill_in(payment, told, actor)
    if RANK[told.status] > RANK[payment.status]:
        _advance_to(payment, told, event, actor)
        return Outcome.NOTED
    if RANK[told.status] < RANK[payment.status] or told.version < _version_of(payment):
        return Outcome.LATE
    if told.version == _version_of(payment) or not _figures_differ(payment, told):
        return Outcome.REPLAYED
    _correct(payment, told, event, actor)
    return Outcome.NOTED


def _fill_in(payment: NowPayment, told: _Told, actor: Actor) -> None:
    """Take in what earlier words left out, whatever told them: answers do not name a payment's parent."""
    news: dict[str, Any] = {
        name: value for name, value in told.identity.items() if value and not getattr(payment, name)
    }
    if told.is_parent_told and not payment.is_parent_told:
        news["is_parent_told"] = True
    if not news:
        return
    NowPayment.objects.filter(pk=payment.pk).update(**news)
    payment.refresh_from_db()
    if "parent_payment_id" in news and payment.accumulation is not None:
        _tell_of_parent(payment, payment.accumulation, actor)


def _tell_of_parent(payment: NowPayment, accumulation: Accumulation, actor: Actor) -> None:
    """A parent that becomes known after the booking: it matters if the price was booked that it repeats."""
    news = f"It is a later deposit of payment {payment.parent_payment_id}, as is known only now."
    payment.note(actor=actor, reason=news)
    accumulation.note(actor=actor, reason=news)
    if payment.price_amount and accumulation.gross_usd == Decimal(payment.price_amount):
        reason = f"{news} The price of that one was booked, {usd_text(accumulation.gross_usd)}; what was booked stands."
        open_review(payment=payment, actor=actor, reason=reason)


def _advance_to(payment: NowPayment, told: _Told, event: InboundEvent, actor: Actor) -> None:
    came_from, was_other = payment.status, _figures_differ(payment, told)
    is_booked = payment.accumulation_id is not None
    payment.move(
        told.status,
        actor=actor,
        reason=f"NOWPayments: {told.said}",
        data=_shown(told),
        **_standing(told, event),
        next_action_at=_next_look(told.status, is_booked=is_booked),
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
            reason=f"It was {came_from} when it was booked, and is finished now, {booked}."
            " Its accumulation stays held until a person decides.",
        )


def _correct(payment: NowPayment, told: _Told, event: InboundEvent, actor: Actor) -> None:
    """The same word with later figures."""
    before = {name: getattr(payment, name) for name in _FIGURES}
    columns = _standing(told, event)
    if payment.accumulation_id is None and payment.status in ARRIVED:
        columns["next_action_at"] = timezone.now()
    NowPayment.objects.filter(pk=payment.pk).update(**columns)
    payment.refresh_from_db()
    payment.note(actor=actor, reason="NOWPayments corrected its figures", data={"before": before, **_shown(told)})
    if payment.accumulation_id is not None:
        reason = "NOWPayments changed its figures after they were booked; what was booked stands."
        open_review(payment=payment, actor=actor, reason=reason)


def _standing(told: _Told, event: InboundEvent) -> dict[str, Any]:
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


def _would_change(payment: NowPayment, told: _Told) -> bool:
    if not told.is_known_word or _differing(payment, told):
        # Said once; while a person has not decided, every further answer says the same.
        return not payment.review_reason
    if RANK[told.status] != RANK[payment.status]:
        return RANK[told.status] > RANK[payment.status]
    return told.version > _version_of(payment) and _figures_differ(payment, told)


def _differing(payment: NowPayment, told: _Told) -> list[str]:
    return [
        name
        for name, value in told.identity.items()
        if value and getattr(payment, name) and value != getattr(payment, name)
    ]


def _figures_differ(payment: NowPayment, told: _Told) -> bool:
    return any(value != getattr(payment, name) for name, value in told.figures.items())


def _version_of(payment: NowPayment) -> tuple[datetime, tuple[str, ...]]:
    return _version(payment.provider_updated_at, {name: getattr(payment, name) for name in _FIGURES})


def _version(updated_at: datetime | None, figures: Mapping[str, str]) -> tuple[datetime, tuple[str, ...]]:
    return updated_at or _LONG_AGO, tuple(figures[name] for name in _FIGURES)


def _columns_of(notice: PaymentNotice, *, is_answer: bool) -> _Told:
    def text(name: str) -> str:
        value = getattr(notice, name)
        if value is None:
            return ""
        return _plain(value) if isinstance(value, Decimal) else str(value)

    return _Told(
        # A word we do not know moves nothing.
        status=(notice.word or NowPaymentStatus.WAITING).value,
        said=notice.status_text,
        is_known_word=notice.word is not None,
        is_parent_told=not is_answer,
        identity={name: text(name) for name in _IDENTITY},
        figures={name: text(name) for name in _FIGURES},
        updated_at=notice.updated_at,
    )


def _plain(amount: Decimal) -> str:
    """One text for one number, so that 12.50 and 12.5 are no difference."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown(told: _Told) -> dict[str, str]:
    return {name: value for name, value in {**told.identity, **told.figures}.items() if value}
