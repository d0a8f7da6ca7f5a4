"""The admin's home: where the pool stands, what needs a person, where the money is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from batches.admin.checks import DECISION_TONES
from batches.admin.operations import CHECK_NOW
from batches.models import BatchConversion, BatchStatus, Decision, ThresholdCheck
from batches.services import current_policy
from config.admin_site.attention import attention
from config.lib.adminkit import cells, charts
from config.lib.adminkit.links import list_of, page_of
from config.lib.adminkit.operations import button
from config.lib.money import USDT, from_units, usd_text
from hostpay.admin.facts import wallet_view
from hostpay.admin.switches import heartbeat_pill
from hostpay.models import Heartbeat, Wallet
from payouts.services.members import pending_totals

_CHECK_TASK = "batches.tasks.check_threshold"
_CHECKS_READ = 500
_CHECKS_SHOWN = 40
_DAYS = 14
_CHART_SPAN = timedelta(hours=24)
_ATTENTION_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCheck:
    """When the schedule checks next; `at` is None when it does not."""

    at: datetime | None
    note: str


def overview(request: HttpRequest) -> dict[str, Any]:
    """The context of the overview; a bounded number of queries whatever the tables hold."""
    policy = current_policy()
    pending = pending_totals(converts_unreceipted=policy.converts_unreceipted)
    checks = list(ThresholdCheck.objects.select_related("batch").order_by("-id")[:_CHECKS_READ])
    found = attention()
    return {
        "policy": policy,
        "policy_url": page_of(policy),
        "pending": pending,
        "pending_text": usd_text(pending.total_usd),
        "threshold_text": usd_text(policy.threshold_usd),
        "pending_percent": _percent(pending.total_usd, policy.threshold_usd),
        "missing_text": usd_text(max(Decimal(0), policy.threshold_usd - pending.total_usd)),
        "is_reached": pending.total_usd >= policy.threshold_usd,
        "oldest": cells.when(pending.oldest_at),
        "next_check": next_check(checks[0] if checks else None),
        "check_button": button(
            CHECK_NOW, None, reverse("admin:batches_thresholdcheck_do", args=("check",)), request.user
        ),
        "attention": found,
        "attention_items": found.items[:_ATTENTION_SHOWN],
        "attention_left": len(found.items) - _ATTENTION_SHOWN,
        "batch_states": _batch_states(),
        "running": BatchConversion.objects.open().order_by("created_at")[:5],
        "wallet": wallet_view(),
        "wallet_row": Wallet.objects.filter(
            chain_id=settings.ETH_CHAIN_ID, address=settings.HOST_WALLET_ADDRESS
        ).first(),
        "tracker": [_tracked(check) for check in reversed(checks[:_CHECKS_SHOWN])],
        "checks_url": list_of(ThresholdCheck),
        "heartbeats": [_beat(beat) for beat in Heartbeat.objects.order_by("name")],
        "pending_chart": _pending_chart(checks, policy.threshold_usd),
        "pending_span": _span(checks),
        "received_chart": _received_chart(),
        "days": _DAYS,
    }


def next_check(latest: ThresholdCheck | None) -> NextCheck:
    """When beat checks the threshold next, by its own table, which an operator may have changed."""
    entry = PeriodicTask.objects.select_related("interval").filter(task=_CHECK_TASK).first()
    if entry is None:
        return NextCheck(at=None, note="beat has not started yet")
    if not entry.enabled:
        return NextCheck(at=None, note="switched off in the schedule")
    every = timedelta(seconds=settings.THRESHOLD_CHECK_EVERY_S)
    if entry.interval is not None:
        every = timedelta(**{entry.interval.period: entry.interval.every})
    last = max(filter(None, (entry.last_run_at, latest.checked_at if latest else None)), default=timezone.now())
    return NextCheck(at=last + every, note=f"every {cells.duration(every)}")


def _percent(part: Decimal, whole: Decimal) -> int:
    return min(100, int(part * 100 / whole))


def _batch_states() -> list[dict[str, Any]]:
    found: dict[str, Any] = {
        row["status"]: row
        for row in BatchConversion.objects.order_by()
        .values("status")
        .annotate(count=Count("pk"), total=Sum("total_usd"), received=Sum("received_units"))
    }
    return [
        {
            "pill": cells.pill(status.value),
            "count": found.get(status.value, {}).get("count", 0),
            "total": cells.usd(found[status.value]["total"]) if status.value in found else cells.NOTHING,
            "received": cells.usdt(found[status.value]["received"]) if status.value in found else cells.NOTHING,
            "url": list_of(BatchConversion, f"status__exact={status.value}"),
        }
        for status in BatchStatus
    ]


def _tracked(check: ThresholdCheck) -> dict[str, str]:
    return {
        "url": page_of(check),
        "tone": DECISION_TONES[Decision(check.decision)],
        "title": f"{check.checked_at:%H:%M:%S} UTC: {check.get_decision_display()}, "
        f"{usd_text(check.total_usd)} of {usd_text(check.threshold_usd)}",
    }


def _beat(beat: Heartbeat) -> dict[str, Any]:
    return {
        "name": beat.name.replace("_", " "),
        "url": page_of(beat),
        "pill": heartbeat_pill(beat),
        "when": cells.when(beat.succeeded_at),
    }


def _pending_chart(checks: list[ThresholdCheck], threshold: Decimal) -> SafeString:
    since = checks[0].checked_at - _CHART_SPAN if checks else timezone.now()
    samples = [
        charts.Sample(
            at=check.checked_at,
            value=check.total_usd,
            drops_to=Decimal(0) if check.batch is not None else None,
            url=page_of(check.batch) if check.batch is not None else "",
            title=f"batch of {usd_text(check.total_usd)} made {check.checked_at:%Y-%m-%d %H:%M:%S} UTC",
        )
        for check in reversed(checks)
        if check.checked_at >= since
    ]
    # By time: two checks may commit in another order than they began.
    samples.sort(key=lambda sample: sample.at)
    return charts.line(samples, threshold=threshold, name="Pending USD at each check, with the threshold")


def _span(checks: list[ThresholdCheck]) -> str:
    if len(checks) < 2:
        return ""
    shown = [check for check in checks if check.checked_at >= checks[0].checked_at - _CHART_SPAN]
    return f"{cells.duration(shown[0].checked_at - shown[-1].checked_at)}, {len(shown)} checks"


def _received_chart() -> SafeString:
    today = timezone.now().date()
    first = today - timedelta(days=_DAYS - 1)
    completed = BatchConversion.objects.filter(status=BatchStatus.COMPLETED, status_changed_at__date__gte=first)
    by_day = {
        row["day"]: row
        for row in completed.order_by()
        .annotate(day=TruncDate("status_changed_at"))
        .values("day")
        .annotate(count=Count("pk"), received=Sum("received_units"))
    }
    bars = []
    for back in range(_DAYS):
        day = first + timedelta(days=back)
        row = by_day.get(day)
        units = int(row["received"]) if row else 0
        said = f"{row['count']} batches, {cells.usdt_text(units)} USDT" if row else "no batch completed"
        bars.append(
            charts.Bar(
                label=f"{day:%-d %b}" if back == 0 or day.day == 1 else str(day.day),
                value=from_units(units, USDT),
                title=f"{day:%Y-%m-%d}: {said}",
            )
        )
    return charts.bars(bars, name="USDT received per day, by completed batches")
