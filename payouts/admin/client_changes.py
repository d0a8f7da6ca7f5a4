"""What was changed of clients, to be read."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import Page, facts
from payouts.models import ClientChange


@admin.register(ClientChange)
class ClientChangeAdmin(ObjectAdmin[ClientChange]):
    explanation = "Who changed what of a client, and why; what a new one begins with are changes from nothing."
    list_display = ("who", "field", "before_shown", "after_shown", "actor", "changed")
    list_select_related = ("client",)
    exported = (
        *fields("id"),
        field("client_id", "client.external_id"),
        *fields("field", "before", "after", "actor", "reason", "created_at"),
    )
    list_filter = ("field",)
    search_fields = ("=client__external_id",)
    search_help_text = "a client's id"
    ordering = ("-id",)
    sortable_by = ()

    @admin.display(description="client")
    def who(self, change: ClientChange) -> str:
        return change.client.external_id

    @admin.display(description="before")
    def before_shown(self, change: ClientChange) -> str:
        return change.before or cells.NOTHING

    @admin.display(description="after")
    def after_shown(self, change: ClientChange) -> str:
        return change.after or cells.NOTHING

    def changed(self, change: ClientChange) -> SafeString:
        return cells.when(change.created_at)

    def page(self, _request: HttpRequest, obj: ClientChange) -> Page:
        return Page(
            headline=f"{obj.field} of {obj.client}",
            subline=self.changed(obj),
            sections=(
                facts(
                    "Change",
                    ("Client", linked(obj.client)),
                    ("Before", self.before_shown(obj)),
                    ("After", self.after_shown(obj)),
                    ("By", obj.actor),
                    ("Why", obj.reason),
                ),
            ),
        )
