"""`reconcile --batch`: each batch against its members, its host payment and what was received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from batches.models import BatchConversion, BatchStatus
from config.lib.differences import Line, Verdict, compared, left_out
from config.lib.money import USDT, format_units
from hostpay.models import CLOSED_UNPAID, Context, HostPayment, PaymentStatus, Scope
from hostpay.services.reconciling import latest_settled
from payouts.models import Accumulation

_OVERLAP = timedelta(days=1)
_MOST = 1_000
# A delivery follows a settlement at once; later than this, nobody is working.
_TOLD_WITHIN = timedelta(minutes=15)
_SLOW_AFTER = timedelta(hours=2)
_HOLDS_MEMBERS = (BatchStatus.CREATED, BatchStatus.SWAPPING, BatchStatus.COMPLETED)
_CHECK = "The books disagree with themselves: open the breaker and run manage.py check_invariants."


def reconcile_batches(*, batch: BatchConversion | None = None, is_whole: bool = False) -> list[Line]:
    """Compare one batch, or every one that is open or ended since the last run that was settled.

    Args:
        is_whole: without the bound that keeps a worker's run short.
    """
    wanted = _wanted() if batch is None else BatchConversion.objects.filter(pk=batch.pk)
    oldest_first = wanted.order_by("created_at")
    batches = list(oldest_first if is_whole else oldest_first[:_MOST])
    rest = wanted.count() - len(batches)
    members = _members(batches)
    payments = _payments(batches)
    found = {each: _compared(each, members.get(each.pk, {}), payments.get(str(each.pk), [])) for each in batches}
    sound = sum(not any(line.verdict is not Verdict.AGREES for line in lines) for lines in found.values())
    summary = Line(
        row="batches compared",
        ours=f"{len(batches)}",
        theirs=f"{sound} agree with their members and payments",
        verdict=Verdict.AGREES if sound == len(batches) else Verdict.NOTED,
    )
    lines = [line for lines in found.values() for line in lines]
    if rest > 0:
        lines.append(left_out("further batches", rest))
    return [summary, *(lines if batch is not None else [line for line in lines if line.verdict is not Verdict.AGREES])]


def _wanted() -> QuerySet[BatchConversion]:
    before = latest_settled(Scope.ALL)
    if before is None:
        return BatchConversion.objects.all()
    return BatchConversion.objects.filter(
        Q(status__in=(BatchStatus.CREATED, BatchStatus.SWAPPING))
        | Q(status_changed_at__gte=before.started_at - _OVERLAP)
    )


def _members(batches: Iterable[BatchConversion]) -> dict[object, Mapping[str, Any]]:
    rows = (
        Accumulation.objects.filter(batch_conversion__in=list(batches))
        .order_by()
        .values("batch_conversion")
        .annotate(
            count=Count("pk"), usd=Sum("pending_usd_amount"), wei=Sum("net_wei"), usdt=Sum("converted_usdt_amount")
        )
    )
    return {row["batch_conversion"]: row for row in rows}


def _payments(batches: Iterable[BatchConversion]) -> dict[str, list[HostPayment]]:
    found: dict[str, list[HostPayment]] = {}
    references = [str(batch.pk) for batch in batches]
    for payment in HostPayment.objects.filter(context=Context.BATCH, reference__in=references).order_by("-created_at"):
        found.setdefault(payment.reference, []).append(payment)
    return found


def _compared(batch: BatchConversion, members: Mapping[str, Any], payments: list[HostPayment]) -> list[Line]:
    lines = [_total(batch, members)]
    if batch.status == BatchStatus.COMPLETED:
        lines += [_shares(batch, members), _proceeds(batch, payments)]
    elif batch.status in {BatchStatus.SWAPPING, BatchStatus.CREATED}:
        lines.append(_under_way(batch, payments[0] if payments else None))
    else:
        lines.append(_unpaid(batch, payments))
    return lines


def _total(batch: BatchConversion, members: Mapping[str, Any]) -> Line:
    row = f"members of batch {batch.pk}"
    theirs = _sum_of(int(members.get("count") or 0), members.get("usd") or Decimal(0), members.get("wei") or Decimal(0))
    if batch.status not in _HOLDS_MEMBERS:
        none = _sum_of(0, Decimal(0), Decimal(0))
        return compared(row, none, theirs, next_step=f"It is {batch.status}, and its members must be pending. {_CHECK}")
    return compared(row, _sum_of(batch.member_count, batch.total_usd, batch.net_wei), theirs, next_step=_CHECK)


def _shares(batch: BatchConversion, members: Mapping[str, Any]) -> Line:
    received = format_units(int(batch.received_units or 0), USDT)
    shared = format_units(int((members.get("usdt") or Decimal(0)) * USDT.units_per_one), USDT)
    return compared(f"shares of batch {batch.pk}", received, shared, next_step=_CHECK)


def _proceeds(batch: BatchConversion, payments: list[HostPayment]) -> Line:
    row, ours = f"proceeds of batch {batch.pk}", format_units(int(batch.received_units or 0), USDT)
    settled = next((payment for payment in payments if payment.status == PaymentStatus.SETTLED), None)
    if settled is None:
        return Line(row=row, ours=ours, theirs="no settled payment", verdict=Verdict.ALARM, next_step=_CHECK)
    return compared(row, ours, format_units(int(settled.received_units or 0), USDT), next_step=_CHECK)


def _unpaid(batch: BatchConversion, payments: list[HostPayment]) -> Line:
    """Its members may be in another batch: money that left for this one would be spent twice."""
    row = f"payment of batch {batch.pk}"
    standing = [payment for payment in payments if payment.status not in CLOSED_UNPAID]
    if not standing:
        return Line(row=row, ours=batch.status, theirs="nothing was sent, or all came back")
    return Line(
        row=row,
        ours=batch.status,
        theirs=f"payment {standing[0].pk} is {standing[0].status}",
        verdict=Verdict.ALARM,
        next_step=f"Pause signing: the members were given back, and their money may be out. {_CHECK}",
    )


def _under_way(batch: BatchConversion, payment: HostPayment | None) -> Line:
    row, age = f"payment of batch {batch.pk}", f"{batch.status} since {batch.status_changed_at:%Y-%m-%d %H:%M} UTC"
    if payment is None or payment.delivered_at is not None:
        theirs = (
            "none was requested" if payment is None else f"payment {payment.pk} ended as {payment.status}, and was told"
        )
        return Line(row=row, ours=age, theirs=theirs, verdict=Verdict.ALARM, next_step=_CHECK)
    verdict, next_step = _next_for(batch, payment, timezone.now())
    return Line(row=row, ours=age, theirs=_stand_of(payment), verdict=verdict, next_step=next_step)


def _next_for(batch: BatchConversion, payment: HostPayment, now: datetime) -> tuple[Verdict, str]:
    if payment.review_reason:
        return (
            Verdict.DIFFERS,
            f"A person must decide: it waits under “Needs me”, and manage.py explain {batch.pk} says why.",
        )
    if payment.status == PaymentStatus.SETTLED and now - payment.status_changed_at > _TOLD_WITHIN:
        return (
            Verdict.DIFFERS,
            "Its proceeds are here and not shared: are beat and the worker running? (manage.py tick)",
        )
    if payment.next_action_at is not None and now - payment.next_action_at > _TOLD_WITHIN:
        return Verdict.DIFFERS, "Nobody has looked at it: are beat and the worker running? (/readyz, manage.py tick)"
    if now - batch.created_at > _SLOW_AFTER:
        return Verdict.NOTED, f"It takes long; it goes on by itself. manage.py explain {batch.pk}"
    return Verdict.AGREES, ""


def _stand_of(payment: HostPayment) -> str:
    """With its times: the next stall is another difference than one that was signed off."""
    stuck = payment.review_reason or payment.unknown_reason or payment.waiting_reason
    since = payment.review_since or payment.unknown_since or payment.waiting_since or payment.status_changed_at
    is_due = payment.next_action_at is not None and not payment.review_reason
    due = f", due {_at(payment.next_action_at)}" if is_due and payment.next_action_at else ""
    return f"payment {payment.pk} is {payment.status}{f': {stuck}' if stuck else ''} since {_at(since)}{due}"


def _at(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _sum_of(count: int, usd: Decimal, wei: Decimal) -> str:
    return f"{count} with {usd.normalize():f} USD and {int(wei)} wei"
