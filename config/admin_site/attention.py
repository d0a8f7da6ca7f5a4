"""What needs a person, from all apps, as one list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from batches.models import BatchConversion, BatchStatus
from config.lib.adminkit.links import list_of, page_of
from config.lib.differences import Verdict as Compared
from config.lib.differences import open_lines
from hostpay.models import Approval, Breaker, HostPayment, Reconciliation, Wallet
from hostpay.services.reconciling.runs import lines_of, worst_first
from payouts.models import (
    Accumulation,
    AccumulationStatus,
    DestinationChange,
    EndpointStatus,
    InboundEvent,
    NowPayment,
    Outcome,
    VoidOrder,
    WebhookDelivery,
    WebhookEndpoint,
)
from payouts.services import unsettled_events

# A wait this long is no longer the provider's usual slowness.
_LONG_WAIT = timedelta(minutes=30)
_MOST_OF_A_KIND = 50
# A failed batch is news for a day; its members are pending again.
_NEWS_FOR = timedelta(days=1)
# A receiver that is restarted fails for some minutes; one that is gone is for somebody to talk to, this week.
_RESTART = timedelta(minutes=10)
_GONE_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that waits for a person."""

    kind: str
    tone: str
    sentence: str
    url: str
    since: datetime
    worth_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """The items, the worst first, and where the rest is when a kind has too many."""

    items: list[Item]
    more: list[tuple[str, str]]

    @property
    def count_text(self) -> str:
        """Their number, with a plus when a kind has more than are listed."""
        return f"{len(self.items)}{'+' if self.more else ''}"


def attention() -> Attention:
    """Everything that waits for a person, in a handful of queries."""
    kinds = (
        _control(),
        _reconciliation(),
        _payments(),
        _held(),
        *_events(),
        _void_orders(),
        _now_payments(),
        _destinations(),
        _failed_batches(),
        _webhooks(),
    )
    items = [item for kind, _ in kinds for item in kind]
    more = [link for kind, link in kinds if len(kind) >= _MOST_OF_A_KIND]
    order = {"bad": 0, "wait": 1}
    return Attention(items=sorted(items, key=lambda item: (order.get(item.tone, 2), item.since)), more=more)


def _control() -> tuple[list[Item], tuple[str, str]]:
    """What stands still as a whole until somebody acts, and what waits for a second person."""
    breakers = Breaker.objects.filter(closed_at__isnull=True)
    halted = Wallet.objects.exclude(halted_reason="")
    proposed = Approval.objects.filter(decision="", expires_at__gt=Now()).select_related("payment")
    items = [
        Item(kind="breaker open", tone="bad", sentence=str(each), url=page_of(each), since=each.opened_at)
        for each in breakers
    ]
    items += [
        Item(
            kind="wallet halted",
            tone="bad",
            sentence=each.halted_reason,
            url=page_of(each),
            since=each.halted_at or each.created_at,
        )
        for each in halted
    ]
    items += [
        Item(
            kind="approval",
            tone="wait",
            sentence=f"{each}: {each.reason}",
            url=page_of(each),
            since=each.proposed_at,
            worth_usd=each.payment.expected_usd,
        )
        for each in proposed[:_MOST_OF_A_KIND]
    ]
    return items, ("approvals", list_of(Approval))


def _reconciliation() -> tuple[list[Item], tuple[str, str]]:
    """Of each scope the latest run that did not agree, unless a later one has looked, or somebody signed it off."""
    items = [
        Item(
            kind="reconciliation",
            tone="bad",
            sentence=f"Run {run.pk} of {run.get_scope_display()}: {_found_by(run)}",
            url=page_of(run),
            since=run.finished_at,
        )
        for run in Reconciliation.objects.standing()[:_MOST_OF_A_KIND]
    ]
    return items, ("reconciliations", list_of(Reconciliation))


def _found_by(run: Reconciliation) -> str:
    failed = [f"{part} could not be asked: {why}" for part, why in run.failures.items()]
    differing = worst_first(open_lines(lines_of(run)))
    if not differing:
        return "; ".join(failed)
    more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
    alarm = "ALARM: " if differing[0].verdict is Compared.ALARM else ""
    return "; ".join([*failed, f"{alarm}{differing[0]}{more}"])


def _payments() -> tuple[list[Item], tuple[str, str]]:
    now = timezone.now()
    stuck = (
        HostPayment.objects.in_review()
        | HostPayment.objects.exclude(unknown_reason="")
        | HostPayment.objects.filter(waiting_since__lte=now - _LONG_WAIT)
    )
    items = []
    for payment in stuck.order_by("created_at")[:_MOST_OF_A_KIND]:
        if payment.review_reason:
            kind, tone, sentence, since = "review", "bad", payment.review_reason, payment.review_since
        elif payment.unknown_reason:
            kind, tone, sentence, since = "outcome unknown", "bad", payment.unknown_reason, payment.unknown_since
        else:
            kind, tone, sentence, since = "waiting long", "wait", payment.waiting_reason, payment.waiting_since
        items.append(
            Item(
                kind=kind,
                tone=tone,
                sentence=f"Payment for {payment.context} {payment.reference[:8]}: {sentence}",
                url=page_of(payment),
                since=since or payment.created_at,
                worth_usd=payment.expected_usd,
            )
        )
    return items, ("host payments", list_of(HostPayment))


def _held() -> tuple[list[Item], tuple[str, str]]:
    items = [
        Item(
            kind="held",
            tone="wait",
            sentence=f"Payment {held.payment_id}: {held.hold_reason}",
            url=page_of(held),
            since=held.status_changed_at,
            worth_usd=held.pending_usd_amount,
        )
        for held in Accumulation.objects.held().order_by("id")[:_MOST_OF_A_KIND]
    ]
    return items, ("held accumulations", list_of(Accumulation, "status__exact=held"))


def _events() -> list[tuple[list[Item], tuple[str, str]]]:
    """Deliveries that are not in the books, until they are, or somebody says that they are left so; by outcome."""
    each = [
        unsettled_events().filter(outcome=outcome).defer("body", "headers").order_by("id")[:_MOST_OF_A_KIND]
        for outcome in _DELIVERIES
    ]
    items: dict[str, list[Item]] = {outcome: [] for outcome in _DELIVERIES}
    for event in each[0].union(*each[1:], all=True):
        items[event.outcome].append(
            Item(
                kind=f"delivery {event.outcome}",
                tone="bad" if event.outcome == Outcome.FAILED else "wait",
                sentence=f"{_of(event)}: {event.error or event.get_outcome_display()}",
                url=page_of(event),
                since=event.received_at,
            )
        )
    return [
        (items[outcome], (name, list_of(InboundEvent, f"unsettled=yes&outcome__exact={outcome}")))
        for outcome, name in _DELIVERIES.items()
    ]


def _of(event: InboundEvent) -> str:
    """What its sender knows it by: the payment, where the body names one and the error does not."""
    named = event.named_payment_id
    return f"Payment {named} of {event.source}" if named and named not in event.error else f"Delivery {event}"


_DELIVERIES = {
    Outcome.FAILED: "failed deliveries",
    Outcome.CONFLICT: "conflicting deliveries",
    Outcome.REFUSED: "refused deliveries",
}


_TAKEN = "a batch has it. If the batch gives it back, it is voided at once."
_LATE = "was converted all the same: settle it with the client."


def _void_orders() -> tuple[list[Item], tuple[str, str]]:
    """Payments declared void at the moment in which they came, which a batch was faster to take."""
    swapping = Accumulation.objects.filter(
        source=OuterRef("source"), payment_id=OuterRef("payment_id"), status=AccumulationStatus.SWAPPING
    )
    converted = Accumulation.objects.filter(
        pk=OuterRef("accumulation"),
        status=AccumulationStatus.COMPLETED,
        status_changed_at__gte=timezone.now() - _GONE_FOR,
    )
    orders = VoidOrder.objects.filter(Q(Exists(swapping), accumulation=None) | Q(Exists(converted)))
    items = [
        Item(
            kind="void order",
            tone="wait" if order.accumulation_id is None else "bad",
            sentence=f"Payment {order} is void ({order.reason}), and {_TAKEN if order.accumulation_id is None else _LATE}",
            url=page_of(order),
            since=order.created_at,
        )
        for order in orders.order_by("id")[:_MOST_OF_A_KIND]
    ]
    return items, ("void orders", list_of(VoidOrder))


def _now_payments() -> tuple[list[Item], tuple[str, str]]:
    """Those in review, and those whose money arrived a while ago and is not booked since something does not answer."""
    since = timezone.now() - _LONG_WAIT
    asked = NowPayment.objects.in_review().order_by("review_since")[:_MOST_OF_A_KIND]
    waiting = NowPayment.objects.unbooked().filter(review_reason="", status_changed_at__lte=since)
    items = [
        Item(
            kind="NOWPayments",
            tone="wait",
            sentence=f"Payment {payment} at NOWPayments{_question(payment)}",
            url=page_of(payment),
            since=payment.review_since or payment.status_changed_at,
            worth_usd=payment.valued_usd,
        )
        for payment in asked.union(waiting.order_by("status_changed_at")[:_MOST_OF_A_KIND], all=True)
    ]
    return items[:_MOST_OF_A_KIND], ("payments at NOWPayments", list_of(NowPayment))


def _question(payment: NowPayment) -> str:
    if payment.review_reason:
        return f": {payment.review_reason}"
    why = payment.last_error or "no worker has come to it"
    return f" is {payment.status} and not booked yet, and is tried again: {why}"


def _destinations() -> tuple[list[Item], tuple[str, str]]:
    """Where clients are to be paid soon, in one line: a change waits so that it is seen by who would not have meant it."""
    pending = DestinationChange.objects.pending().select_related("client").order_by("effective_at", "pk")
    waiting, where = list(pending[: _MOST_OF_A_KIND + 1]), list_of(DestinationChange)
    if not waiting:
        return [], ("destination changes", where)
    first, others = waiting[0], len(waiting) - 1
    more = f", and {others}{' or' if others == _MOST_OF_A_KIND else ''} more after it" if others else ""
    item = Item(
        kind="destination",
        tone="wait",
        sentence=f"Client {first.client.external_id} is to be paid elsewhere from {first.effective_at:%Y-%m-%d %H:%M} UTC"
        f" on, asked by {first.requested_by}{more}: cancel what nobody meant.",
        url=where if others else page_of(first),
        since=first.created_at,
    )
    return [item], ("destination changes", where)


def _failed_batches() -> tuple[list[Item], tuple[str, str]]:
    failed = BatchConversion.objects.filter(
        status=BatchStatus.FAILED, status_changed_at__gte=timezone.now() - _NEWS_FOR
    )
    items = [
        Item(
            kind="batch failed",
            tone="wait",
            sentence=f"{str(batch).capitalize()} failed, its members are pending again: {batch.failure_reason}",
            url=page_of(batch),
            since=batch.status_changed_at,
            worth_usd=batch.total_usd,
        )
        for batch in failed.order_by("-status_changed_at")[:_MOST_OF_A_KIND]
    ]
    return items, ("failed batches", list_of(BatchConversion, "status__exact=failed"))


def _webhooks() -> tuple[list[Item], tuple[str, str]]:
    """Endpoints that have taken nothing for a while, that are gone by their own word, or that were not told of all."""
    now = timezone.now()
    newest = WebhookDelivery.objects.given_up().filter(endpoint=OuterRef("pk")).order_by("-given_up_at")
    seen = WebhookEndpoint.objects.annotate(given_up=Subquery(newest.values("given_up_at")[:1]))
    failing = Q(status=EndpointStatus.ENABLED, failing_since__lte=now - _RESTART)
    ours = Q(status=EndpointStatus.ENABLED, failures=0) & ~Q(last_error="")
    gone = Q(status=EndpointStatus.DISABLED, failures__gt=0, status_changed_at__gte=now - _GONE_FOR)
    # Until somebody sends it again, or says that it is left so.
    lost = Q(given_up__isnull=False) & (Q(acknowledged_at=None) | Q(given_up__gt=F("acknowledged_at")))
    items = [_webhook_item(each) for each in seen.filter(failing | ours | gone | lost).order_by("pk")[:_MOST_OF_A_KIND]]
    return items, ("webhook endpoints", list_of(WebhookEndpoint))


def _webhook_item(endpoint: Any) -> Item:
    if not endpoint.is_enabled:
        kind, since = "webhooks off", endpoint.status_changed_at
        sentence = (
            f"is disabled{', and was not told of everything' if endpoint.given_up else ''}: {endpoint.disabled_reason}"
        )
    elif endpoint.failing_since is not None:
        kind, since = "webhooks failing", endpoint.failing_since
        sentence = f"has taken nothing in {endpoint.failures} tries, the last: {endpoint.last_error}"
    elif endpoint.last_error:
        kind, since = "webhooks not sent", endpoint.last_success_at or endpoint.subscribed_at
        sentence = f"is not sent anything: {endpoint.last_error}"
    else:
        kind, since = "webhooks given up", endpoint.given_up
        sentence = "works, but was not told of everything: send again what was given up, or leave it so"
    return Item(kind=kind, tone="wait", sentence=f"Endpoint {endpoint} {sentence}.", url=page_of(endpoint), since=since)
