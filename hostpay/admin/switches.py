"""Pauses, heartbeats and used tokens."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.pages import Page, facts
from hostpay.admin.operations import PAUSE, RESUME
from hostpay.models import Heartbeat, Pause, UsedToken


@admin.register(Pause)
class PauseAdmin(ObjectAdmin[Pause]):
    explanation = "What was stopped, by whom and why. A pause ends when somebody resumes it or its time runs out."
    list_display = ("switch_name", "state", "reason", "actor", "since", "until", "lifted")
    list_filter = ("switch",)
    ordering = ("-id",)
    sortable_by = ()
    operations = (RESUME,)
    list_operations = (PAUSE,)

    @admin.display(description="what")
    def switch_name(self, pause: Pause) -> str:
        return pause.get_switch_display().capitalize()

    def state(self, pause: Pause) -> SafeString:
        if pause.resumed_at is not None:
            return cells.pill("lifted")
        if pause.expires_at is not None and pause.expires_at <= timezone.now():
            return cells.pill("expired", text="run out")
        return cells.pill("paused")

    @admin.display(description="paused")
    def since(self, pause: Pause) -> SafeString:
        return cells.when(pause.paused_at)

    def until(self, pause: Pause) -> SafeString:
        return cells.when(pause.expires_at)

    def lifted(self, pause: Pause) -> SafeString:
        return cells.when(pause.resumed_at)

    def page(self, _request: HttpRequest, obj: Pause) -> Page:
        return Page(
            headline=f"{obj.get_switch_display().capitalize()} paused",
            pills=(self.state(obj),),
            subline=format_html("by {} {}", obj.actor, cells.when(obj.paused_at)),
            alarm="" if obj.resumed_at else obj.reason,
            sections=(
                facts(
                    "Pause",
                    ("Why", obj.reason),
                    ("Runs out", cells.when(obj.expires_at)),
                    ("Lifted", cells.when(obj.resumed_at)),
                    ("Lifted by", obj.resumed_by),
                ),
            ),
        )


@admin.register(Heartbeat)
class HeartbeatAdmin(ObjectAdmin[Heartbeat]):
    explanation = "The latest run of each piece of scheduled work. Silence here is how its death is noticed."
    list_display = ("name", "state", "started", "succeeded", "failed", "last_error")
    ordering = ("name",)
    sortable_by = ()

    def state(self, beat: Heartbeat) -> SafeString:
        return heartbeat_pill(beat)

    def started(self, beat: Heartbeat) -> SafeString:
        return cells.when(beat.started_at)

    def succeeded(self, beat: Heartbeat) -> SafeString:
        return cells.when(beat.succeeded_at)

    def failed(self, beat: Heartbeat) -> SafeString:
        return cells.when(beat.failed_at)

    def page(self, _request: HttpRequest, obj: Heartbeat) -> Page:
        return Page(
            headline=obj.name,
            pills=(heartbeat_pill(obj),),
            sections=(
                facts(
                    "Latest run",
                    ("Started", cells.when(obj.started_at)),
                    ("Succeeded", cells.when(obj.succeeded_at)),
                    ("Failed", cells.when(obj.failed_at)),
                    ("Last error", obj.last_error),
                ),
            ),
        )


@admin.register(UsedToken)
class UsedTokenAdmin(ObjectAdmin[UsedToken]):
    explanation = "Nonces of tokens that were acted upon, kept while the token could still verify."
    list_display = ("nonce", "purpose", "used")
    search_fields = ("=nonce",)
    ordering = ("-used_at",)
    sortable_by = ()

    def used(self, token: UsedToken) -> SafeString:
        return cells.when(token.used_at)

    def page(self, _request: HttpRequest, obj: UsedToken) -> Page:
        return Page(
            headline=f"Token for {obj.purpose}",
            sections=(facts("Token", ("Nonce", cells.short(obj.nonce)), ("Used", cells.when(obj.used_at))),),
        )


def heartbeat_pill(beat: Heartbeat) -> SafeString:
    """Whether its last finished run was good."""
    if beat.failed_at is not None and (beat.succeeded_at is None or beat.failed_at > beat.succeeded_at):
        return cells.pill("failed", text="last run failed", title=beat.last_error)
    if beat.succeeded_at is None:
        return cells.pill("waiting", text="no run finished")
    return cells.pill("ok")
