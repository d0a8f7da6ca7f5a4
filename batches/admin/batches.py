"""Batch conversions: what is in one, where its money is, and why."""

from __future__ import annotations

from fractions import Fraction

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from batches import services
from batches.admin.operations import CHECK_NOW, CREATE_BATCH, RELEASE, RETRY
from batches.models import BatchConversion, BatchStatus, BatchStatusChange
from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin, StatusChangeAdmin
from config.lib.adminkit.export_columns import ObjectExport, fields, usdt_field
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import (
    Event,
    Facts,
    Flow,
    History,
    Page,
    Step,
    Table,
    columns,
    facts,
    page_number,
    pager,
    verdict,
    walk,
)
from config.lib.money import USDT, to_units, usd_text
from hostpay.admin.payments import sends
from hostpay.admin.sections import condition, last_step, money_sections, work_facts
from hostpay.models import Context, HostPayment
from hostpay.services import explain_payment
from payouts.admin.accumulations import EXPORTED_CLAIM

_STEPS = ("claimed", "ordered", "signed", "broadcast", "mined", "final", "received", "distributed")
# What the step of the host payment is called in the life of its batch.
_STEP_OF = {"requested": "claimed", "settled": "received"}
_OPEN = (BatchStatus.CREATED, BatchStatus.SWAPPING)
_MEMBERS_SHOWN = 50
_MOST_PAYMENTS = 20


@admin.register(BatchConversion)
class BatchConversionAdmin(ObjectAdmin[BatchConversion]):
    explanation = "One exchange for many payments, shared among them to the last unit."
    list_display = (
        "batch",
        "state",
        "members_count",
        "total",
        "threshold",
        "sent",
        "received",
        "rate",
        "in_state",
        "age",
    )
    exported = (
        *fields("id", "status", "failure_reason", "member_count", "total_usd", "threshold_usd", "net_wei"),
        *fields("unreceipted_usd"),
        usdt_field("received_usdt", "received_units"),
        *fields("created_by", "created_at", "status_changed_at"),
    )
    exports = (
        ObjectExport(
            name="members",
            label="members",
            columns=EXPORTED_CLAIM,
            rows=lambda batch: batch.members.select_related("client").order_by("id"),
        ),
    )
    list_filter = ("status",)
    search_fields = ("id",)
    search_help_text = "a batch's whole id"
    ordering = ("-created_at", "-id")
    sortable_by = ()
    operations = (RETRY, RELEASE)
    list_operations = (CHECK_NOW, CREATE_BATCH)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[BatchConversion], search_term: str
    ) -> tuple[QuerySet[BatchConversion], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=term), False
        except ValidationError:
            return queryset.none(), False

    def batch(self, batch: BatchConversion) -> SafeString:
        return format_html('<code title="{}">{}</code>', batch.pk, str(batch.pk)[:8])

    def state(self, batch: BatchConversion) -> SafeString:
        return cells.pill(batch.status, title=batch.failure_reason)

    @admin.display(description="members")
    def members_count(self, batch: BatchConversion) -> SafeString:
        return cells.count(batch.member_count)

    def total(self, batch: BatchConversion) -> SafeString:
        return cells.usd(batch.total_usd)

    def threshold(self, batch: BatchConversion) -> SafeString:
        return cells.usd(batch.threshold_usd)

    @admin.display(description="members' ETH")
    def sent(self, batch: BatchConversion) -> SafeString:
        return cells.eth(batch.net_wei)

    def received(self, batch: BatchConversion) -> SafeString:
        return cells.usdt(batch.received_units)

    @admin.display(description="of the claims")
    def rate(self, batch: BatchConversion) -> SafeString:
        return _share_of_claims(batch)

    @admin.display(description="in this state")
    def in_state(self, batch: BatchConversion) -> SafeString:
        return cells.when(batch.status_changed_at)

    @admin.display(description="made")
    def age(self, batch: BatchConversion) -> SafeString:
        return cells.when(batch.created_at)

    def page(self, request: HttpRequest, obj: BatchConversion) -> Page:
        payments = list(_payments(obj))
        payment = payments[-1] if payments else None
        rules = services.explain_batch(obj)
        return Page(
            headline=format_html("Batch {}", cells.short(str(obj.pk))),
            pills=(cells.pill(obj.status), *(SafeString(pill) for pill in (condition(payment) if payment else ()))),
            subline=format_html(
                "made by {} {}; {} {}",
                obj.created_by,
                cells.when(obj.created_at),
                obj.status,
                cells.when(obj.status_changed_at),
            ),
            flow=(
                Flow(text=usd_text(obj.total_usd), label=f"{obj.member_count:,} payments"),
                Flow(text=sends(payment) if payment else cells.eth(obj.net_wei), label="sent to the exchange"),
                Flow(
                    text=cells.usdt(obj.received_units) if obj.received_units is not None else "USDT",
                    label="received and shared" if obj.received_units is not None else "to be received",
                    is_ahead=obj.received_units is None,
                ),
            ),
            steps=_steps(obj, payment),
            alarm=(payment.review_reason if payment else "") or obj.failure_reason,
            verdict=verdict(explain_payment(payment) if payment and obj.status in _OPEN else rules[-1:]),
            why=rules,
            sections=(
                _facts(obj, payment),
                *((work_facts(payment),) if payment and payment.delivered_at is None else ()),
                _sums(obj),
                _members(request, obj),
                _payments_table(payments),
                *money_sections(payments),
                _timeline(obj),
            ),
        )


@admin.register(BatchStatusChange)
class BatchStatusChangeAdmin(StatusChangeAdmin):
    explanation = "Moves of batches, each with its members, counts and sums: one event for the whole set."


def _payments(batch: BatchConversion) -> QuerySet[HostPayment]:
    mine = HostPayment.objects.filter(context=Context.BATCH, reference=str(batch.pk)).select_related("wallet")
    return mine.order_by("created_at", "id")[:_MOST_PAYMENTS]


def _steps(batch: BatchConversion, payment: HostPayment | None) -> list[Step]:
    if batch.status == BatchStatus.COMPLETED:
        return walk(_STEPS, reached="distributed")
    step = last_step(payment) if payment else "requested"
    ended = batch.status if batch.status in {BatchStatus.FAILED, BatchStatus.CANCELLED} else ""
    return walk(_STEPS, reached=_STEP_OF.get(step, step), ended_badly=ended)


def _facts(batch: BatchConversion, payment: HostPayment | None) -> Facts:
    return facts(
        "Batch",
        ("Id", format_html("<code>{}</code>{}", batch.pk, cells.copy_button(str(batch.pk)))),
        ("Policy", linked(batch.policy)),
        ("Threshold it met", cells.usd(batch.threshold_usd)),
        ("Worth of its members", cells.usd(batch.total_usd)),
        ("Members' ETH, less fees", cells.eth_exact(batch.net_wei)),
        ("Without a recorded receipt", cells.usd(batch.unreceipted_usd) if batch.unreceipted_usd else ""),
        ("Host payment", linked(payment, format_html("{}", payment.status)) if payment else "none"),
        ("Received of the claims", _share_of_claims(batch) if batch.received_units is not None else ""),
        ("Failed because", batch.failure_reason),
    )


def _sums(batch: BatchConversion) -> Facts:
    """The books of the batch, summed anew from its members' rows."""
    found = batch.members.aggregate(
        rows=Count("id"), net=Sum("pending_usd_amount"), shares=Sum("converted_usdt_amount")
    )
    if batch.status in {BatchStatus.FAILED, BatchStatus.CANCELLED}:
        return facts("Sums", ("Members now", f"{found['rows']:,}: they went back to the pending pool"))
    rows: list[tuple[str, SafeString]] = [
        (
            "Members",
            _agree(cells.count(found["rows"]), cells.count(batch.member_count), found["rows"] == batch.member_count),
        ),
        (
            "Claims",
            _agree(cells.usd(found["net"] or 0), cells.usd(batch.total_usd), (found["net"] or 0) == batch.total_usd),
        ),
    ]
    if batch.received_units is not None:
        shared = to_units(found["shares"], USDT) if found["shares"] is not None else 0
        rows.append(
            ("Shares", _agree(cells.usdt(shared), cells.usdt(batch.received_units), shared == batch.received_units))
        )
    return facts("Sums", *rows, note="Members' rows on the left, the batch on the right.")


def _agree(left: SafeString, right: SafeString, equal: bool) -> SafeString:  # noqa: FBT001 - the verdict itself
    verdict = cells.pill("ok", text="exact") if equal else cells.pill("failed", text="differs")
    return format_html("{} {} {} {}", left, "=" if equal else "≠", right, verdict)


def _members(request: HttpRequest, batch: BatchConversion) -> Table:
    number = page_number(request, "members")
    start = (number - 1) * _MEMBERS_SHOWN
    members = batch.members.select_related("client").order_by("id")[start : start + _MEMBERS_SHOWN]
    return Table(
        title="Members",
        anchor="members",
        note="The exact share is received × claim ÷ total; what its rounding leaves over goes to the largest remainders.",
        columns=columns("Payment", "Client", "Claim#", "Part of the batch#", "Exact share#", "Share#", "ETH#"),
        rows=[
            (
                linked(member),
                linked(member.client),
                cells.usd(member.pending_usd_amount),
                _part(Fraction(member.pending_usd_amount) / Fraction(batch.total_usd)),
                _exact_share(batch, Fraction(member.pending_usd_amount)),
                cells.usdt_amount(member.converted_usdt_amount),
                cells.eth(member.net_wei),
            )
            for member in members
        ],
        empty="Its members went back to the pending pool." if number == 1 else "No more members.",
        pager=pager(
            request,
            parameter="members",
            page=number,
            per_page=_MEMBERS_SHOWN,
            total=batch.member_count if batch.status not in {BatchStatus.FAILED, BatchStatus.CANCELLED} else 0,
            noun="members",
        ),
    )


def _part(part: Fraction) -> SafeString:
    shown = int(part * 1_000_000)
    return format_html(
        '<span class="s-num" title="{}">{} %</span>', f"{part.numerator}/{part.denominator}", _decimal(shown, 4)
    )


def _exact_share(batch: BatchConversion, claim: Fraction) -> SafeString:
    """The share before rounding, to twelve decimals of a unit's six, with the fraction in the title."""
    if batch.received_units is None:
        return cells.NOTHING
    exact = Fraction(int(batch.received_units)) * claim / Fraction(batch.total_usd)
    picos = int(exact * 10**6)
    return format_html(
        '<span class="s-num" title="{} units">{}…</span>', f"{exact.numerator}/{exact.denominator}", _decimal(picos, 12)
    )


def _decimal(units: int, places: int) -> str:
    whole, rest = divmod(units, 10**places)
    return f"{whole:,}.{rest:0{places}d}"


def _payments_table(payments: list[HostPayment]) -> Table:
    return Table(
        title="Host payments",
        anchor="payments",
        columns=columns("Payment", "State", "Sends#", "Received#", "Stuck with", "Looked at again"),
        rows=[
            (
                linked(payment, str(payment.pk)[:8]),
                cells.pill(payment.status),
                sends(payment),
                cells.usdt(payment.received_units),
                payment.review_reason or payment.unknown_reason or payment.waiting_reason or cells.NOTHING,
                cells.when(payment.next_action_at),
            )
            for payment in payments
        ],
        empty="None was requested.",
    )


def _timeline(batch: BatchConversion) -> History:
    return History(
        title="Timeline",
        note="The batch, its host payment, exchange orders and transactions; newest first.",
        anchor="timeline",
        events=[
            Event(
                at=entry.at,
                actor=entry.actor,
                text=entry.reason,
                subject=entry.subject,
                from_status=entry.from_status,
                to_status=entry.to_status,
                data=entry.data,
            )
            for entry in reversed(services.timeline(batch))
        ],
    )


def _share_of_claims(batch: BatchConversion) -> SafeString:
    if batch.received_units is None:
        return cells.NOTHING
    part = Fraction(int(batch.received_units), 10**6) / Fraction(batch.total_usd)
    return format_html('<span class="s-num">{} %</span>', _decimal(int(part * 10_000), 2))
