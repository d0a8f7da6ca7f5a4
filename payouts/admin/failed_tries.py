"""Who could not prove who it is, and what was turned away for it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.operations import Done, Operation
from config.lib.adminkit.pages import Page, facts
from config.lib.audit import Actor
from payouts import services
from payouts.models import FailedTries, RejectedDeliveries


def _forget(row: FailedTries, actor: Actor, given: dict[str, Any]) -> Done:
    services.forget_failures_of(tries=row, actor=actor, reason=given["reason"])
    return Done(message="Forgotten: it is heard again within seconds.")


FORGET: Operation[FailedTries] = Operation(
    name="forget",
    label="Hear it again",
    icon="lock_open",
    consequence=lambda row: (
        f"The {row.failures} failures are forgotten, and who made them may try again within seconds."
    ),
    why_not=lambda row: "" if row.failures else "There are no failures left.",
    seen=lambda row: f"{row.failures} {row.failed_at}",
    run=_forget,
    needs_proof=True,
)


@admin.register(FailedTries)
class FailedTriesAdmin(ObjectAdmin[FailedTries]):
    explanation = (
        "Bad signatures, keys, tokens and log-ins of late. Beyond a bound a caller has to wait; what it proves is taken all the"
        " same. Names that were typed are kept as a hash only."
    )
    list_display = ("caller", "kind", "failures", "last")
    list_filter = ("kind",)
    search_fields = ("=who",)
    search_help_text = "an address, or of IPv6 its networks as in 2001:db8::/64 and 2001:db8::/48"
    ordering = ("-failed_at",)
    sortable_by = ()
    operations = (FORGET,)

    @admin.display(description="who")
    def caller(self, row: FailedTries) -> SafeString:
        return cells.short(row.who)

    def last(self, row: FailedTries) -> SafeString:
        return cells.when(row.failed_at)

    def page(self, _request: HttpRequest, obj: FailedTries) -> Page:
        return Page(
            headline=format_html("{} failures to prove itself", obj.failures),
            sections=(
                facts(
                    "Failures",
                    ("Who", self.caller(obj)),
                    ("By", obj.get_kind_display()),
                    ("First", cells.when(obj.since)),
                    ("Last", cells.when(obj.failed_at)),
                ),
            ),
        )


@admin.register(RejectedDeliveries)
class RejectedDeliveriesAdmin(ObjectAdmin[RejectedDeliveries]):
    explanation = (
        "How many deliveries were turned away since the first day; the newest of them are among the deliveries."
    )
    list_display = ("source", "why", "number")
    ordering = ("source", "why")
    sortable_by = ()

    def number(self, row: RejectedDeliveries) -> SafeString:
        return cells.count(row.total)

    def page(self, _request: HttpRequest, obj: RejectedDeliveries) -> Page:
        return Page(
            headline=format_html("{} rejected deliveries", f"{obj.total:,}"),
            sections=(facts("Deliveries", ("Source", obj.source), ("Why", obj.why)),),
        )
