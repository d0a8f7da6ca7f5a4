"""What arrived from outside, as it arrived."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin, StatusChangeAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import Facts, Page, Raw, facts, history, raw
from config.lib.exact_json import InexactJsonError, loads_exact
from payouts import services
from payouts.admin.inbound_operations import ACKNOWLEDGE, ACKNOWLEDGE_ALL, REPLAY, REPLAY_ALL
from payouts.models import BodyState, InboundEvent, InboundEventStatusChange

# unfold ships no types: to the type checker its filter is the one of Django's that it inherits.
if TYPE_CHECKING:
    from django.contrib.admin import SimpleListFilter as TextFilter
else:
    from unfold.contrib.filters.admin import TextFilter


class UnsettledFilter(admin.SimpleListFilter):
    """What “Needs me” lists."""

    title = "needs a person"
    parameter_name = "unsettled"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "yes"), ("replay", "to be processed again")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[InboundEvent]) -> QuerySet[InboundEvent]:
        if self.value() == "replay":
            return queryset.filter(replay_at__isnull=False)
        return queryset & services.unsettled_events() if self.value() == "yes" else queryset


class ErrorFilter(TextFilter):
    """A part of the reason why a delivery is not in the books."""

    title = "error"
    parameter_name = "error"

    def queryset(self, _request: HttpRequest, queryset: QuerySet[InboundEvent]) -> QuerySet[InboundEvent]:
        part = (self.value() or "").strip()
        return queryset.filter(services.with_error(part)) if part else queryset


@admin.register(InboundEvent)
class InboundEventAdmin(ObjectAdmin[InboundEvent]):
    explanation = "Every delivery, stored before it is trusted, with what became of it."
    list_display = ("event", "source", "authentic", "result", "payment", "attempts", "error_start", "received")
    # Neither body nor headers: they are read one at a time, on their event's page.
    exported = (
        *fields("id", "source", "event_id", "verdict", "outcome"),
        field("payment_id", "accumulation.payment_id"),
        *fields("attempts", "error", "received_at"),
    )
    list_filter = (UnsettledFilter, "outcome", "verdict", "source", ErrorFilter, ("received_at", RangeDateTimeFilter))
    list_select_related = ("accumulation",)
    search_fields = ("=named_payment_id",)
    search_help_text = (
        "a whole payment id, a whole client id as a refused delivery names it, or the sender's id of the delivery"
    )
    ordering = ("-id",)
    sortable_by = ()
    operations = (REPLAY, ACKNOWLEDGE)
    list_operations = (REPLAY_ALL, ACKNOWLEDGE_ALL)

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboundEvent]:
        # Bodies are read on the page of one event only.
        return super().get_queryset(request).defer("body", "headers")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[InboundEvent], search_term: str
    ) -> tuple[QuerySet[InboundEvent], bool]:
        """By what has an index; the sender's own id has none, and is looked for where nothing else was found."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = queryset.filter(services.about_payment(term) | Q(named_client_id=term))
        return found if found.exists() else queryset.filter(event_id=term), False

    def event(self, event: InboundEvent) -> SafeString:
        shown = event.event_id or str(event.pk)
        return format_html('<code title="{}">{}</code>', shown, shown if len(shown) <= 24 else f"{shown[:20]}…")

    def authentic(self, event: InboundEvent) -> SafeString:
        return cells.pill(event.verdict, text=event.get_verdict_display())

    def result(self, event: InboundEvent) -> SafeString:
        return cells.pill(event.outcome, title=event.get_outcome_display())

    def payment(self, event: InboundEvent) -> SafeString:
        if event.accumulation is None and event.named_payment_id:
            return cells.short(event.named_payment_id)
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
                    ("Names payment", cells.short(obj.named_payment_id) if obj.named_payment_id else ""),
                    ("Names client", cells.short(obj.named_client_id) if obj.named_client_id else ""),
                    ("Processed", cells.times(obj.attempts)),
                    ("Waits to be processed again since", "" if obj.replay_at is None else cells.when(obj.replay_at)),
                    ("Left as it is", "" if obj.acknowledged_at is None else cells.when(obj.acknowledged_at)),
                ),
                history(obj.status_changes.order_by("-id")[:200], note="What people had done to it."),
                raw("Headers, without secrets", obj.headers),
                _body(obj),
            ),
        )


@admin.register(InboundEventStatusChange)
class InboundEventStatusChangeAdmin(StatusChangeAdmin):
    pass


def _body(event: InboundEvent) -> Raw | Facts:
    """The body indented if it is JSON, and else as text; money in it stays as it was written."""
    if event.body_state == BodyState.FORGOTTEN:
        note = f"Forgotten after {settings.INBOX_BODIES_KEPT_DAYS} days. Whoever has it can prove by the hash that it is this one."
        return facts("Body", ("SHA-256", cells.short(event.body_sha256)), note=note)
    text = bytes(event.body).decode(errors="replace")
    try:
        # Refuses what is nested so deep that reading it would end the process.
        loads_exact(text)
        text = json.dumps(json.loads(text, parse_float=str, parse_int=str), indent=2, ensure_ascii=False)
        note = "Indented for reading; numbers are shown as strings, with all their digits."
    except InexactJsonError:
        note = "Not JSON that we take; shown as it came."
    return Raw(title="Body", text=text, note=note, is_open=True)
