"""What arrived from outside, as it arrived."""

from __future__ import annotations

import json

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import Page, Raw, facts, raw
from config.lib.exact_json import InexactJsonError, loads_exact
from payouts.models import InboundEvent


@admin.register(InboundEvent)
class InboundEventAdmin(ObjectAdmin[InboundEvent]):
    explanation = "Every delivery, stored before it is trusted, with what became of it."
    list_display = ("event", "source", "authentic", "result", "payment", "attempts", "error_start", "received")
    list_filter = ("outcome", "verdict", "source")
    list_select_related = ("accumulation",)
    search_fields = ("=event_id", "=accumulation__payment_id")
    search_help_text = "the sender's id of the delivery, or a payment id"
    ordering = ("-id",)
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboundEvent]:
        # Bodies are read on the page of one event only.
        return super().get_queryset(request).defer("body", "headers")

    def event(self, event: InboundEvent) -> SafeString:
        shown = event.event_id or str(event.pk)
        return format_html('<code title="{}">{}</code>', shown, shown if len(shown) <= 24 else f"{shown[:20]}…")

    def authentic(self, event: InboundEvent) -> SafeString:
        return cells.pill(event.verdict, text=event.get_verdict_display())

    def result(self, event: InboundEvent) -> SafeString:
        return cells.pill(event.outcome, title=event.get_outcome_display())

    def payment(self, event: InboundEvent) -> SafeString:
        return linked(event.accumulation)

    @admin.display(description="error")
    def error_start(self, event: InboundEvent) -> str:
        return event.error if len(event.error) <= 60 else f"{event.error[:60]}…"

    def received(self, event: InboundEvent) -> SafeString:
        return cells.when(event.received_at)

    def page(self, _request: HttpRequest, obj: InboundEvent) -> Page:
        return Page(
            headline=f"Delivery {obj}",
            pills=(self.authentic(obj), self.result(obj)),
            subline=format_html("received {}", cells.when(obj.received_at)),
            alarm=obj.error,
            sections=(
                facts(
                    "Delivery",
                    ("Source", obj.source),
                    ("Sender's id", cells.short(obj.event_id)),
                    ("Outcome", obj.get_outcome_display()),
                    ("Accumulation", linked(obj.accumulation)),
                    ("Processed", f"{obj.attempts} times"),
                ),
                raw("Headers, without secrets", obj.headers),
                _body(obj),
            ),
        )


def _body(event: InboundEvent) -> Raw:
    """The body indented if it is JSON, and else as text; money in it stays as it was written."""
    text = bytes(event.body).decode(errors="replace")
    try:
        # Refuses what is nested so deep that reading it would end the process.
        loads_exact(text)
        text = json.dumps(json.loads(text, parse_float=str, parse_int=str), indent=2, ensure_ascii=False)
        note = "Indented for reading; numbers are shown as strings, with all their digits."
    except InexactJsonError:
        note = "Not JSON that we take; shown as it came."
    return Raw(title="Body", text=text, note=note)
