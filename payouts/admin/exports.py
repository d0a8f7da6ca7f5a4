"""Who took which lists out of the house."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.exports import told
from config.lib.adminkit.pages import Page, facts
from payouts.models import Export


class OutcomeFilter(admin.SimpleListFilter):
    """What came of it."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("made", "handed over"), ("refused", "refused")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Export]) -> QuerySet[Export]:
        if self.value() not in {"made", "refused"}:
            return queryset
        return queryset.filter(row_count__isnull=self.value() == "refused")


def _narrowed(export: Export) -> str:
    return "; ".join(told(export.filters))


@admin.register(Export)
class ExportAdmin(ObjectAdmin[Export]):
    explanation = "Every file that was made of a list, written down before it was handed over; and what was refused."
    list_display = ("at", "actor", "subject", "narrowed", "outcome", "row_count_shown", "why_not")
    list_filter = (OutcomeFilter, ("created_at", RangeDateTimeFilter))
    search_fields = ("=actor", "=subject", "=sha256")
    search_help_text = "a person, as in admin:anna; a list, as in payouts.accumulation; or a file's SHA-256"
    exported = (
        *fields("id", "created_at", "actor", "subject"),
        field("filters", _narrowed),
        field("columns", lambda export: " ".join(export.columns)),
        *fields("row_count", "sha256", "refusal"),
    )
    ordering = ("-id",)
    sortable_by = ()

    def at(self, export: Export) -> SafeString:
        return cells.when(export.created_at)

    def narrowed(self, export: Export) -> str:
        return _narrowed(export)

    def outcome(self, export: Export) -> SafeString:
        return cells.pill("refused") if export.refusal else cells.pill("ok", text="handed over")

    @admin.display(description="rows")
    def row_count_shown(self, export: Export) -> SafeString:
        return cells.count(export.row_count)

    def why_not(self, export: Export) -> str:
        return export.refusal if len(export.refusal) <= 60 else f"{export.refusal[:60]}…"

    def page(self, _request: HttpRequest, obj: Export) -> Page:
        return Page(
            headline=f"Export of {obj.subject}",
            pills=(self.outcome(obj),),
            subline=format_html("by {} {}", obj.actor, cells.when(obj.created_at)),
            alarm=obj.refusal,
            sections=(
                facts(
                    "File",
                    ("Rows", cells.count(obj.row_count)),
                    ("Narrowed by", _narrowed(obj) or "nothing: the whole list"),
                    ("Columns", ", ".join(obj.columns)),
                    (
                        "SHA-256",
                        format_html("<code>{}</code>{}", obj.sha256, cells.copy_button(obj.sha256))
                        if obj.sha256
                        else "",
                    ),
                    note="A file at hand is this one if sha256sum says the same of it.",
                ),
            ),
        )
