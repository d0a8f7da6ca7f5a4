"""Webhook endpoints: who is told, and how well that goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, IntegerField, OuterRef, QuerySet, Value, When
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells, charts
from config.lib.adminkit.admins import ObjectAdmin, StatusChangeAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked, list_of
from config.lib.adminkit.pages import Page, Table, columns, facts, history
from payouts.admin.webhook_operations import (
    ACKNOWLEDGE,
    CHANGE,
    CREATE,
    DISABLE,
    ENABLE,
    MAY_CHANGE,
    RESEND_FAILED,
    ROTATE,
    SEND_TEST,
    TRY_NOW,
)
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEndpointStatusChange
from payouts.services import webhooks

# The rate is of so many tries, whatever their age: a busy endpoint's last minutes, a quiet one's last weeks.
_TRIES_JUDGED = 200
_BARS = 20
_MOST_COUNTED = 1000
_TRIES_SHOWN = 20


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ObjectAdmin[WebhookEndpoint]):
    explanation = "Addresses outside that are told of payments' events, each in their order, until it takes them."
    list_display = ("name", "target", "asks_for", "state", "success", "waits", "last_taken", "made")
    exported = (
        *fields("id", "name", "host"),
        field("url", permission=MAY_CHANGE),
        field("events", lambda endpoint: " ".join(endpoint.events)),
        field("client_id", "client.external_id"),
        *fields("status", "disabled_reason", "failures", "last_error", "last_success_at", "created_by", "created_at"),
    )
    list_filter = ("status",)
    list_select_related = ("client",)
    search_fields = ("name", "=url")
    search_help_text = "a part of its name, or its whole address"
    ordering = ("-id",)
    sortable_by = ()
    list_operations = (CREATE,)
    operations = (TRY_NOW, SEND_TEST, RESEND_FAILED, ACKNOWLEDGE, CHANGE, ROTATE, DISABLE, ENABLE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        """With the latest tries, newest first, and what waits, so that a list is one query."""
        ended = WebhookAttempt.objects.filter(endpoint=OuterRef("pk"), ended_at__isnull=False).order_by("-id")
        took = Case(When(error="", then=Value(1)), default=Value(0), output_field=IntegerField())
        waiting = WebhookDelivery.objects.waiting().filter(endpoint=OuterRef("pk")).order_by("id")
        return (
            super()
            .get_queryset(request)
            .annotate(
                recent=ArraySubquery(ended.annotate(took=took).values("took")[:_TRIES_JUDGED]),
                waiting=ArraySubquery(waiting.values("id")[: _MOST_COUNTED + 1]),
            )
        )

    def target(self, endpoint: WebhookEndpoint) -> SafeString:
        """The host: the rest of an address is often a secret of its own, for who may change it."""
        return format_html(
            '<span title="{}">{}</span>', "the whole address is on its page, for who may change it", endpoint.host
        )

    @admin.display(description="asks for")
    def asks_for(self, endpoint: WebhookEndpoint) -> SafeString:
        count = len(endpoint.events)
        text = "1 event" if count == 1 else f"{count} events"
        events = format_html('<span title="{}">{}</span>', ", ".join(endpoint.events), text)
        return format_html("{} of {}", events, linked(endpoint.client)) if endpoint.client else events

    def state(self, endpoint: WebhookEndpoint) -> SafeString:
        if not endpoint.is_enabled:
            return cells.pill("disabled", title=endpoint.disabled_reason)
        return cells.pill("failing", title=endpoint.last_error) if endpoint.failures else cells.pill("enabled")

    def success(self, endpoint: Any) -> SafeString:
        return _success(endpoint.recent)

    def waits(self, endpoint: Any) -> SafeString:
        return _waiting(endpoint.waiting)

    @admin.display(description="last taken")
    def last_taken(self, endpoint: WebhookEndpoint) -> SafeString:
        return cells.when(endpoint.last_success_at)

    def made(self, endpoint: WebhookEndpoint) -> SafeString:
        return cells.when(endpoint.created_at)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        return Page(
            headline=obj.name,
            pills=(self.state(obj),),
            subline=format_html("at {}, made by {} {}", obj.host, obj.created_by, cells.when(obj.created_at)),
            alarm=_alarm(obj),
            sections=(
                facts(
                    "Endpoint",
                    ("Address", _address(request, obj)),
                    ("Events", ", ".join(obj.events)),
                    ("Payments", linked(obj.client) if obj.client else "of every client"),
                    ("Told of what happens since", cells.when(obj.subscribed_at)),
                ),
                facts(
                    "How it goes",
                    ("Success", _success(obj.recent)),
                    ("Waiting", _waiting(obj.waiting)),
                    ("Last taken", cells.when(obj.last_success_at)),
                    ("Next try", cells.when(obj.next_attempt_at) if obj.waiting and obj.is_enabled else ""),
                    ("Failed in a row", str(obj.failures) if obj.failures else ""),
                    ("Last error", obj.last_error),
                    ("Took over its last answer", _took(obj)),
                    note=cells.link(list_of(WebhookDelivery, f"endpoint__id__exact={obj.pk}"), "all its events"),
                ),
                facts(
                    "Secret",
                    ("Made", cells.when(obj.secret_made_at)),
                    ("Derived by the key", format_html("<code>{}</code>", obj.secret_key_id)),
                    ("The one before signs until", cells.when(obj.old_secret_until) if obj.old_secret_until else ""),
                    note="It is stored nowhere, so nobody can show it again; a new one can be given.",
                ),
                _tries(obj),
                history(obj.status_changes.order_by("-id")[:200]),
            ),
        )


@admin.register(WebhookEndpointStatusChange)
class WebhookEndpointStatusChangeAdmin(StatusChangeAdmin):
    pass


def tries_of(tries: Iterable[WebhookAttempt], *, title: str, empty: str) -> Table:
    """Tries to tell an event, newest first."""
    return Table(
        title=title,
        columns=columns("Started", "Event", "Outcome", "Status#", "Took#", "Error"),
        rows=[
            (
                linked(each, cells.when(each.started_at)),
                linked(each.delivery, each.delivery.event),
                cells.pill(each.outcome),
                cells.NO_NUMBER if each.status_code is None else str(each.status_code),
                cells.NO_NUMBER if each.duration_ms is None else f"{each.duration_ms:,} ms",
                each.error,
            )
            for each in tries
        ],
        empty=empty,
    )


def _tries(endpoint: WebhookEndpoint) -> Table:
    latest = WebhookAttempt.objects.filter(endpoint=endpoint).select_related("delivery").order_by("-id")
    return tries_of(latest[:_TRIES_SHOWN], title="Latest tries", empty="Nothing was sent yet.")


def _alarm(endpoint: WebhookEndpoint) -> str:
    if not endpoint.is_enabled:
        return f"Disabled: {endpoint.disabled_reason}"
    if not endpoint.failing_since:
        return ""
    return (
        f"It has taken nothing since {endpoint.failing_since:%Y-%m-%d %H:%M} UTC; {endpoint.failures} tries failed in a"
        f" row, the last: {endpoint.last_error}"
    )


def _success(recent: list[int]) -> SafeString:
    """The share of the latest tries that were taken, and how it went, oldest on the left."""
    if not recent:
        return cells.NOTHING
    rate = sum(recent) * 100 // len(recent)
    oldest_first = recent[::-1]
    size = -(-len(recent) // _BARS)
    parts = [oldest_first[start : start + size] for start in range(0, len(oldest_first), size)]
    title = f"{sum(recent)} of the latest {len(recent)} tries were taken"
    shares = [sum(part) * 100 // len(part) for part in parts]
    return format_html('{} <span title="{}">{} %</span>', charts.spark(shares, name=title), title, rate)


def _waiting(ids: list[int]) -> SafeString:
    shown = f"{_MOST_COUNTED:,}+" if len(ids) > _MOST_COUNTED else f"{len(ids):,}"
    return format_html('<span class="s-num">{}</span>', shown)


def _took(endpoint: WebhookEndpoint) -> str:
    if not endpoint.last_took_ms:
        return ""
    apart = ": it waits apart from the quick ones" if endpoint.last_took_ms >= webhooks.SLOW_MS else ""
    return f"{endpoint.last_took_ms:,} ms{apart}"


def _address(request: HttpRequest, endpoint: WebhookEndpoint) -> SafeString:
    """Whole for who may change it."""
    if not request.user.has_perm(MAY_CHANGE):
        return format_html("<code>{}</code>", endpoint.host)
    return format_html("<code>{}</code>{}", endpoint.url, cells.copy_button(endpoint.url))
