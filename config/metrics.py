"""What an operator would be woken for, as figures: asked of the database at each scrape, and of nobody else.

Nothing is counted in a process, so it is the same whichever of them answers, and after each restart. A figure that
cannot be asked fails the scrape as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, Min, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from batches.models import BatchConversion, BatchStatus
from batches.services import current_policy
from config.admin_site.attention import attention
from config.lib.differences import Verdict as Compared
from config.lib.exposition import Family, Sample
from config.lib.money import ETH, USDT, from_units
from config.schedule import SCHEDULE
from config.tasks import CHAIN_HEARTBEAT, HEARTBEAT
from hostpay.models import (
    Breaker,
    BreakerCause,
    Heartbeat,
    HostPayment,
    Pause,
    PaymentStatus,
    Reconciliation,
    ServiceHealth,
    Switch,
    Wallet,
)
from hostpay.services.reconciling.runs import lines_of
from payouts.models import (
    Accumulation,
    EndpointStatus,
    InboundEvent,
    NowPayment,
    Outcome,
    Verdict,
    WebhookDelivery,
    WebhookEndpoint,
)
from payouts.services import rejected_totals

# Of the inbox only the newest rows are counted: it has millions, and is read by its primary key.
_LATELY, _NEWEST = timedelta(minutes=5), 10_000


def families() -> list[Family]:
    """Every metric with its values now. Raises DatabaseError."""
    now = timezone.now()
    return [family for ask in _ASKED for family in ask(now)]


def _pending(now: datetime) -> Iterable[Family]:
    found = Accumulation.objects.pending().aggregate(
        usd=Sum("pending_usd_amount"), rows=Count("id"), oldest=Min("created_at")
    )
    yield _one("sluice_pending_usd", "Net USD of the payments that wait for a batch.", found["usd"] or Decimal(0))
    yield _one("sluice_pending_payments", "Payments that wait for a batch.", found["rows"])
    yield _one(
        "sluice_pending_oldest_age_seconds",
        "Age of the oldest of them; 0 if there is none.",
        _age_s(found["oldest"], now),
    )
    yield _one("sluice_threshold_usd", "At how much pending a batch is made.", current_policy().threshold_usd)


def _batches(now: datetime) -> Iterable[Family]:
    counted = dict(BatchConversion.objects.order_by().values_list("status").annotate(Count("pk")))
    yield _by(
        "sluice_batches",
        "Batch conversions by status.",
        "status",
        {each: counted.get(each, 0) for each in BatchStatus.values},
    )
    running = BatchConversion.objects.filter(status__in=(BatchStatus.CREATED, BatchStatus.SWAPPING))
    oldest = running.aggregate(oldest=Min("created_at"))["oldest"]
    yield _one(
        "sluice_batch_oldest_running_age_seconds", "Age of the oldest batch that runs; 0 if none.", _age_s(oldest, now)
    )


def _host_payments(_now: datetime) -> Iterable[Family]:
    counted = dict(HostPayment.objects.order_by().values_list("status").annotate(Count("pk")))
    yield _by(
        "sluice_host_payments",
        "Host payments by status.",
        "status",
        {each: counted.get(each, 0) for each in PaymentStatus.values},
    )
    undelivered = HostPayment.objects.filter(delivered_at__isnull=True).aggregate(
        review=Count("pk", filter=~Q(review_reason="")),
        unknown=Count("pk", filter=~Q(unknown_reason="")),
        waiting=Count("pk", filter=~Q(waiting_reason="")),
    )
    yield _by(
        "sluice_host_payments_stuck",
        "Host payments not at their end that are in review, unknown, or waiting.",
        "how",
        undelivered,
    )


def _people(_now: datetime) -> Iterable[Family]:
    found = attention()
    yield _by(
        "sluice_needs_a_person",
        "What the page “Needs me” lists, by kind; of one kind at most fifty.",
        "kind",
        dict(sorted(Counter(item.kind for item in found.items).items())),
    )
    yield _one(
        "sluice_nowpayments_in_review",
        "Payments at NOWPayments that wait for a person.",
        NowPayment.objects.in_review().count(),
    )


def _stops(_now: datetime) -> Iterable[Family]:
    paused = set(Pause.objects.in_force().values_list("switch", flat=True))
    yield _by(
        "sluice_paused",
        "1 while an operator has paused it.",
        "switch",
        {each: int(each in paused) for each in Switch.values},
    )
    open_now = set(Breaker.objects.filter(closed_at__isnull=True).values_list("cause", flat=True))
    yield _by(
        "sluice_breaker_open",
        "1 while the breaker is open for this cause.",
        "cause",
        {each: int(each in open_now) for each in BreakerCause.values},
    )
    yield _by(
        "sluice_service_failures",
        "Failed calls in a row of an outside service.",
        "service",
        dict(ServiceHealth.objects.values_list("name", "failures")),
    )


def _wallet(now: datetime) -> Iterable[Family]:
    # What was read last: a scrape asks nobody outside.
    wallet = Wallet.objects.filter(chain_id=settings.ETH_CHAIN_ID, address=settings.HOST_WALLET_ADDRESS).first()
    yield _one(
        "sluice_wallet_next_nonce",
        "The nonce of the next payment; NaN before the first.",
        wallet.next_nonce if wallet else None,
    )
    yield _one(
        "sluice_wallet_halted", "1 while nothing is signed for the wallet.", int(bool(wallet and wallet.halted_reason))
    )

    seen = Reconciliation.objects.filter(block_number__isnull=False).order_by("-pk").first()
    eth = None if seen is None else from_units(int(seen.eth_wei or 0), ETH)
    usdt = None if seen is None else from_units(int(seen.usdt_units or 0), USDT)
    yield _one("sluice_wallet_eth", "ETH of the wallet at the last reconciliation; NaN before the first.", eth)
    yield _one("sluice_wallet_usdt", "USDT of the wallet at the last reconciliation; NaN before the first.", usdt)
    yield _one(
        "sluice_wallet_balances_age_seconds",
        "How long ago the balances were read; NaN: never.",
        None if seen is None else _age_s(seen.finished_at, now),
    )
    yield _one(
        "sluice_reconciliations_unresolved",
        "Reconciliations that did not agree and that nobody signed off.",
        Reconciliation.objects.unresolved().count(),
    )
    yield _one(
        "sluice_reconciliation_alarms",
        "Alarms in the latest reconciliation of each scope that nobody has signed off.",
        sum(line.verdict is Compared.ALARM for run in Reconciliation.objects.standing() for line in lines_of(run)),
    )


def _heartbeats(now: datetime) -> Iterable[Family]:
    beats = {beat.name: beat for beat in Heartbeat.objects.all()}
    names = [entry.task.rpartition(".")[2] for entry in SCHEDULE]
    ages = {name: _success_age_s(beats.get(name), now) for name in names}
    yield _by(
        "sluice_beat_success_age_seconds", "Seconds since scheduled work last succeeded; NaN: never yet.", "work", ages
    )
    yield _by(
        "sluice_beat_interval_seconds",
        "How often it is due by the settings.",
        "work",
        {name: entry.every_s for name, entry in zip(names, SCHEDULE, strict=True)},
    )
    yield _by(
        "sluice_beat_failing",
        "1 if its last run failed; NaN: it has not run yet.",
        "work",
        {name: _is_failing(beats.get(name)) for name in names},
    )
    asked = {"database": _holds(beats.get(HEARTBEAT)), "chain": _holds(beats.get(CHAIN_HEARTBEAT))}
    yield _by(
        "sluice_invariants_hold",
        "1 if all held when they were last asked, of the database and of the chain; NaN: never asked.",
        "of",
        asked,
    )


def _inbox(now: datetime) -> Iterable[Family]:
    waiting = InboundEvent.objects.filter(outcome=Outcome.RECEIVED).aggregate(
        rows=Count("pk"), oldest=Min("received_at")
    )
    yield _one("sluice_inbox_waiting", "Deliveries that were stored and not processed yet.", waiting["rows"])
    yield _one(
        "sluice_inbox_waiting_oldest_age_seconds",
        "Age of the oldest of them; 0 if there is none.",
        _age_s(waiting["oldest"], now),
    )
    newest = InboundEvent.objects.order_by("-pk").values_list("source", "verdict", "outcome", "received_at")
    lately = Counter(
        (source, verdict, outcome) for source, verdict, outcome, at in newest[:_NEWEST] if at > now - _LATELY
    )
    yield Family(
        name="sluice_inbox_last_five_minutes",
        help=f"Of the newest {_NEWEST} deliveries, those of the last five minutes by source, verdict and outcome.",
        samples=[
            Sample(value=rows, labels=dict(zip(("source", "verdict", "outcome"), kind, strict=True)))
            for kind, rows in sorted(lately.items())
        ],
    )
    yield _one(
        "sluice_inbox_not_authentic_kept",
        "Deliveries kept that nobody signed.",
        InboundEvent.objects.filter(verdict=Verdict.INVALID).count(),
    )
    yield Family(
        name="sluice_deliveries_rejected_total",
        help="Deliveries and requests turned away since the first day, by source and reason: conflicts, refusals, no proof.",
        kind="counter",
        samples=[
            Sample(value=total, labels={"source": source, "why": why}) for source, why, total in rejected_totals()
        ],
    )


def _webhooks(now: datetime) -> Iterable[Family]:
    counted = WebhookEndpoint.objects.aggregate(
        enabled=Count("pk", filter=Q(status=EndpointStatus.ENABLED, failures=0)),
        failing=Count("pk", filter=Q(status=EndpointStatus.ENABLED, failures__gt=0)),
        disabled=Count("pk", filter=Q(status=EndpointStatus.DISABLED)),
    )
    yield _by("sluice_webhook_endpoints", "Webhook endpoints by how they fare.", "state", counted)
    # Each endpoint's first, and its first that nobody had sent again, which may be older: steps into an index, however
    # many wait behind them.
    waiting = WebhookDelivery.objects.waiting().filter(endpoint=OuterRef("pk")).order_by("pk")
    first = waiting.values(since=Coalesce("resent_at", "created_at"))[:1]
    untouched = waiting.filter(resent_at__isnull=True).values("created_at")[:1]
    enabled = WebhookEndpoint.objects.filter(status=EndpointStatus.ENABLED)
    oldest = enabled.annotate(first=Subquery(first), untouched=Subquery(untouched)).aggregate(
        Min("first"), Min("untouched")
    )
    yield _one(
        "sluice_webhook_waiting_oldest_age_seconds",
        "Age of the oldest event that an enabled endpoint has not taken, since it happened or was last sent again by hand;"
        " 0 if there is none.",
        _age_s(min((moment for moment in oldest.values() if moment is not None), default=None), now),
    )
    yield _one(
        "sluice_webhook_given_up_events",
        "Events that were given up and not sent again.",
        WebhookDelivery.objects.given_up().count(),
    )


# One function for each thing that is watched, in the order of the page; what is added stands here too.
_ASKED: tuple[Callable[[datetime], Iterable[Family]], ...] = (
    _pending,
    _batches,
    _host_payments,
    _people,
    _stops,
    _wallet,
    _heartbeats,
    _inbox,
    _webhooks,
)


def _one(name: str, text: str, value: Decimal | int | None) -> Family:
    return Family(name=name, help=text, samples=[Sample(value=value)])


def _by(name: str, text: str, label: str, values: Mapping[str, int | None] | Mapping[str, int]) -> Family:
    samples = [Sample(value=value, labels={label: each}) for each, value in values.items()]
    return Family(name=name, help=text, samples=samples)


def _age_s(moment: datetime | None, now: datetime) -> int:
    return 0 if moment is None else max(0, (now - moment) // timedelta(seconds=1))


def _success_age_s(beat: Heartbeat | None, now: datetime) -> int | None:
    return None if beat is None or beat.succeeded_at is None else _age_s(beat.succeeded_at, now)


def _is_failing(beat: Heartbeat | None) -> int | None:
    if beat is None or (beat.failed_at is None and beat.succeeded_at is None):
        return None
    if beat.failed_at is None or beat.succeeded_at is None:
        return int(beat.failed_at is not None)
    return int(beat.failed_at > beat.succeeded_at)


def _holds(beat: Heartbeat | None) -> int | None:
    failing = _is_failing(beat)
    return None if failing is None else 1 - failing
