"""The rules by which batches are made, in versions."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from batches.admin.operations import SET_POLICY
from batches.models import ConversionPolicy
from batches.services import current_policy
from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.pages import Page, facts


@admin.register(ConversionPolicy)
class ConversionPolicyAdmin(ObjectAdmin[ConversionPolicy]):
    explanation = (
        "The highest version is in force from the next check on. A change is a new version; none is ever edited."
    )
    list_display = ("version", "threshold", "receipts", "tolerance", "reason", "created_by", "made")
    ordering = ("-version",)
    sortable_by = ()
    list_operations = (SET_POLICY,)

    def threshold(self, policy: ConversionPolicy) -> SafeString:
        return cells.usd(policy.threshold_usd)

    @admin.display(description="without receipt")
    def receipts(self, policy: ConversionPolicy) -> str:
        return cells.yes_no(policy.converts_unreceipted, yes="converted", no="left out")

    def tolerance(self, policy: ConversionPolicy) -> SafeString:
        return _percent_of_bps(policy.tolerance_bps)

    def made(self, policy: ConversionPolicy) -> SafeString:
        return cells.when(policy.created_at)

    def page(self, _request: HttpRequest, obj: ConversionPolicy) -> Page:
        in_force = obj.version == current_policy().version
        return Page(
            headline=f"Policy version {obj.version}",
            pills=(cells.pill("ok", text="in force") if in_force else cells.pill("off", text="superseded"),),
            subline=format_html("by {} {}", obj.created_by, cells.when(obj.created_at)),
            sections=(
                facts(
                    "Rules",
                    ("Threshold", cells.usd(obj.threshold_usd)),
                    ("Without a recorded receipt", self.receipts(obj)),
                    ("Tolerance of what is received", _percent_of_bps(obj.tolerance_bps)),
                    ("Why", obj.reason),
                ),
            ),
        )


def _percent_of_bps(bps: int) -> SafeString:
    return format_html('<span class="s-num">{} %</span>', f"{bps // 100}.{bps % 100:02d}")
