"""Signed transactions."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import Page, facts, history, walk
from hostpay.admin.facts import known_height
from hostpay.admin.sections import confirmations, fee_paid
from hostpay.models import Transaction, TransactionStatus

_STEPS = ("signed", "broadcast", "mined", "final")
_BAD = (TransactionStatus.DROPPED, TransactionStatus.REVERTED)


def _fee_paid_wei(transaction: Transaction) -> int | None:
    if transaction.gas_used is None or transaction.effective_gas_price_wei is None:
        return None
    return transaction.gas_used * int(transaction.effective_gas_price_wei)


@admin.register(Transaction)
class TransactionAdmin(ObjectAdmin[Transaction]):
    explanation = "Signed once, stored, then sent as stored. Whichever variant of a nonce is mined settles it."
    list_display = ("hash", "state", "nonce", "for_payment", "value", "fee", "block", "sent", "age")
    exported = (
        *fields("tx_hash", "status", "kind"),
        field("nonce", "slot.nonce"),
        field("host_payment_id", "slot.payment_id"),
        *fields("to_address"),
        field("value_wei", "value_units"),
        *fields("gas_limit", "gas_used", "max_fee_per_gas_wei", "max_priority_fee_per_gas_wei"),
        *fields("effective_gas_price_wei"),
        field("fee_paid_wei", _fee_paid_wei),
        *fields("block_number", "block_hash", "broadcasts", "broadcast_at", "created_at"),
    )
    list_filter = ("status", "kind")
    list_select_related = ("slot__payment",)
    search_fields = ("=tx_hash", "=to_address")
    search_help_text = "a transaction hash, or the address it pays"
    ordering = ("-id",)
    sortable_by = ()

    def hash(self, transaction: Transaction) -> SafeString:
        shown = f"{transaction.tx_hash[:8]}…{transaction.tx_hash[-4:]}"
        return format_html('<code title="{}">{}</code>', transaction.tx_hash, shown)

    def state(self, transaction: Transaction) -> SafeString:
        return cells.pill(transaction.status)

    def nonce(self, transaction: Transaction) -> SafeString:
        return cells.count(transaction.slot.nonce)

    @admin.display(description="payment")
    def for_payment(self, transaction: Transaction) -> SafeString:
        payment = transaction.slot.payment
        return linked(payment, f"{payment.context} {payment.reference[:8]}")

    def value(self, transaction: Transaction) -> SafeString:
        return cells.eth(transaction.value_units)

    @admin.display(description="fee paid")
    def fee(self, transaction: Transaction) -> SafeString:
        return SafeString(fee_paid(transaction))

    def block(self, transaction: Transaction) -> SafeString:
        return cells.count(transaction.block_number)

    def sent(self, transaction: Transaction) -> SafeString:
        return cells.when(transaction.broadcast_at)

    def age(self, transaction: Transaction) -> SafeString:
        return cells.when(transaction.created_at)

    def page(self, _request: HttpRequest, obj: Transaction) -> Page:
        bad = obj.status if obj.status in _BAD else ""
        return Page(
            headline=format_html("Transaction {}", cells.short(obj.tx_hash)),
            pills=(cells.pill(obj.status),),
            subline=format_html("nonce {}, signed {}", obj.slot.nonce, cells.when(obj.created_at)),
            steps=walk(_STEPS, reached=obj.status if not bad else "broadcast", ended_badly=bad),
            sections=(
                facts(
                    "Transaction",
                    ("Payment", linked(obj.slot.payment)),
                    ("Kind", obj.get_kind_display()),
                    ("To", cells.short(obj.to_address)),
                    ("Value", cells.eth_exact(obj.value_units)),
                    ("Nonce", str(obj.slot.nonce)),
                    ("Sent", format_html("{} times, last {}", obj.broadcasts, cells.when(obj.broadcast_at))),
                    ("Block", cells.count(obj.block_number)),
                    ("Block hash", cells.short(obj.block_hash)),
                    ("Confirmations", confirmations(obj, known_height())),
                ),
                facts(
                    "Gas",
                    ("Limit", cells.count(obj.gas_limit)),
                    ("Used", cells.count(obj.gas_used)),
                    ("Highest price", cells.gwei(obj.max_fee_per_gas_wei)),
                    ("Highest tip", cells.gwei(obj.max_priority_fee_per_gas_wei)),
                    ("Price paid", cells.gwei(obj.effective_gas_price_wei)),
                    ("Fee paid", fee_paid(obj)),
                    ("Most it can cost", cells.eth(obj.gas_limit * int(obj.max_fee_per_gas_wei))),
                ),
                history(obj.status_changes.order_by("-id")[:200]),
            ),
        )
