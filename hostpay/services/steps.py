"""What a step of a host payment's life says when it is done, and how that is written down."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor
from hostpay.models import HostPayment

_BACKOFF_FIRST_S = 2
_BACKOFF_LONGEST_S = 300

# Between the questions of one review.
_AND = "\nand: "
# More than that nobody reads on one line; all of them stand in the history.
_MOST_QUESTIONS = 5
_EARLIER = "earlier questions, which stand in its history"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proceed:
    """The payment moved on: take its next step at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """All is well, and there is nothing to do but to look again."""

    after_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A rule holds the payment back; it goes on by itself when the rule is met."""

    reason: str
    after_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A person must decide; with `after_s` the payment is looked at meanwhile."""

    reason: str
    after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An outside call failed; `unknown` if it may have had its effect."""

    error: str
    unknown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing is to be done for it any more."""


Said = Proceed | Poll | Wait | Review | Failed | Done


def lease_length() -> timedelta:
    """How long a worker keeps a payment to itself: longer than a step takes, which ends with its first call that fails."""
    return timedelta(seconds=4 * settings.PROVIDER_TIMEOUT_S)


def backoff(attempts: int) -> timedelta:
    """Doubling from 2 s to 5 min, with a jitter of a quarter either way, so that many do not come back as one."""
    longest = min(_BACKOFF_LONGEST_S, _BACKOFF_FIRST_S * 2 ** min(attempts, 10))
    return timedelta(seconds=longest) * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)


def write_down(
    payment: HostPayment, said: Said, *, lease: datetime, actor: Actor, signers_turn: datetime | None = None
) -> None:
    """Store what a step said, unless somebody else has taken the payment up since `lease` was ours.

    Args:
        signers_turn: since when the signer has something to do for it. Its turn and its words stay as they are, so that
            it is not put off by who looked meanwhile, and its silence is seen; only a question to a person is added.
    """
    columns = _columns(payment, said, clock.now())
    if signers_turn is not None:
        asked = ("review_reason", "review_since") if isinstance(said, Review) else ()
        columns = {name: columns[name] for name in asked} | {"next_action_at": signers_turn}
    with transaction.atomic():
        if isinstance(said, Review):
            columns["review_reason"] = _asked_by_step(payment, said)
        written = HostPayment.objects.filter(pk=payment.pk, next_action_at=lease).update(**columns)
        if written and columns["next_action_at"] is None:
            _keep_watched(payment)
        if written and isinstance(said, Review) and not _is_asked(payment.review_reason, said.reason):
            payment.note(actor=actor, reason=f"needs review: {said.reason}")


def open_review(payment: HostPayment, said: Review, *, actor: Actor) -> None:
    """Ask a person in the transaction of what the question is about, beside what nobody has answered yet.

    The caller holds the payment's row. What is asked already is not asked twice.
    """
    payment.refresh_from_db(fields=("review_reason", "review_since"))
    if _is_asked(payment.review_reason, said.reason):
        return
    payment.note(actor=actor, reason=f"needs review: {said.reason}")
    payment.review_reason = _together(payment.review_reason, said.reason)
    payment.review_since = payment.review_since or clock.now()
    payment.save(update_fields=("review_reason", "review_since"))


def close_answered(payment: HostPayment, *, about: str) -> None:
    """End the questions that name the transaction `about`; any other stays open. The caller holds the payment's row."""
    payment.refresh_from_db(fields=("review_reason", "review_since"))
    left = [each for each in _questions(payment.review_reason) if about.lower() not in each.lower()]
    payment.review_reason = _AND.join(left)
    payment.review_since = payment.review_since if left else None
    payment.save(update_fields=("review_reason", "review_since"))


def _asked_by_step(payment: HostPayment, said: Review) -> str:
    """What a step asks takes the place of what it asked before; what others have asked meanwhile stays beside it.

    After the end of a payment each question is about other money, and none takes another's place.
    """
    row = HostPayment.objects.select_for_update(of=("self",)).only("review_reason").get(pk=payment.pk)
    is_its_own = row.review_reason == payment.review_reason and payment.delivered_at is None
    if is_its_own and not _is_asked(row.review_reason, said.reason):
        return said.reason
    return _together(row.review_reason, said.reason)


def _questions(review_reason: str) -> list[str]:
    return [each for each in review_reason.split(_AND) if each]


def _is_asked(review_reason: str, question: str) -> bool:
    return set(_questions(question)) <= set(_questions(review_reason))


def _together(review_reason: str, question: str) -> str:
    asked = _questions(review_reason)
    asked += [each for each in _questions(question) if each not in asked]
    named = [each for each in asked if each != _EARLIER]
    if len(named) > _MOST_QUESTIONS or len(named) < len(asked):
        return _AND.join((_EARLIER, *named[-_MOST_QUESTIONS:]))
    return _AND.join(named)


def _keep_watched(payment: HostPayment) -> None:
    """What another signed while we looked is on the wire: a person may be asked, and the watch goes on."""
    HostPayment.objects.on_the_wire().filter(pk=payment.pk).update(
        next_action_at=clock.now() + timedelta(seconds=settings.CHAIN_POLL_EVERY_S)
    )


def _columns(payment: HostPayment, said: Said, now: datetime) -> dict[str, object]:
    calm: dict[str, object] = {
        "attempts": 0,
        "last_error": "",
        "waiting_reason": "",
        "waiting_since": None,
        "unknown_reason": "",
        "unknown_since": None,
    }
    match said:
        case Proceed():
            return {**calm, "next_action_at": now}
        case Done():
            return {**calm, "next_action_at": None}
        case Poll(after_s=after_s):
            return {**calm, "next_action_at": now + timedelta(seconds=after_s)}
        case Wait(reason=reason, after_s=after_s):
            return {
                **calm,
                "waiting_reason": reason,
                "waiting_since": payment.waiting_since or now,
                "next_action_at": now + timedelta(seconds=after_s),
            }
        case Review(reason=reason, after_s=after_s):
            return {
                **calm,
                "review_reason": reason,
                "review_since": payment.review_since or now,
                "next_action_at": None if after_s is None else now + timedelta(seconds=after_s),
            }
        case Failed(error=error, unknown=unknown):
            return {
                "attempts": payment.attempts + 1,
                "last_error": error,
                "waiting_reason": "" if unknown else error,
                "waiting_since": None if unknown else payment.waiting_since or now,
                "unknown_reason": error if unknown else "",
                "unknown_since": (payment.unknown_since or now) if unknown else None,
                "next_action_at": now + backoff(payment.attempts),
            }
