"""A notice as columns of a payment, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from payouts.models import NowPayment, NowPaymentStatus
from payouts.providers.nowpayments import PaymentNotice

# What makes it this payment and not another one.
_IDENTITY = ("parent_payment_id", "order_id", "price_amount", "price_currency", "pay_currency", "pay_address")
FIGURES = ("pay_amount", "actually_paid", "outcome_amount", "outcome_currency")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Version = tuple[datetime, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice as columns of a payment; amounts as plain text."""

    status: str
    said: str
    is_known_word: bool
    is_parent_told: bool
    identity: Mapping[str, str]
    figures: Mapping[str, str]
    updated_at: datetime | None
    later_ids: tuple[str, ...]

    @property
    def version(self) -> Version:
        """Which of two tellings of the same word stands: the later one, and the same one whoever comes first."""
        return _version(self.updated_at, self.figures)


def told_by(notice: PaymentNotice, *, is_answer: bool) -> Told:
    """What the notice says, by the names of the columns."""

    def text(name: str) -> str:
        value = getattr(notice, name)
        if value is None:
            return ""
        return _plain(value) if isinstance(value, Decimal) else str(value)

    return Told(
        # A word we do not know moves nothing.
        status=(notice.word or NowPaymentStatus.WAITING).value,
        said=notice.status_text,
        is_known_word=notice.word is not None,
        is_parent_told=not is_answer,
        identity={name: text(name) for name in _IDENTITY},
        figures={name: text(name) for name in FIGURES},
        updated_at=notice.updated_at,
        later_ids=notice.extra_ids,
    )


def version_of(payment: NowPayment) -> Version:
    """Which telling of its word a payment stands by."""
    return _version(payment.provider_updated_at, {name: getattr(payment, name) for name in FIGURES})


def shown(told: Told) -> dict[str, str]:
    """What was said, for the history."""
    return {name: value for name, value in {**told.identity, **told.figures}.items() if value}


def _version(updated_at: datetime | None, figures: Mapping[str, str]) -> Version:
    return updated_at or _LONG_AGO, tuple(figures[name] for name in FIGURES)


def _plain(amount: Decimal) -> str:
    """One text for one number, so that 12.50 and 12.5 are no difference."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
