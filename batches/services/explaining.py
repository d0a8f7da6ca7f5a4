"""Why a batch stands where it stands, and everything that happened to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batches.models import BatchConversion, BatchStatus, BatchStatusChange
from batches.services.operating import odd_members_of, payment_of
from config.lib.explain import Rule
from config.lib.lifecycle import StatusChange
from config.lib.money import USDT, format_units, usd_text
from hostpay import services as hostpay
from hostpay.models import (
    Context,
    ExchangeOrderStatusChange,
    HostPayment,
    HostPaymentStatusChange,
    TransactionStatusChange,
)

# Of the payments that keep a batch out of the band, so many are named one by one.
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One event in the life of a batch or of what moves its money; `subject` says of which."""

    at: datetime
    actor: str
    subject: str
    from_status: str
    to_status: str
    reason: str
    data: dict[str, Any]


def explain_batch(batch: BatchConversion) -> list[Rule]:
    """What the batch is made of, and what holds it or lets it go on, with the figures."""
    rules = [_members_claimed(batch), _ended(batch)]
    payment = payment_of(batch)
    if payment is not None and batch.status in {BatchStatus.CREATED, BatchStatus.SWAPPING}:
        rules += _worth_what_they_claim(batch)
        rules += hostpay.explain_payment(payment)
    return rules


def timeline(batch: BatchConversion) -> list[TimelineEntry]:
    """The events of the batch, its host payments, their exchange orders and transactions, oldest first."""
    payments = HostPayment.objects.filter(context=Context.BATCH, reference=str(batch.pk))
    entries = [
        *_entries("batch", BatchStatusChange.objects.filter(subject=batch)),
        *_entries("host payment", HostPaymentStatusChange.objects.filter(subject__in=payments)),
        *_entries("exchange order", ExchangeOrderStatusChange.objects.filter(subject__payment__in=payments)),
        *_entries("transaction", TransactionStatusChange.objects.filter(subject__slot__payment__in=payments)),
    ]
    # Stable: what carries the same time stays in the order money takes, from the batch down to the transaction.
    return sorted(entries, key=lambda entry: entry.at)


def _members_claimed(batch: BatchConversion) -> Rule:
    return Rule(
        name="the threshold was reached",
        ok=batch.total_usd >= batch.threshold_usd,
        detail=f"{batch.member_count} payments of {usd_text(batch.total_usd)};"
        f" the threshold in force was {usd_text(batch.threshold_usd)}",
        since=batch.created_at,
    )


def _worth_what_they_claim(batch: BatchConversion) -> list[Rule]:
    odd = odd_members_of(batch)
    if not odd:
        return []
    named = "; ".join(
        f"payment {member.payment_id} claims {usd_text(member.claimed_usd)}, its ETH is worth {usd_text(member.worth_usd)}"
        for member in odd[:_MOST_NAMED]
    )
    more = f"; and {len(odd) - _MOST_NAMED} more" if len(odd) > _MOST_NAMED else ""
    detail = f"{named}{more}. A release holds what is named here, and frees the others."
    return [Rule(name="each payment is worth what it claims", ok=False, detail=detail, since=batch.created_at)]


def _ended(batch: BatchConversion) -> Rule:
    if batch.status == BatchStatus.COMPLETED and batch.received_units is not None:
        received = format_units(int(batch.received_units), USDT)
        return Rule(name="converted", ok=True, detail=f"{received} received and shared", since=batch.status_changed_at)
    if batch.status in {BatchStatus.FAILED, BatchStatus.CANCELLED}:
        detail = f"{batch.status}, its members are pending again: {batch.failure_reason}"
        return Rule(name="converted", ok=False, detail=detail, since=batch.status_changed_at)
    return Rule(name="converted", ok=False, detail="its money is under way", since=batch.status_changed_at)


def _entries(subject: str, changes: Iterable[StatusChange]) -> list[TimelineEntry]:
    return [
        TimelineEntry(
            at=change.created_at,
            actor=change.actor,
            subject=subject,
            from_status=change.from_status,
            to_status=change.to_status,
            reason=change.reason,
            data=change.data,
        )
        for change in changes
    ]
