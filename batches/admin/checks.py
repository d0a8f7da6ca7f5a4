"""Threshold checks: every look at the pending total, and what it decided."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from batches.admin.operations import CHECK_NOW, CREATE_BATCH
from batches.models import Decision, ThresholdCheck
from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import field, fields
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import Flow, Page, facts
from config.lib.money import usd_text

DECISION_TONES = {
    Decision.CREATED: "created-batch",
    Decision.BELOW: "below",
    Decision.BLOCKED: "blocked",
    Decision.REHEARSED: "rehearsed",
}


@admin.register(ThresholdCheck)
class ThresholdCheckAdmin(ObjectAdmin[ThresholdCheck]):
    explanation = "Every look at the pending total, kept with what it saw, decided and why."
    list_display = ("checked", "outcome", "total", "threshold", "count", "oldest", "batch_link", "actor")
    exported = (
        *fields("id", "checked_at", "decision", "is_forced"),
        field("blockers", lambda check: "; ".join(check.blockers)),
        *fields("total_usd", "threshold_usd", "member_count", "oldest_pending_at", "batch_id", "actor"),
    )
    list_filter = ("decision", "is_forced")
    list_select_related = ("batch",)
    ordering = ("-id",)
    sortable_by = ()
    list_operations = (CHECK_NOW, CREATE_BATCH)

    def checked(self, check: ThresholdCheck) -> SafeString:
        return cells.when(check.checked_at)

    def outcome(self, check: ThresholdCheck) -> SafeString:
        return decision_pill(check)

    def total(self, check: ThresholdCheck) -> SafeString:
        return cells.usd(check.total_usd)

    def threshold(self, check: ThresholdCheck) -> SafeString:
        return cells.usd(check.threshold_usd)

    @admin.display(description="payments")
    def count(self, check: ThresholdCheck) -> SafeString:
        return cells.count(check.member_count)

    @admin.display(description="oldest")
    def oldest(self, check: ThresholdCheck) -> SafeString:
        return cells.when(check.oldest_pending_at)

    @admin.display(description="batch")
    def batch_link(self, check: ThresholdCheck) -> SafeString:
        return linked(check.batch)

    def page(self, _request: HttpRequest, obj: ThresholdCheck) -> Page:
        return Page(
            headline="Threshold check",
            pills=(decision_pill(obj), *((cells.pill("off", text="forced"),) if obj.is_forced else ())),
            subline=format_html("by {} {}", obj.actor, cells.when(obj.checked_at)),
            flow=(
                Flow(text=usd_text(obj.total_usd), label=f"{obj.member_count:,} payments pending"),
                Flow(
                    text=usd_text(obj.threshold_usd),
                    label="threshold",
                    is_ahead=obj.total_usd < obj.threshold_usd,
                ),
            ),
            alarm=" ".join(obj.blockers) if obj.decision == Decision.BLOCKED else "",
            sections=(
                facts(
                    "Check",
                    ("Decided", obj.get_decision_display()),
                    ("Because", "; ".join(obj.blockers) or "every rule was met"),
                    ("Batch", linked(obj.batch)),
                    ("Oldest pending", cells.when(obj.oldest_pending_at)),
                    ("Policy", linked(obj.policy)),
                ),
            ),
        )


def decision_pill(check: ThresholdCheck) -> SafeString:
    """The decision in its colour."""
    return cells.pill(
        DECISION_TONES[Decision(check.decision)], text=check.get_decision_display(), title="; ".join(check.blockers)
    )
