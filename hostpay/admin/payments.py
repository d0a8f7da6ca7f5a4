"""Host payments: money that leaves the wallet for a purpose."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields, usdt_field
from config.lib.adminkit.links import page_of
from config.lib.adminkit.pages import Flow, Page, facts, history, verdict
from config.lib.money import usd_text
from hostpay import services
from hostpay.admin.attaching import ATTACH, PROPOSE_TAKE_ON
from hostpay.admin.doubts import CLOSE_REVIEW, ESCALATE, PROPOSE_REFUND, PROPOSE_WRITE_OFF, WAIT
from hostpay.admin.guards import PROPOSE_CANCEL
from hostpay.admin.operations import ACCEPT, CANCEL, RETRY
from hostpay.admin.sections import condition, money_sections, payment_steps, work_facts
from hostpay.models import Context, HostPayment


class TroubleFilter(admin.SimpleListFilter):
    """What a payment is stuck in."""

    title = "stuck"
    parameter_name = "stuck"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("review", "needs review"), ("unknown", "outcome unknown"), ("waiting", "waiting")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[HostPayment]) -> QuerySet[HostPayment]:
        column = self.value()
        if column not in {"review", "unknown", "waiting"}:
            return queryset
        return queryset.exclude(**{f"{column}_reason": ""})


@admin.register(HostPayment)
class HostPaymentAdmin(ObjectAdmin[HostPayment]):
    explanation = (
        "Every payment out of the host wallet, whatever it is for. Its requester is told its end exactly once."
    )
    list_display = ("payment", "purpose", "state", "worth", "sends", "received", "next_look", "age")
    exported = (
        *fields("id", "context", "reference", "status", "waiting_reason", "unknown_reason", "review_reason"),
        *fields("failure_reason", "expected_usd"),
        field("amount_wei", "amount_units"),
        *fields("unpriced_usd"),
        field("priced_wei", "priced_units"),
        usdt_field("received_usdt", "received_units"),
        field("refunded_wei", "refunded_units"),
        field("wallet_address", "wallet.address"),
        *fields("payout_address", "requested_by", "created_at", "status_changed_at", "delivered_at", "next_action_at"),
    )
    list_select_related = ("wallet",)
    list_filter = ("status", "context", TroubleFilter)
    search_fields = ("=reference",)
    search_help_text = "a payment's id, or the id of what it is for"
    ordering = ("-created_at", "-id")
    sortable_by = ()
    operations = (
        RETRY,
        ACCEPT,
        WAIT,
        ESCALATE,
        CANCEL,
        PROPOSE_CANCEL,
        PROPOSE_REFUND,
        PROPOSE_WRITE_OFF,
        CLOSE_REVIEW,
        ATTACH,
        PROPOSE_TAKE_ON,
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[HostPayment], search_term: str
    ) -> tuple[QuerySet[HostPayment], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = queryset.filter(reference=term)
        try:
            return found | queryset.filter(pk=term), False
        except ValidationError:
            return found, False

    def payment(self, payment: HostPayment) -> SafeString:
        return format_html('<code title="{}">{}</code>', payment.pk, str(payment.pk)[:8])

    def purpose(self, payment: HostPayment) -> SafeString:
        return format_html("{} {}", payment.context, _reference(payment))

    def state(self, payment: HostPayment) -> SafeString:
        pills = (cells.pill(payment.status), *condition(payment))
        return format_html('<span class="s-pills">{}</span>', SafeString("".join(str(each) for each in pills)))

    def worth(self, payment: HostPayment) -> SafeString:
        return cells.usd(payment.expected_usd)

    def sends(self, payment: HostPayment) -> SafeString:
        return sends(payment)

    def received(self, payment: HostPayment) -> SafeString:
        return cells.usdt(payment.received_units)

    @admin.display(description="looked at again")
    def next_look(self, payment: HostPayment) -> SafeString:
        return cells.when(payment.next_action_at)

    def age(self, payment: HostPayment) -> SafeString:
        return cells.when(payment.created_at)

    def page(self, _request: HttpRequest, obj: HostPayment) -> Page:
        rules = services.explain_payment(obj)
        return Page(
            headline=f"Payment for {obj}",
            pills=(cells.pill(obj.status), *(SafeString(pill) for pill in condition(obj))),
            subline=format_html("requested by {} {}", obj.requested_by, cells.when(obj.created_at)),
            flow=(
                Flow(text=usd_text(obj.expected_usd), label="worth in the books"),
                Flow(text=sends(obj), label="leaves the wallet"),
                Flow(
                    text=cells.usdt(obj.received_units) if obj.received_units is not None else "USDT",
                    label="received",
                    is_ahead=obj.received_units is None,
                ),
            ),
            steps=payment_steps(obj),
            alarm=obj.review_reason,
            verdict=verdict(rules),
            why=rules,
            sections=(
                facts(
                    "Payment",
                    ("Id", cells.short(str(obj.pk))),
                    ("For", format_html("{} {}", obj.get_context_display(), _reference(obj))),
                    ("Asked to send", cells.eth_exact(obj.amount_units)),
                    ("Unpriced, to be valued", cells.usd(obj.unpriced_usd) if obj.unpriced_usd else ""),
                    ("Valued at", cells.eth_exact(obj.priced_units) if obj.priced_units is not None else ""),
                    ("Proceeds go to", cells.short(obj.payout_address)),
                    ("Wallet", cells.short(obj.wallet.address)),
                    ("Sent back", cells.eth_exact(obj.refunded_units) if obj.refunded_units is not None else ""),
                    ("Asked of the signer", obj.get_signer_task_display()),
                    ("Failed because", obj.failure_reason),
                ),
                work_facts(obj),
                *money_sections([obj]),
                history(obj.status_changes.order_by("-id")[:200]),
            ),
        )


def sends(payment: HostPayment) -> SafeString:
    """What leaves the wallet, as far as it is known."""
    if payment.unpriced_usd and payment.priced_units is None:
        unpriced = f"{usd_text(payment.unpriced_usd)} in ETH"
        if not payment.amount_units:
            return format_html('<span class="s-num">{}</span>', unpriced)
        return format_html("{} + {}", cells.eth(payment.amount_units), unpriced)
    return cells.eth(payment.send_units)


def _reference(payment: HostPayment) -> SafeString:
    if payment.context != Context.BATCH:
        return cells.short(payment.reference)
    # Named, not imported: batches is above this app.
    model = apps.get_model("batches", "BatchConversion")
    return cells.short(payment.reference, link=page_of(model(pk=payment.reference)))
