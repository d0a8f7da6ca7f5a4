"""What came back from the exchange, and what never will."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked, linked_id
from config.lib.adminkit.pages import Page, facts
from hostpay.models import LateReturn, Refund, WriteOff


@admin.register(Refund)
class RefundAdmin(ObjectAdmin[Refund]):
    explanation = "ETH that the exchange sent back: what a final transaction brought for an order, credited once."
    list_display = ("transaction", "amount", "lost", "for_order", "credited")
    exported = (
        *fields("chain_id", "tx_hash", "block_number", "block_hash"),
        field("refunded_wei", "units"),
        field("kept_by_provider_wei", "lost_units"),
        *fields("from_address", "order_id"),
        field("provider_order_id", "order.provider_order_id"),
        *fields("created_at"),
    )
    list_select_related = ("order",)
    search_fields = ("=tx_hash",)
    ordering = ("-id",)
    sortable_by = ()

    def transaction(self, refund: Refund) -> SafeString:
        return format_html('<code title="{}">{}…{}</code>', refund.tx_hash, refund.tx_hash[:8], refund.tx_hash[-4:])

    def amount(self, refund: Refund) -> SafeString:
        return cells.eth(refund.units)

    @admin.display(description="kept by the provider")
    def lost(self, refund: Refund) -> SafeString:
        return cells.eth(refund.lost_units)

    @admin.display(description="order")
    def for_order(self, refund: Refund) -> SafeString:
        return linked(refund.order)

    def credited(self, refund: Refund) -> SafeString:
        return cells.when(refund.created_at)

    def page(self, request: HttpRequest, obj: Refund) -> Page:
        return Page(
            headline=format_html("{} came back", cells.eth_exact(obj.units)),
            subline=format_html("credited {}", cells.when(obj.created_at)),
            sections=(
                facts(
                    "Refund",
                    ("Transaction", cells.short(obj.tx_hash)),
                    ("Which brought in all", cells.eth_exact(obj.brought_units)),
                    ("Kept by the provider", cells.eth_exact(obj.lost_units)),
                    ("Block", cells.count(obj.block_number)),
                    ("Block hash", cells.short(obj.block_hash)),
                    ("From", cells.short(obj.from_address)),
                    ("Credited to order", linked_id(obj.order, str(obj.order))),
                    ("Accepted by two people", linked(obj.approval) if obj.approval else "no: it proved itself"),
                ),
            ),
        )


@admin.register(LateReturn)
class LateReturnAdmin(ObjectAdmin[LateReturn]):
    explanation = "ETH that came back for an order after two people had ended its payment: the house's, against the loss it had booked."
    list_display = ("transaction", "amount", "for_order", "booked")
    exported = (
        *fields("chain_id", "tx_hash", "block_number", "block_hash"),
        field("returned_wei", "units"),
        field("transaction_brought_wei", "brought_units"),
        *fields("from_address", "order_id"),
        field("provider_order_id", "order.provider_order_id"),
        *fields("created_at"),
    )
    list_select_related = ("order",)
    search_fields = ("=tx_hash",)
    ordering = ("-id",)
    sortable_by = ()

    def transaction(self, late: LateReturn) -> SafeString:
        return format_html('<code title="{}">{}…{}</code>', late.tx_hash, late.tx_hash[:8], late.tx_hash[-4:])

    def amount(self, late: LateReturn) -> SafeString:
        return cells.eth(late.units)

    @admin.display(description="order")
    def for_order(self, late: LateReturn) -> SafeString:
        return linked(late.order)

    def booked(self, late: LateReturn) -> SafeString:
        return cells.when(late.created_at)

    def page(self, request: HttpRequest, obj: LateReturn) -> Page:
        return Page(
            headline=format_html("{} came back late", cells.eth_exact(obj.units)),
            subline=format_html("booked {}", cells.when(obj.created_at)),
            sections=(
                facts(
                    "Late return",
                    ("Transaction", cells.short(obj.tx_hash)),
                    ("Which brought in all", cells.eth_exact(obj.brought_units)),
                    ("Block", cells.count(obj.block_number)),
                    ("Block hash", cells.short(obj.block_hash)),
                    ("From", cells.short(obj.from_address)),
                    ("Of order", linked_id(obj.order, str(obj.order))),
                    ("Payment", linked(obj.order.payment)),
                    ("Accepted by two people", linked(obj.approval) if obj.approval else "no: it proved itself"),
                ),
            ),
        )


@admin.register(WriteOff)
class WriteOffAdmin(ObjectAdmin[WriteOff]):
    explanation = "ETH that an exchange took and will not give back: the house's loss, booked by two people."
    list_display = ("amount", "for_order", "proposed_by", "approved_by", "booked")
    exported = (
        field("lost_wei", "lost_units"),
        *fields("order_id"),
        field("provider_order_id", "order.provider_order_id"),
        field("proposed_by", "approval.proposed_by"),
        field("approved_by", "approval.decided_by"),
        field("reason", "approval.reason"),
        *fields("created_at"),
    )
    list_select_related = ("order", "approval")
    ordering = ("-id",)
    sortable_by = ()

    @admin.display(description="lost")
    def amount(self, write_off: WriteOff) -> SafeString:
        return cells.eth(write_off.lost_units)

    @admin.display(description="order")
    def for_order(self, write_off: WriteOff) -> SafeString:
        return linked(write_off.order)

    def proposed_by(self, write_off: WriteOff) -> str:
        return write_off.approval.proposed_by

    def approved_by(self, write_off: WriteOff) -> str:
        return write_off.approval.decided_by

    def booked(self, write_off: WriteOff) -> SafeString:
        return cells.when(write_off.created_at)

    def page(self, request: HttpRequest, obj: WriteOff) -> Page:
        return Page(
            headline=format_html("{} written off", cells.eth_exact(obj.lost_units)),
            subline=format_html("booked {}", cells.when(obj.created_at)),
            sections=(
                facts(
                    "Loss",
                    ("Order", linked_id(obj.order, str(obj.order))),
                    ("Payment", linked(obj.order.payment)),
                    ("Came back since", cells.eth_exact(sum(int(each.units) for each in obj.order.late_returns.all()))),
                    ("Decision", linked(obj.approval)),
                    ("Why", obj.approval.reason),
                ),
            ),
        )
