"""What arrived from outside, as it arrived."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin, StatusChangeAdmin
from config.lib.adminkit.links import linked
from config.lib.adminkit.operations import Done, Operation
from config.lib.adminkit.pages import Page, Raw, facts, history, raw
from config.lib.audit import Actor
from config.lib.exact_json import InexactJsonError, loads_exact
from payouts import services
from payouts.models import InboundEvent, InboundEventStatusChange


def _seen(event: InboundEvent) -> str:
    return f"{event.outcome}|{event.attempts}|{event.acknowledged_at}"


def _acknowledge(event: InboundEvent, actor: Actor, given: dict[str, Any]) -> Done:
    services.acknowledge_event(event_id=event.pk, actor=actor, reason=given["reason"])
    return Done(message=f"Delivery {event} is left as it is.")


ACKNOWLEDGE: Operation[InboundEvent] = Operation(
    name="acknowledge",
    label="Leave it as it is",
    icon="task_alt",
    consequence=lambda event: (
        f"“Needs me” says no longer that this delivery is {event.get_outcome_display()}. Nothing is recorded and nothing"
        f" in the books changes; it can still be processed again. It said: {event.error or 'nothing'}"
    ),
    why_not=services.why_not_acknowledged,
    seen=_seen,
    run=_acknowledge,
)


class UnsettledFilter(admin.SimpleListFilter):
    """What “Needs me” lists."""

    title = "needs a person"
    parameter_name = "unsettled"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "yes")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[InboundEvent]) -> QuerySet[InboundEvent]:
        return queryset & services.unsettled_events() if self.value() == "yes" else queryset


@admin.register(InboundEvent)
class InboundEventAdmin(ObjectAdmin[InboundEvent]):
    explanation = "Every delivery, stored before it is trusted, with what became of it."
    list_display = ("event", "source", "authentic", "result", "payment", "attempts", "error_start", "received")
    list_filter = (UnsettledFilter, "outcome", "verdict", "source")
    list_select_related = ("accumulation",)
    search_fields = ("=event_id", "=accumulation__payment_id")
    search_help_text = "the sender's id of the delivery, or a payment id"
    ordering = ("-id",)
    sortable_by = ()
    operations = (ACKNOWLEDGE,)

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
