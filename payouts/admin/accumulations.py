"""Accumulations: one row for each payment; there can be millions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin, StatusChangeAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked, linked_id
from config.lib.adminkit.operations import Done, Operation, describe_state
from config.lib.adminkit.pages import Event, Flow, History, Page, Table, columns, facts, history
from config.lib.audit import Actor
from config.lib.money import usd_text
from payouts import services
from payouts.models import (
    IN_A_BATCH,
    NOWPAYMENTS_SOURCE,
    Accumulation,
    AccumulationStatus,
    AccumulationStatusChange,
    Client,
    NowPayment,
)
from payouts.services.claims import refusal_to_unhold

Change = Callable[..., Accumulation]


def _operation(
    name: str,
    label: str,
    service: Change,
    *,
    starts: tuple[AccumulationStatus, ...],
    consequence: Callable[[Accumulation], str],
    done: str,
    icon: str,
    is_grave: bool = False,
) -> Operation[Accumulation]:
    def why_not(accumulation: Accumulation) -> str:
        if accumulation.status in starts:
            no = refusal_to_unhold(accumulation) if service is services.unhold_accumulation else None
            return "" if no is None else str(no)
        if accumulation.status in IN_A_BATCH:
            return f"It is {accumulation.status}: as a member of a batch it is part of the batch's total."
        return f"It is {accumulation.status}, not {' or '.join(starts)}."

    def run(accumulation: Accumulation, actor: Actor, given: dict[str, Any]) -> Done:
        service(accumulation=accumulation, actor=actor, reason=given["reason"])
        return Done(message=f"Payment {accumulation.payment_id} is {done}.")

    return Operation(
        name=name,
        label=label,
        icon=icon,
        is_grave=is_grave,
        consequence=consequence,
        why_not=why_not,
        seen=describe_state,
        typed=(lambda accumulation: usd_text(accumulation.pending_usd_amount)) if is_grave else (lambda _: ""),
        run=run,
        needs_proof=service is services.unhold_accumulation,
    )


def _worth(accumulation: Accumulation) -> str:
    return f"{usd_text(accumulation.pending_usd_amount)} of client {accumulation.client}"


HOLD = _operation(
    "hold",
    "Hold",
    services.hold_accumulation,
    starts=(AccumulationStatus.PENDING,),
    consequence=lambda it: f"{_worth(it)} stay out of every batch until somebody lets them go on.",
    done="held",
    icon="front_hand",
)
UNHOLD = _operation(
    "unhold",
    "Let go on",
    services.unhold_accumulation,
    starts=(AccumulationStatus.HELD,),
    consequence=lambda it: (
        f"{_worth(it)} are pending again, and go into the next batch. They were held because: {it.hold_reason}"
    ),
    done="pending",
    icon="play_arrow",
)
VOID = _operation(
    "void",
    "Void",
    services.void_accumulation,
    starts=(AccumulationStatus.PENDING, AccumulationStatus.HELD),
    consequence=lambda it: (
        f"{_worth(it)} are owed no longer: the payment is never converted. This cannot be taken back."
    ),
    done="voided",
    icon="block",
    is_grave=True,
)


# Also what a batch's members are exported as.
EXPORTED_CLAIM = (
    *fields("id", "source", "payment_id"),
    field("client_id", "client.external_id"),
    *fields("status", "hold_reason", "gross_usd", "fee_usd", "fee_percent", "pending_usd_amount"),
    *fields("outcome_currency", "received_wei", "fee_wei", "net_wei"),
    *fields("batch_conversion_id", "converted_usdt_amount", "paid_at", "created_at"),
)


class ReceiptFilter(admin.SimpleListFilter):
    """Whether the ETH that arrived is known."""

    title = "ETH receipt"
    parameter_name = "receipt"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "recorded"), ("no", "not recorded")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Accumulation]) -> QuerySet[Accumulation]:
        if self.value() not in {"yes", "no"}:
            return queryset
        return queryset.filter(net_wei__isnull=self.value() == "no")


@admin.register(Accumulation)
class AccumulationAdmin(ObjectAdmin[Accumulation]):
    explanation = (
        "Our claim for each payment: its net USD never changes, its USDT is known once its batch was shared out."
    )
    list_display = ("payment", "client_link", "state", "gross", "fee", "net", "arrived", "share", "batch", "age")
    exported = EXPORTED_CLAIM
    list_filter = ("status", ReceiptFilter, ("created_at", RangeDateTimeFilter))
    list_select_related = ("client",)
    search_fields = ("payment_id",)
    search_help_text = "a whole payment id, or a whole client id"
    ordering = ("-id",)
    # Any other order would sort the whole table first.
    sortable_by = ()
    operations = (HOLD, UNHOLD, VOID)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Accumulation], search_term: str
    ) -> tuple[QuerySet[Accumulation], bool]:
        """Whole ids only: those have an index; a part of one would read every row."""
        term = search_term.strip()
        if not term:
            return queryset, False
        client = Client.objects.filter(external_id=term).values_list("pk", flat=True).first()
        return queryset.filter(Q(payment_id=term) | Q(client_id=client) if client else Q(payment_id=term)), False

    def payment(self, accumulation: Accumulation) -> SafeString:
        return format_html('<code title="{}">{}</code>', accumulation.payment_id, _cut(accumulation.payment_id))

    @admin.display(description="client")
    def client_link(self, accumulation: Accumulation) -> SafeString:
        return linked(accumulation.client)

    def state(self, accumulation: Accumulation) -> SafeString:
        return cells.pill(accumulation.status, title=accumulation.hold_reason)

    def gross(self, accumulation: Accumulation) -> SafeString:
        return cells.usd(accumulation.gross_usd)

    def fee(self, accumulation: Accumulation) -> SafeString:
        return cells.usd(accumulation.fee_usd)

    def net(self, accumulation: Accumulation) -> SafeString:
        return cells.usd(accumulation.pending_usd_amount)

    def arrived(self, accumulation: Accumulation) -> SafeString:
        return cells.eth(accumulation.received_wei)

    def share(self, accumulation: Accumulation) -> SafeString:
        return cells.usdt_amount(accumulation.converted_usdt_amount)

    def batch(self, accumulation: Accumulation) -> SafeString:
        return _batch(accumulation)

    def age(self, accumulation: Accumulation) -> SafeString:
        return cells.when(accumulation.created_at)

    def page(self, _request: HttpRequest, obj: Accumulation) -> Page:
        received = obj.converted_usdt_amount
        return Page(
            headline=format_html("Payment {}", cells.whole(obj.payment_id)),
            pills=(cells.pill(obj.status),),
            subline=format_html(
                "of {} to client {}, recorded {}", obj.user_id, linked(obj.client), cells.when(obj.created_at)
            ),
            flow=(
                Flow(text=cells.usd(obj.gross_usd), label="paid"),
                Flow(text=cells.usd(obj.pending_usd_amount), label=f"after {usd_text(obj.fee_usd)} fee"),
                Flow(
                    text=cells.usdt_amount(received) if received is not None else "USDT",
                    label="its share",
                    is_ahead=received is None,
                ),
            ),
            alarm=obj.hold_reason,
            sections=(
                facts(
                    "Claim",
                    (
                        "Payment",
                        format_html("<code>{}</code>{}", obj.payment_id, cells.copy_button(obj.payment_id)),
                    ),
                    ("Source", obj.source),
                    ("At NOWPayments", _at_nowpayments(obj)),
                    ("Customer", obj.user_id),
                    ("Subscription", obj.subscription_id),
                    ("Gross", cells.usd(obj.gross_usd)),
                    ("Fee", format_html("{} ({})", cells.usd(obj.fee_usd), cells.percent(obj.fee_percent))),
                    ("Net", cells.usd(obj.pending_usd_amount)),
                    ("Paid", cells.when(obj.paid_at)),
                    ("Batch", _batch(obj)),
                ),
                facts(
                    "What arrived",
                    (
                        "As the sender wrote it",
                        f"{obj.outcome_amount} {obj.outcome_currency}".strip() or "not recorded",
                    ),
                    ("ETH received", cells.eth_exact(obj.received_wei)),
                    ("Fee kept", cells.eth_exact(obj.fee_wei)),
                    ("ETH the batch sends", cells.eth_exact(obj.net_wei)),
                    ("Will convert", _will_convert(obj)),
                ),
                facts(
                    "Destination when it was paid",
                    ("Wallet", cells.short(obj.wallet_address)),
                    ("Currency", f"{obj.payout_currency} on {obj.payout_network}"),
                    note="The payout itself goes to the client's wallet of then.",
                ),
                self._deliveries(obj),
                _webhooks(obj),
                _with_birth(obj),
            ),
        )

    def _deliveries(self, accumulation: Accumulation) -> Table:
        return Table(
            title="Deliveries",
            columns=columns("Event", "Outcome", "Received"),
            rows=[
                (linked(event), cells.pill(event.outcome), cells.when(event.received_at))
                for event in accumulation.inbound_events.defer("body").order_by("id")[:50]
            ],
            empty="It did not come by a webhook.",
        )


def _at_nowpayments(accumulation: Accumulation) -> SafeString | str:
    """The payment there, which says what is asked about it."""
    if accumulation.source != NOWPAYMENTS_SOURCE:
        return ""
    return linked(NowPayment.objects.filter(accumulation=accumulation).first())


@admin.register(AccumulationStatusChange)
class AccumulationStatusChangeAdmin(StatusChangeAdmin):
    explanation = (
        "What happened to an accumulation alone: hold, void, release. Moves of a whole batch stand in the batch."
    )


def _with_birth(accumulation: Accumulation) -> History:
    own = history(
        accumulation.status_changes.order_by("-id")[:200],
        note="What happened to it alone; moves together with its batch stand in the batch's history.",
    )
    birth = Event(at=accumulation.created_at, actor=accumulation.source, text="payment recorded", to_status="recorded")
    return History(title=own.title, note=own.note, events=[*own.events, birth])


def _webhooks(accumulation: Accumulation) -> Table:
    told = accumulation.webhook_deliveries.select_related("endpoint").order_by("-id")[:50]
    return Table(
        title="Told to endpoints",
        columns=columns("Event", "Endpoint", "State", "Happened", "Delivered"),
        rows=[
            (
                linked(each, each.event),
                linked(each.endpoint),
                cells.pill(each.state, text=each.state.replace("_", " ")),
                cells.when(each.created_at),
                cells.when(each.delivered_at),
            )
            for each in told
        ],
        empty="No endpoint asked for its events.",
    )


def _batch(accumulation: Accumulation) -> SafeString:
    if accumulation.batch_conversion_id is None:
        return cells.NOTHING
    # The model by way of the foreign key: batches is above this app. No query: an id is all a link needs.
    model = Accumulation._meta.get_field("batch_conversion").related_model
    return linked_id(model(pk=accumulation.batch_conversion_id))


def _will_convert(accumulation: Accumulation) -> str:
    if accumulation.status in {AccumulationStatus.COMPLETED, AccumulationStatus.VOIDED}:
        return ""
    if accumulation.net_wei is not None:
        return "the ETH that arrived for it, less the fee"
    return "ETH worth its net USD by the provider's estimate, if the policy allows that"


def _cut(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:12]}…{text[-6:]}"
