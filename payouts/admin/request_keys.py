"""Requests under an Idempotency-Key, and what was answered."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.pages import Page, facts
from payouts.models import RequestKey


@admin.register(RequestKey)
class RequestKeyAdmin(ObjectAdmin[RequestKey]):
    explanation = "Requests under an Idempotency-Key; the answer is kept for a week and given again."
    list_display = ("key", "caller", "answer", "asked")
    search_fields = ("=key", "=caller")
    search_help_text = "a key, or a caller as api:sk_..."
    ordering = ("-id",)
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestKey]:
        return super().get_queryset(request).defer("body")

    def answer(self, row: RequestKey) -> SafeString:
        return cells.pill("pending", text="in flight") if row.status is None else cells.pill("ok", text=str(row.status))

    def asked(self, row: RequestKey) -> SafeString:
        return cells.when(row.created_at)

    def page(self, _request: Any, obj: RequestKey) -> Page:
        return Page(
            headline=f"Request {obj.key}",
            pills=(self.answer(obj),),
            sections=(
                facts(
                    "Request",
                    ("Caller", obj.caller),
                    ("SHA-256 of method, address and body", obj.fingerprint),
                    ("Asked", cells.when(obj.created_at)),
                    ("Answer", bytes(obj.body).decode(errors="replace")),
                ),
            ),
        )
