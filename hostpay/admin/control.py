"""What holds money back until a person decides: breaker openings, approvals by two, the health of who we call."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib import clock
from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.links import linked
from config.lib.adminkit.pages import Page, facts, raw
from hostpay.admin.guards import APPROVE, CLOSE_BREAKER, OPEN_BREAKER, REJECT
from hostpay.models import Approval, Breaker, ServiceHealth


@admin.register(Breaker)
class BreakerAdmin(ObjectAdmin[Breaker]):
    explanation = "Openings of the circuit breaker. While one is open nothing new is signed; a person closes it."
    list_display = ("what", "state", "detail", "opened_by", "opened", "closed", "closed_by")
    list_filter = ("cause",)
    ordering = ("-id",)
    sortable_by = ()
    operations = (CLOSE_BREAKER,)
    list_operations = (OPEN_BREAKER,)

    @admin.display(description="cause")
    def what(self, breaker: Breaker) -> str:
        return breaker.get_cause_display()

    def state(self, breaker: Breaker) -> SafeString:
        return cells.pill("off", text="closed") if breaker.closed_at else cells.pill("paused", text="open")

    def opened(self, breaker: Breaker) -> SafeString:
        return cells.when(breaker.opened_at)

    def closed(self, breaker: Breaker) -> SafeString:
        return cells.when(breaker.closed_at)

    def page(self, request: HttpRequest, obj: Breaker) -> Page:
        return Page(
            headline=f"Breaker: {obj.get_cause_display()}",
            pills=(self.state(obj),),
            subline=format_html("opened by {} {}", obj.opened_by, cells.when(obj.opened_at)),
            alarm="" if obj.closed_at else obj.detail,
            sections=(
                facts(
                    "Opening",
                    ("Why", obj.detail),
                    ("Closed", cells.when(obj.closed_at)),
                    ("Closed by", obj.closed_by),
                    ("Closed because", obj.close_reason),
                ),
            ),
        )


@admin.register(Approval)
class ApprovalAdmin(ObjectAdmin[Approval]):
    explanation = "What takes two people: proposed by one, done only when another approves exactly that."
    list_display = ("what", "state", "for_payment", "reason", "proposed_by", "proposed", "expires", "decided_by")
    list_filter = ("decision", "action")
    list_select_related = ("payment",)
    ordering = ("-proposed_at", "-id")
    sortable_by = ()
    operations = (APPROVE, REJECT)

    @admin.display(description="action")
    def what(self, approval: Approval) -> str:
        return approval.get_action_display()

    def state(self, approval: Approval) -> SafeString:
        if approval.decision:
            return cells.pill("ok" if approval.decision == "approved" else "failed", text=approval.decision)
        is_open = approval.is_open(clock.now())
        return cells.pill("waiting", text="waits for a second person") if is_open else cells.pill("off", text="run out")

    @admin.display(description="payment")
    def for_payment(self, approval: Approval) -> SafeString:
        return linked(approval.payment)

    def proposed(self, approval: Approval) -> SafeString:
        return cells.when(approval.proposed_at)

    def expires(self, approval: Approval) -> SafeString:
        return cells.when(approval.expires_at)

    def page(self, request: HttpRequest, obj: Approval) -> Page:
        return Page(
            headline=obj.get_action_display().capitalize(),
            pills=(self.state(obj),),
            subline=format_html("proposed by {} {}", obj.proposed_by, cells.when(obj.proposed_at)),
            sections=(
                facts(
                    "Proposal",
                    ("Payment", linked(obj.payment)),
                    ("Why", obj.reason),
                    ("Runs out", cells.when(obj.expires_at)),
                    ("Decided by", obj.decided_by),
                    ("Decided", cells.when(obj.decided_at)),
                    ("Done", cells.when(obj.executed_at)),
                ),
                raw("What is to be done", obj.payload),
            ),
        )


@admin.register(ServiceHealth)
class ServiceHealthAdmin(ObjectAdmin[ServiceHealth]):
    explanation = "How calls to each outside service went lately. After failures in a row it is left alone for a while."
    list_display = ("name", "state", "failures", "succeeded", "failed", "resting", "last_error")
    ordering = ("name",)
    sortable_by = ()

    def state(self, health: ServiceHealth) -> SafeString:
        if health.resting_until is not None and health.resting_until > clock.now():
            return cells.pill("blocked", text="left alone")
        return cells.pill("failed", text="failing") if health.failures else cells.pill("ok")

    def succeeded(self, health: ServiceHealth) -> SafeString:
        return cells.when(health.succeeded_at)

    def failed(self, health: ServiceHealth) -> SafeString:
        return cells.when(health.failed_at)

    @admin.display(description="left alone until")
    def resting(self, health: ServiceHealth) -> SafeString:
        return cells.when(health.resting_until)

    def page(self, request: HttpRequest, obj: ServiceHealth) -> Page:
        return Page(
            headline=obj.name,
            pills=(self.state(obj),),
            sections=(
                facts(
                    "Calls",
                    ("Failures in a row", cells.count(obj.failures)),
                    ("Last success", cells.when(obj.succeeded_at)),
                    ("Last failure", cells.when(obj.failed_at)),
                    ("Left alone until", cells.when(obj.resting_until)),
                    ("Last error", obj.last_error),
                ),
            ),
        )
