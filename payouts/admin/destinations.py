"""Changes of where clients are paid: asked for with a reason, and in force only after a time to think."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked, list_of
from config.lib.adminkit.operations import Done, Operation, OperationForm
from config.lib.adminkit.pages import Page, Table, columns, facts
from config.lib.audit import Actor
from config.lib.problems import InvalidFieldsError
from payouts import services
from payouts.admin.client_field import ClientIdField
from payouts.models import Client, DestinationChange

_RECENT = 20


class DestinationForm(OperationForm):
    """Where a client shall be paid."""

    wallet_address = forms.CharField(
        max_length=128, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}), help_text="Where payouts go."
    )
    payout_currency = forms.CharField(max_length=16, initial="usdt", widget=UnfoldAdminTextInputWidget)
    payout_network = forms.CharField(max_length=16, initial="eth", widget=UnfoldAdminTextInputWidget)
    field_order = ("client", "wallet_address", "payout_currency", "payout_network", "reason")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        destination = {name: given.get(name, "") for name in ("wallet_address", "payout_currency", "payout_network")}
        if all(destination.values()):
            try:
                services.check_destination(**destination)
            except InvalidFieldsError as refusal:
                for error in refusal.errors:
                    self.add_error(error.field, f"It {error.detail}.")
        return given


class ChosenDestinationForm(DestinationForm):
    """Whose destination, and which it shall be."""

    client = ClientIdField(label="Client id", help_text="Its whole id in the payment systems.")


def _request(client: Client, actor: Actor, given: dict[str, Any]) -> Done:
    change = services.request_destination_change(
        client_id=client.pk,
        wallet_address=given["wallet_address"],
        payout_currency=given["payout_currency"],
        payout_network=given["payout_network"],
        actor=actor,
        reason=given["reason"],
    )
    return Done(message=f"{_who(change)} will be paid there from {change.effective_at:%Y-%m-%d %H:%M} UTC on.")


REQUEST: Operation[None] = Operation(
    name="request",
    label="Change a client's destination",
    icon="edit_location_alt",
    permission="payouts.change_client",
    form_class=ChosenDestinationForm,
    consequence=lambda _: f"{_after_a_time()} What is sent to a wrong address is lost.",
    run=lambda _, actor, given: _request(given["client"], actor, given),
    is_grave=True,
    needs_proof=True,
)


def waiting_change(client: Client) -> DestinationChange | None:
    """The one that is asked for and not in force yet."""
    return client.destination_changes.pending().first()


REQUEST_OF_CLIENT: Operation[Client] = Operation(
    name="destination",
    label="Change its destination",
    icon="edit_location_alt",
    permission="payouts.change_client",
    form_class=DestinationForm,
    consequence=lambda client: format_html(
        "Now {} is paid in {}. {} What is sent to a wrong address is lost.", client, _place_of(client), _after_a_time()
    ),
    initial=lambda client: {"payout_currency": client.payout_currency, "payout_network": client.payout_network},
    why_not=lambda client: "A change waits already: cancel that one first." if waiting_change(client) else "",
    seen=lambda client: f"{client.wallet_address} {client.payout_currency} {client.payout_network}",
    run=_request,
    is_grave=True,
    needs_proof=True,
)


def _cancel(change: DestinationChange, actor: Actor, given: dict[str, Any]) -> Done:
    services.cancel_destination_change(change_id=change.pk, actor=actor, reason=given["reason"])
    return Done(message=f"Cancelled: {_who(change)} is paid where it was paid.")


CANCEL: Operation[DestinationChange] = Operation(
    name="cancel",
    label="Cancel the change",
    icon="cancel",
    permission="payouts.change_client",
    consequence=lambda change: f"{_who(change)} goes on being paid at {change.old_wallet_address}.",
    why_not=lambda change: "" if change.state == "pending" else f"It is {change.state}.",
    seen=lambda change: change.state,
    run=_cancel,
)


@admin.register(DestinationChange)
class DestinationChangeAdmin(ObjectAdmin[DestinationChange]):
    explanation = "Where clients are paid from some day on. A change waits, so that its owner can see and cancel it."
    list_display = ("who", "state_shown", "goes_to", "requested_by", "requested", "effective")
    exported = (
        *fields("id"),
        field("client_id", "client.external_id"),
        *fields("state", "wallet_address", "payout_currency", "payout_network", "requested_by", "reason"),
        *fields("created_at", "effective_at", "applied_at", "cancelled_at", "cancelled_by"),
    )
    list_select_related = ("client",)
    search_fields = ("=client__external_id", "=wallet_address")
    search_help_text = "a client's id, or the whole new address"
    ordering = ("-id",)
    sortable_by = ()
    list_operations = (REQUEST,)
    operations = (CANCEL,)

    @admin.display(description="client")
    def who(self, change: DestinationChange) -> str:
        return change.client.external_id

    @admin.display(description="state")
    def state_shown(self, change: DestinationChange) -> SafeString:
        return cells.pill(change.state)

    @admin.display(description="new destination")
    def goes_to(self, change: DestinationChange) -> SafeString:
        return _place(change.wallet_address, change.payout_currency, change.payout_network)

    def requested(self, change: DestinationChange) -> SafeString:
        return cells.when(change.created_at)

    def effective(self, change: DestinationChange) -> SafeString:
        return cells.when(change.effective_at)

    def page(self, _request: Any, obj: DestinationChange) -> Page:
        return Page(
            headline=f"Destination of {obj.client}",
            pills=(self.state_shown(obj),),
            subline=format_html("requested by {} {}", obj.requested_by, cells.when(obj.created_at)),
            sections=(
                facts(
                    "Change",
                    ("Client", linked(obj.client)),
                    ("From", _whole_place(obj.old_wallet_address, obj.old_payout_currency, obj.old_payout_network)),
                    ("To", _whole_place(obj.wallet_address, obj.payout_currency, obj.payout_network)),
                    ("Why", obj.reason),
                    ("May take effect", cells.when(obj.effective_at)),
                    ("Took effect", cells.when(obj.applied_at)),
                    ("Cancelled", cells.when(obj.cancelled_at)),
                    ("Cancelled by", obj.cancelled_by),
                    ("Cancelled because", obj.cancel_reason),
                ),
            ),
        )


def _who(change: DestinationChange) -> str:
    """The client, so that no other of its name is meant."""
    client = change.client
    return f"Client {client.external_id} ({client.name})" if client.name else f"Client {client.external_id}"


def changes_of(client: Client) -> Table:
    """The client's latest changes of destination, those that wait or were cancelled among them."""
    latest = client.destination_changes.order_by("-id")[:_RECENT]
    return Table(
        title="Changes of its destination",
        note=cells.link(list_of(DestinationChange, f"q={client.external_id}"), "all of them"),
        columns=columns("Asked", "State", "From", "To", "From when", "By", "Why"),
        rows=[
            (
                linked(each, text=cells.when(each.created_at)),
                cells.pill(each.state),
                _place(each.old_wallet_address, each.old_payout_currency, each.old_payout_network),
                _place(each.wallet_address, each.payout_currency, each.payout_network),
                cells.when(each.effective_at),
                each.requested_by,
                each.reason,
            )
            for each in latest
        ],
        empty="None was ever asked for.",
    )


def _after_a_time() -> str:
    cool_off = cells.duration(timedelta(seconds=settings.DESTINATION_COOL_OFF_S))
    return f"After {cool_off} its payouts go to the new place, unless the change is cancelled before."


def _place_of(client: Client) -> SafeString:
    return _whole_place(client.wallet_address, client.payout_currency, client.payout_network)


def _place(address: str, currency: str, network: str) -> SafeString:
    return format_html("{} on {} {}", currency.upper(), network, cells.short(address))


def _whole_place(address: str, currency: str, network: str) -> SafeString:
    """With the whole address: whoever compares two must see what stands in the middle."""
    return format_html('{} on {} <code class="s-whole">{}</code>', currency.upper(), network, address)
