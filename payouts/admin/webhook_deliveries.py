"""What endpoints were told, and every try: the inspector of deliveries."""

from __future__ import annotations

import re
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked, linked_id
from config.lib.adminkit.pages import Page, Raw, facts, raw
from payouts.admin.webhook_endpoints import tries_of
from payouts.admin.webhook_operations import GIVE_UP, RESEND
from payouts.models import Accumulation, WebhookAttempt, WebhookDelivery
from payouts.services import webhooks

_MESSAGE_ID = re.compile(r"msg_([0-9]{1,18})_[0-9a-f]{32}")
_TRIES_SHOWN = 30
_ANSWERS_SHOWN = 5


class StateFilter(admin.SimpleListFilter):
    """What became of it."""

    title = "state"
    parameter_name = "state"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "waiting"), ("delivered", "delivered"), ("given_up", "given up")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> QuerySet[WebhookDelivery]:
        conditions = {
            "waiting": Q(delivered_at__isnull=True, given_up_at__isnull=True),
            "delivered": Q(delivered_at__isnull=False),
            "given_up": Q(given_up_at__isnull=False),
        }
        return queryset.filter(conditions.get(str(self.value()), Q()))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ObjectAdmin[WebhookDelivery]):
    explanation = (
        "Every event that an endpoint is told, written in the transaction in which it happened; kept for 60 days."
    )
    list_display = ("event_name", "endpoint_link", "payment", "state_shown", "attempts", "happened", "delivered")
    # Not what is sent: one event's page shows it.
    exported = (
        field("webhook_id", "message_id"),
        *fields("event"),
        field("endpoint", "endpoint.name"),
        field("payment_id", "accumulation.payment_id"),
        *fields("batch_id", "state", "attempts", "created_at", "resent_at", "delivered_at", "given_up_at"),
    )
    list_filter = (StateFilter, "event", "endpoint", ("created_at", RangeDateTimeFilter))
    list_select_related = ("endpoint", "accumulation")
    search_fields = ("=accumulation__payment_id",)
    search_help_text = "a whole payment id, or a whole webhook-id"
    ordering = ("-id",)
    sortable_by = ()
    operations = (RESEND, GIVE_UP)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery], search_term: str
    ) -> tuple[QuerySet[WebhookDelivery], bool]:
        """Whole ids only: those have an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        message = _MESSAGE_ID.fullmatch(term)
        if message is not None:
            return queryset.filter(pk=int(message[1])), False
        payments = Accumulation.objects.filter(payment_id=term).values("pk")
        return queryset.filter(accumulation__in=payments), False

    @admin.display(description="event")
    def event_name(self, delivery: WebhookDelivery) -> SafeString:
        return format_html('<span title="{}">{}</span>', delivery.get_event_display(), delivery.event)

    @admin.display(description="endpoint")
    def endpoint_link(self, delivery: WebhookDelivery) -> SafeString:
        return linked(delivery.endpoint)

    def payment(self, delivery: WebhookDelivery) -> SafeString:
        told = delivery.accumulation
        return cells.NOTHING if told is None else linked_id(told, told.payment_id)

    @admin.display(description="state")
    def state_shown(self, delivery: WebhookDelivery) -> SafeString:
        return cells.pill(delivery.state, text=delivery.state.replace("_", " "))

    def happened(self, delivery: WebhookDelivery) -> SafeString:
        return cells.when(delivery.created_at)

    def delivered(self, delivery: WebhookDelivery) -> SafeString:
        return cells.when(delivery.delivered_at)

    def page(self, _request: HttpRequest, obj: WebhookDelivery) -> Page:
        tries = list(obj.tries.select_related("delivery").order_by("-id")[:_TRIES_SHOWN])
        return Page(
            headline=obj.event,
            pills=(self.state_shown(obj),),
            subline=format_html("to {}, happened {}", linked(obj.endpoint), cells.when(obj.created_at)),
            alarm=_alarm(obj, tries),
            sections=(
                facts(
                    "Event",
                    ("webhook-id", format_html("<code>{}</code>{}", obj.message_id, cells.copy_button(obj.message_id))),
                    ("Payment", self.payment(obj)),
                    ("Reason, not sent", obj.reason),
                    ("Tried", cells.times(obj.attempts)),
                    ("Sent again by hand", cells.when(obj.resent_at) if obj.resent_at else ""),
                    ("Delivered", cells.when(obj.delivered_at)),
                    ("Given up", cells.when(obj.given_up_at) if obj.given_up_at else ""),
                    ("Is given up", cells.when(obj.tried_until) if obj.state == "waiting" else ""),
                ),
                raw("What is sent", webhooks.payload_of(obj)),
                tries_of(tries, title="Tries", empty="Not tried yet."),
                *(_answer(each) for each in tries[:_ANSWERS_SHOWN] if each.response_body),
            ),
        )


@admin.register(WebhookAttempt)
class WebhookAttemptAdmin(ObjectAdmin[WebhookAttempt]):
    explanation = (
        "Each request that was made, written down before it left; one without an outcome is of a process that died."
    )
    list_display = ("started", "endpoint", "event", "result", "status_code", "took", "error_start")
    exported = (
        *fields("id"),
        field("endpoint", "endpoint.name"),
        field("webhook_id", "delivery.message_id"),
        field("event", "delivery.event"),
        *fields("outcome", "status_code", "duration_ms", "error", "started_at", "ended_at"),
    )
    list_filter = ("endpoint", "status_code")
    list_select_related = ("endpoint", "delivery")
    ordering = ("-id",)
    sortable_by = ()

    def started(self, attempt: WebhookAttempt) -> SafeString:
        return cells.when(attempt.started_at)

    def event(self, attempt: WebhookAttempt) -> SafeString:
        return linked(attempt.delivery, attempt.delivery.event)

    def result(self, attempt: WebhookAttempt) -> SafeString:
        return cells.pill(attempt.outcome)

    def took(self, attempt: WebhookAttempt) -> SafeString:
        if attempt.duration_ms is None:
            return cells.NO_NUMBER
        return format_html('<span class="s-num">{} ms</span>', f"{attempt.duration_ms:,}")

    @admin.display(description="error")
    def error_start(self, attempt: WebhookAttempt) -> str:
        return attempt.error if len(attempt.error) <= 80 else f"{attempt.error[:80]}…"

    def page(self, _request: HttpRequest, obj: WebhookAttempt) -> Page:
        return Page(
            headline=f"Try of {obj.delivery.event}",
            pills=(cells.pill(obj.outcome),),
            subline=format_html("to {}, {}", linked(obj.endpoint), cells.when(obj.started_at)),
            alarm=obj.error,
            sections=(
                facts(
                    "Try",
                    ("Event", linked(obj.delivery)),
                    ("Status", "none" if obj.status_code is None else str(obj.status_code)),
                    ("Took", self.took(obj)),
                    ("Ended", cells.when(obj.ended_at)),
                ),
                _answer(obj),
            ),
        )


def _answer(attempt: WebhookAttempt) -> Raw:
    return Raw(
        title=f"Answer of {attempt.started_at:%Y-%m-%d %H:%M:%S} UTC",
        text=attempt.response_body or "(empty)",
        note="The beginning, as it came.",
    )


def _alarm(delivery: WebhookDelivery, tries: list[WebhookAttempt]) -> str:
    if delivery.state == "delivered" or not tries or not tries[0].error:
        return ""
    prefix = "Given up" if delivery.state == "given_up" else "Not taken yet"
    return f"{prefix}; the last try: {tries[0].error}"
