"""Clients: whom we owe. The one thing besides the schedule that operators edit in a form."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, DecimalField, Field, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib import audit
from config.lib.adminkit import cells
from config.lib.adminkit.admins import ListAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked, list_of
from config.lib.adminkit.operations import Button
from config.lib.adminkit.pages import Facts, Table, columns, facts
from config.lib.adminkit.proof import ChangesByProof
from config.lib.errors import RefusedError
from config.lib.money import is_plain_decimal, usd_text
from config.lib.problems import InvalidFieldsError
from payouts.admin.client_import import IMPORT, import_view
from payouts.admin.destinations import REQUEST_OF_CLIENT, changes_of, waiting_change
from payouts.models import Accumulation, AccumulationStatus, Client, ClientChange, InboundEvent
from payouts.services import Which, replayable_events
from payouts.services.clients import (
    CHANGEABLE,
    DESTINATION,
    change_client,
    check_new,
    check_terms,
    create_client,
    errors_of,
)

_RECENT = 20
_LABELS = {"payout_threshold_usd": "Payout threshold (USD)", "fee_percent": "Fee (%)"}
_STALE = (
    "Nothing was saved: the client was changed since this page was opened, by somebody else or by a first click of yours."
    " Open it again; its changes stand below."
)


# Generic for the type checker only.
if TYPE_CHECKING:
    _ClientModelForm = forms.ModelForm[Client]
else:
    _ClientModelForm = forms.ModelForm


class PlainDecimalField(forms.DecimalField):
    """An amount as everywhere where money comes in: Django's own field takes 1e5, 1_000 and Arabic digits."""

    def to_python(self, value: Any) -> Any:
        text = str(value).strip() if value is not None else ""
        if text and not is_plain_decimal(text):
            raise forms.ValidationError("A plain number, like 12.5.", code="invalid")
        return super().to_python(value)


class ClientForm(_ClientModelForm):
    """A client's terms; a destination is given once, when the client is made.

    It saves nothing over what somebody else has changed since it was opened: all terms stand in it, also those that its
    user let alone.
    """

    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Goes into the history, with your name.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.initial.items():
            if isinstance(value, Decimal):
                self.initial[name] = f"{value.normalize():f}"
        if self.instance.pk:
            self.initial["seen"] = _version(self.instance)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.instance.pk:
            # Locked until the view's transaction ends, so that of two at once the second is told.
            stands = Client.objects.select_for_update().get(pk=self.instance.pk)
            if given.get("seen") != _version(stands):
                self.add_error(None, _STALE)
        # All at once; what a field of its own has found wrong already is said once.
        names = CHANGEABLE if self.instance.pk else ("external_id", *CHANGEABLE, *DESTINATION)
        asked = Client(**{name: given[name] for name in names if name in given})
        for error in errors_of(partial(check_terms if self.instance.pk else check_new, asked)):
            if error.field not in self.errors:
                self.add_error(error.field, f"It {error.detail}.")
        return given

    def validate_constraints(self) -> None:
        """Not by the names of constraints: `clean` has said which field breaks which rule."""


def _version(client: Client) -> str:
    return client.updated_at.isoformat()


@admin.register(Client)
class ClientAdmin(ChangesByProof, ListAdmin[Client]):
    explanation = "Whom we owe: its payout strategy, destination and fee. Changes apply to what comes after them."
    list_display = ("client_id", "name", "strategy", "destination", "threshold", "fee", "since")
    exported = (
        field("client_id", "external_id"),
        *fields("name", "strategy", "wallet_address", "payout_currency", "payout_network", "payout_threshold_usd"),
        field("own_fee_percent", "fee_percent"),
        *fields("fee_percent_in_force", "created_at"),
    )
    operations = (REQUEST_OF_CLIENT,)
    list_filter = ("strategy",)
    search_fields = ("=external_id", "name")
    search_help_text = "a client's id, or a part of its name"
    ordering = ("external_id",)
    sortable_by = ("client_id",)
    form = ClientForm
    warn_unsaved_form = True
    change_form_before_template = "includes/client_seen.html"
    change_form_outer_before_template = "includes/client_head.html"
    change_form_outer_after_template = "includes/client_sections.html"
    fieldsets = (
        (None, {"fields": (("external_id", "name"), ("strategy", "payout_threshold_usd"))}),
        ("Destination", {"fields": ("wallet_address", ("payout_currency", "payout_network"))}),
        ("Fee", {"fields": ("fee_percent",)}),
        ("History", {"fields": ("reason",)}),
    )

    def get_urls(self) -> list[URLPattern]:
        importing = self.admin_site.admin_view(self.import_view)
        return [path("import/", importing, name="payouts_client_import"), *super().get_urls()]

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        mine = []
        if IMPORT.allowed_for(request.user):
            mine.append(Button(label=IMPORT.label, icon=IMPORT.icon, url=self.page_url("import")))
        return [*super().list_buttons(request), *mine]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Clients from an uploaded file."""
        return import_view(request, place=self._place(self.opts.label_lower, self.page_url("changelist")))

    def has_delete_permission(self, request: HttpRequest, obj: Client | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Client, form: Any, change: bool) -> None:  # noqa: FBT001 (Django's)
        """By the services, which record who changed what and why."""
        given, actor = form.cleaned_data, audit.admin(request.user.get_username())
        if change:
            changes = {name: given[name] for name in CHANGEABLE if name in form.changed_data}
            change_client(client_id=obj.pk, changes=changes, actor=actor, reason=given["reason"])
            return
        made = create_client(
            **{name: given[name] for name in ("external_id", *CHANGEABLE, *DESTINATION)},
            actor=actor,
            reason=given["reason"],
        )
        obj.pk = made.pk
        _tell_of_waiting(request, made)

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.Field | None:
        if isinstance(db_field, DecimalField):
            kwargs["form_class"] = PlainDecimalField
        kwargs.setdefault("label", _LABELS.get(db_field.name))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (RefusedError, InvalidFieldsError) as refusal:
            # What the form found in order, and somebody was faster in making otherwise.
            messages.error(request, f"Nothing was saved. {refusal}")
            return HttpResponseRedirect(request.path)

    def get_readonly_fields(self, request: HttpRequest, obj: Client | None = None) -> tuple[str, ...]:
        # Payments name the client by it; and a destination changes by an operation of its own, after a time to think.
        return ("external_id", "wallet_address", "payout_currency", "payout_network") if obj else ()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        client = self.get_object(request, object_id)
        if client is not None and not self.has_view_permission(request, client):
            raise PermissionDenied
        mine: dict[str, Any] = {}
        if client is not None:
            mine = {
                "buttons": self.operation_buttons(request, client),
                "waiting": waiting_change(client),
                "sections": [_owed(client), changes_of(client), _latest(client), _changes(client)],
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **mine})

    @admin.display(description="client", ordering="external_id")
    def client_id(self, client: Client) -> str:
        return client.external_id

    def destination(self, client: Client) -> SafeString:
        return format_html(
            "{} on {} {}", client.payout_currency.upper(), client.payout_network, cells.short(client.wallet_address)
        )

    def threshold(self, client: Client) -> SafeString:
        return cells.usd(client.payout_threshold_usd)

    def fee(self, client: Client) -> SafeString:
        own = cells.percent(client.fee_percent_in_force)
        if client.fee_percent is not None:
            return own
        return format_html('<span class="s-num">{} <small>platform</small></span>', own)

    def since(self, client: Client) -> SafeString:
        return cells.when(client.created_at)


def _tell_of_waiting(request: HttpRequest, client: Client) -> None:
    """Deliveries that were refused since nobody had the client's id: nothing processes them again by itself."""
    waiting = replayable_events(Which(client_id=client.external_id)).count()
    if waiting:
        there = cells.link(list_of(InboundEvent, f"q={quote(client.external_id)}"), f"Deliveries: {waiting:,}")
        messages.warning(
            request,
            format_html(
                "{} for client {} were refused before it was made. “Process again what failed since” records them.",
                there,
                client.external_id,
            ),
        )


def _owed(client: Client) -> Facts:
    # One pass over this client's rows, by the index that begins with the client.
    found: dict[str, Any] = {
        row["status"]: row
        for row in client.accumulations.order_by()
        .values("status")
        .annotate(rows=Count("id"), net=Sum("pending_usd_amount"), share=Sum("converted_usdt_amount"))
    }

    def said(status: AccumulationStatus) -> str:
        row = found.get(status.value)
        return (
            f"{row['rows']:,} {'payment' if row['rows'] == 1 else 'payments'} of {usd_text(row['net'])}"
            if row
            else "none"
        )

    converted = found.get(AccumulationStatus.COMPLETED.value, {}).get("share") or Decimal(0)
    rows = [
        ("Pending", said(AccumulationStatus.PENDING)),
        ("In a batch", said(AccumulationStatus.SWAPPING)),
        ("Held", said(AccumulationStatus.HELD)),
        ("Converted", said(AccumulationStatus.COMPLETED)),
        ("Converted to", cells.usdt_amount(converted)),
    ]
    if client.payout_threshold_usd:
        reached = min(Decimal(100), converted * 100 / client.payout_threshold_usd)
        rows.append(
            (
                "Toward its payout threshold",
                format_html(
                    '<progress class="s-bar" max="100" value="{}"></progress> {} of {}',
                    f"{reached:.1f}",
                    cells.usdt_amount(converted),
                    cells.usd(client.payout_threshold_usd),
                ),
            )
        )
    return facts("Owed", *rows)


def _latest(client: Client) -> Table:
    latest = client.accumulations.order_by("-id")[:_RECENT]
    return Table(
        title="Latest payments",
        note=cells.link(list_of(Accumulation, f"q={client.external_id}"), "all of them"),
        columns=columns("Payment", "State", "Net#", "Share#", "Recorded"),
        rows=[
            (
                linked(each),
                cells.pill(each.status),
                cells.usd(each.pending_usd_amount),
                cells.usdt_amount(each.converted_usdt_amount),
                cells.when(each.created_at),
            )
            for each in latest
        ],
        empty="No payment yet.",
    )


def _changes(client: Client) -> Table:
    latest = ClientChange.objects.filter(client=client)[:_RECENT]
    return Table(
        title="Changes",
        note=cells.link(list_of(ClientChange, f"q={client.external_id}"), "all of them"),
        columns=columns("When", "What", "Before", "After", "By", "Why"),
        rows=[
            (
                cells.when(each.created_at),
                each.field,
                each.before or cells.NOTHING,
                each.after or cells.NOTHING,
                each.actor,
                each.reason or cells.NOTHING,
            )
            for each in latest
        ],
        empty="None is known.",
    )
