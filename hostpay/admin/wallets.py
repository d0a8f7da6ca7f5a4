"""Wallets and their line of nonces."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.links import linked, list_of
from config.lib.adminkit.pages import Page, Section, Table, columns, facts
from hostpay.admin.facts import wallet_view
from hostpay.admin.guards import LIFT_HALT
from hostpay.models import NonceSlot, Wallet
from hostpay.services import our_wallet

_SLOTS_SHOWN = 50


@admin.register(Wallet)
class WalletAdmin(ObjectAdmin[Wallet]):
    explanation = "Accounts we send from. The row is the lock of its nonce line: whoever signs holds it."
    list_display = ("address", "chain_id", "next_nonce", "created_at")
    ordering = ("id",)
    sortable_by = ()
    operations = (LIFT_HALT,)

    def page(self, _request: HttpRequest, obj: Wallet) -> Page:
        return Page(
            headline=format_html("Wallet {}", cells.short(obj.address)),
            subline=f"on chain {obj.chain_id}",
            alarm=obj.halted_reason,
            sections=(
                facts(
                    "In our books",
                    ("Address", format_html("<code>{}</code> {}", obj.address, cells.copy_button(obj.address))),
                    ("Next nonce", cells.count(obj.next_nonce)),
                    ("Known since", cells.when(obj.created_at)),
                    ("Payments", cells.link(list_of(obj.payments.model), "all host payments")),
                ),
                *self._on_chain(obj),
                self._slots(obj),
            ),
        )

    def _on_chain(self, wallet: Wallet) -> list[Section]:
        if wallet != our_wallet():
            return []
        view = wallet_view()
        if view.facts is None:
            return [facts("On chain", ("Could not be read", view.why_not))]
        return [
            facts(
                "On chain",
                ("ETH", cells.eth_exact(view.facts.eth_wei)),
                ("USDT", cells.usdt(view.facts.usdt_units)),
                ("Nonce", cells.count(view.facts.nonce)),
                ("At block", cells.count(view.facts.block_number)),
                ("Read", cells.when(view.facts.read_at)),
            )
        ]

    def _slots(self, wallet: Wallet) -> Table:
        slots = list(wallet.nonce_slots.select_related("payment").order_by("-nonce")[:_SLOTS_SHOWN])
        rows: list[list[str | SafeString]] = []
        for position, slot in enumerate(slots):
            rows.append(
                [
                    cells.count(slot.nonce),
                    linked(slot.payment),
                    cells.pill(slot.payment.status),
                    cells.when(slot.created_at),
                ]
            )
            below = slots[position + 1].nonce if position + 1 < len(slots) else slot.nonce - 1
            if below != slot.nonce - 1:
                # Everything above a gap waits for it: it must be seen.
                rows.append([cells.count(slot.nonce - 1), cells.pill("unknown", text="gap"), "", ""])
        return Table(
            title="Nonces",
            note=f"The latest {_SLOTS_SHOWN}.",
            columns=columns("Nonce#", "Payment", "State", "Given"),
            rows=rows,
            empty="No nonce has been given yet.",
        )


@admin.register(NonceSlot)
class NonceSlotAdmin(ObjectAdmin[NonceSlot]):
    explanation = "Each nonce is given to one payment for ever."
    list_display = ("nonce", "for_payment", "given")
    list_select_related = ("payment",)
    search_fields = ("=nonce",)
    ordering = ("-nonce",)
    sortable_by = ()

    @admin.display(description="payment")
    def for_payment(self, slot: NonceSlot) -> SafeString:
        return linked(slot.payment)

    def given(self, slot: NonceSlot) -> SafeString:
        return cells.when(slot.created_at)

    def page(self, _request: HttpRequest, obj: NonceSlot) -> Page:
        return Page(
            headline=f"Nonce {obj.nonce}",
            sections=(
                facts(
                    "Nonce",
                    ("Wallet", linked(obj.wallet)),
                    ("Payment", linked(obj.payment)),
                    ("Given", cells.when(obj.created_at)),
                ),
                Table(
                    title="Variants",
                    columns=columns("Hash", "State", "Signed"),
                    rows=[
                        (linked(each, each.tx_hash), cells.pill(each.status), cells.when(each.created_at))
                        for each in obj.transactions.order_by("id")
                    ],
                    empty="Nothing signed.",
                ),
            ),
        )
