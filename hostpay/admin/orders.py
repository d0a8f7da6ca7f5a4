"""Exchange orders and what arrived for them."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields, usdt_field
from config.lib.adminkit.links import linked, linked_id
from config.lib.adminkit.pages import Flow, Page, facts, history, raw
from hostpay.admin.sections import receipts_table
from hostpay.models import ExchangeOrder, Receipt


@admin.register(ExchangeOrder)
class ExchangeOrderAdmin(ObjectAdmin[ExchangeOrder]):
    explanation = "Orders at the swap provider. An order nobody pays moves no money and expires."
    list_display = (
        "order",
        "state",
        "provider_status",
        "sends",
        "estimated",
        "reported",
        "for_payment",
        "polled",
        "age",
    )
    exported = (
        *fields("id", "provider", "provider_order_id", "status", "is_current", "provider_status"),
        field("host_payment_id", "payment_id"),
        field("send_wei", "send_units"),
        usdt_field("estimated_usdt", "expected_units"),
        usdt_field("reported_usdt", "reported_units"),
        *fields("payin_address", "payout_address", "refund_address", "payin_hash", "payout_hash", "refund_hash"),
        *fields("valid_until", "polled_at", "created_at"),
    )
    list_filter = ("status", "is_current")
    list_select_related = ("payment",)
    search_fields = ("=provider_order_id", "=payin_address", "=payin_hash", "=payout_hash")
    search_help_text = "the provider's id, a pay-in address or a transaction hash"
    ordering = ("-created_at", "-id")
    sortable_by = ()

    def order(self, order: ExchangeOrder) -> SafeString:
        shown = order.provider_order_id or f"not placed ({str(order.pk)[:8]})"
        return format_html('<code title="{}">{}</code>', order.pk, shown)

    def state(self, order: ExchangeOrder) -> SafeString:
        return cells.pill(order.status, text=f"{order.status}{'' if order.is_current else ', not current'}")

    def sends(self, order: ExchangeOrder) -> SafeString:
        return cells.eth(order.send_units)

    def estimated(self, order: ExchangeOrder) -> SafeString:
        return cells.usdt(order.expected_units)

    def reported(self, order: ExchangeOrder) -> SafeString:
        return cells.usdt(order.reported_units)

    @admin.display(description="payment")
    def for_payment(self, order: ExchangeOrder) -> SafeString:
        return linked(order.payment, f"{order.payment.context} {order.payment.reference[:8]}")

    def polled(self, order: ExchangeOrder) -> SafeString:
        return cells.when(order.polled_at)

    def age(self, order: ExchangeOrder) -> SafeString:
        return cells.when(order.created_at)

    def page(self, _request: HttpRequest, obj: ExchangeOrder) -> Page:
        support = "\n".join(
            f"{name}: {value}"
            for name, value in (
                ("order", obj.provider_order_id),
                ("deposit address", obj.payin_address),
                ("deposit transaction", obj.payin_hash),
                ("payout address", obj.payout_address),
                ("payout transaction", obj.payout_hash),
                ("last status seen", obj.provider_status),
            )
            if value
        )
        return Page(
            headline=f"Order {obj}",
            pills=(cells.pill(obj.status), *(() if obj.is_current else (cells.pill("off", text="not current"),))),
            subline=format_html("at {}, ordered {}", obj.provider, cells.when(obj.created_at)),
            flow=(
                Flow(text=cells.eth(obj.send_units), label="to send"),
                Flow(text=cells.usdt(obj.expected_units), label="the provider's estimate", is_ahead=True),
            ),
            sections=(
                facts(
                    "Order",
                    ("Payment", linked(obj.payment)),
                    ("Provider's id", cells.short(obj.provider_order_id)),
                    ("Provider's latest word", obj.provider_status),
                    ("Asked", cells.when(obj.polled_at)),
                    ("Pay-in address", cells.short(obj.payin_address)),
                    ("Pay by", cells.when(obj.valid_until)),
                    ("Proceeds to", cells.short(obj.payout_address)),
                    ("Refund to", cells.short(obj.refund_address)),
                    ("Deposit transaction", cells.short(obj.payin_hash)),
                    ("Payout transaction", cells.short(obj.payout_hash)),
                    ("Refund transaction", cells.short(obj.refund_hash) if obj.refund_hash else ""),
                    ("Proceeds by the provider's word", cells.usdt(obj.reported_units)),
                    (
                        "For the provider's support",
                        format_html("copy ids and hashes {}", cells.copy_button(support)),
                    ),
                ),
                receipts_table(obj.receipts.select_related("order").order_by("id")[:200]),
                history(obj.status_changes.order_by("-id")[:200]),
                raw("Answer to the order", obj.placed_answer),
                raw("Latest answer", obj.latest_answer),
            ),
        )


@admin.register(Receipt)
class ReceiptAdmin(ObjectAdmin[Receipt]):
    explanation = "USDT that arrived: finalised Transfer logs to our wallet, each credited to one order once."
    list_display = ("transaction", "amount", "for_order", "block", "sender", "credited")
    exported = (
        *fields("chain_id", "tx_hash", "log_index", "block_number", "block_hash"),
        usdt_field("received_usdt", "units"),
        *fields("from_address", "order_id"),
        field("provider_order_id", "order.provider_order_id"),
        *fields("created_at"),
    )
    list_select_related = ("order",)
    search_fields = ("=tx_hash", "=order__provider_order_id")
    search_help_text = "a transaction hash, or the provider's order id"
    ordering = ("-id",)
    sortable_by = ()

    def transaction(self, receipt: Receipt) -> SafeString:
        return format_html('<code title="{}">{}…{}</code>', receipt.tx_hash, receipt.tx_hash[:8], receipt.tx_hash[-4:])

    def amount(self, receipt: Receipt) -> SafeString:
        return cells.usdt(receipt.units)

    @admin.display(description="order")
    def for_order(self, receipt: Receipt) -> SafeString:
        return linked(receipt.order)

    def block(self, receipt: Receipt) -> SafeString:
        return cells.count(receipt.block_number)

    @admin.display(description="from")
    def sender(self, receipt: Receipt) -> SafeString:
        return cells.short(receipt.from_address)

    def credited(self, receipt: Receipt) -> SafeString:
        return cells.when(receipt.created_at)

    def page(self, _request: HttpRequest, obj: Receipt) -> Page:
        return Page(
            headline=f"{cells.usdt_text(obj.units)} USDT received",
            subline=format_html("credited {}", cells.when(obj.created_at)),
            sections=(
                facts(
                    "Transfer log",
                    ("Amount", cells.usdt(obj.units)),
                    ("Transaction", cells.short(obj.tx_hash)),
                    ("Log index", cells.count(obj.log_index)),
                    ("Block", cells.count(obj.block_number)),
                    ("Block hash", cells.short(obj.block_hash)),
                    ("Chain", str(obj.chain_id)),
                    ("From", cells.short(obj.from_address)),
                    ("Credited to order", linked_id(obj.order, str(obj.order))),
                ),
            ),
        )
