"""Payments declared void before they came."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import fields
from config.lib.adminkit.links import linked
from config.lib.adminkit.operations import Done, Operation, OperationForm
from config.lib.adminkit.pages import Page, facts
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from config.lib.problems import InvalidFieldsError
from payouts import services
from payouts.models import Accumulation, VoidOrder


class VoidForm(OperationForm):
    """Which payment."""

    payment_id = forms.CharField(max_length=128, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}))
    source = forms.CharField(
        max_length=32, initial="api", widget=UnfoldAdminTextInputWidget, help_text="api, nowpayments, or of an import."
    )


def _void(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    try:
        stands = services.void_payment(
            source=given["source"], payment_id=given["payment_id"], actor=actor, reason=given["reason"]
        )
    except InvalidFieldsError as refusal:
        raise RefusedError(why=f"{refusal}.", next_step="Look at the id again.") from None
    if isinstance(stands, Accumulation):
        return Done(message=f"Payment {stands.payment_id} is void.")
    return Done(message=f"Payment {stands.payment_id} has not come yet; if it does, it is void.")


VOID: Operation[None] = Operation(
    name="void",
    label="Void a payment by its id",
    icon="block",
    form_class=VoidForm,
    consequence=lambda _: "Nothing is owed for the payment any more, also if it comes only later.",
    run=_void,
    is_grave=True,
)


@admin.register(VoidOrder)
class VoidOrderAdmin(ObjectAdmin[VoidOrder]):
    explanation = "The word that a payment is void, where it came before the payment; that is then recorded as void."
    list_display = ("payment_id", "source", "came", "requested_by", "asked")
    exported = fields("source", "payment_id", "reason", "requested_by", "created_at", "accumulation_id")
    list_select_related = ("accumulation",)
    search_fields = ("=payment_id",)
    ordering = ("-id",)
    sortable_by = ()
    list_operations = (VOID,)

    def came(self, order: VoidOrder) -> SafeString:
        return linked(order.accumulation) if order.accumulation else cells.pill("waiting", text="not yet")

    def asked(self, order: VoidOrder) -> SafeString:
        return cells.when(order.created_at)

    def page(self, _request: HttpRequest, obj: VoidOrder) -> Page:
        return Page(
            headline=f"Payment {obj.payment_id} is void",
            sections=(
                facts(
                    "Order",
                    ("Source", obj.source),
                    ("Payment", self.came(obj)),
                    ("Why", obj.reason),
                    ("By", obj.requested_by),
                    ("Asked", self.asked(obj)),
                ),
            ),
        )
