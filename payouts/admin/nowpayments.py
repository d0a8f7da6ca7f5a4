"""Payments at NOWPayments, as its notifications and answers tell of them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin, StatusChangeAdmin
from config.lib.adminkit.export_columns import fields
from config.lib.adminkit.links import linked
from config.lib.adminkit.operations import Done, Operation, describe_state
from config.lib.adminkit.pages import Page, Table, columns, facts, history
from config.lib.audit import Actor
from payouts import services
from payouts.models import NOWPAYMENTS_SOURCE, AccumulationStatus, InboundEvent, NowPayment, NowPaymentStatusChange


def _consequence(payment: NowPayment) -> str:
    if payment.accumulation is not None:
        held = ""
        if payment.accumulation.status == AccumulationStatus.HELD:
            held = ", and held until somebody lets it go on or voids it, on its own page"
        return f"The question is settled; what was booked stays as it is{held}. It was: {payment.review_reason}"
    if payment.set_aside_at is not None:
        return f"Payment {payment.payment_id} stays set aside, and nothing is booked. It was: {payment.review_reason}"
    return (
        f"Payment {payment.payment_id} is tried again at once with what is stored of it, and booked if nothing else"
        f" stands against that. The question was: {payment.review_reason}"
    )


def _close(payment: NowPayment, actor: Actor, given: dict[str, Any]) -> Done:
    services.close_review(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=f"The review of payment {payment.payment_id} is closed.")


CLOSE_REVIEW: Operation[NowPayment] = Operation(
    name="close-review",
    label="Close the review",
    icon="task_alt",
    consequence=_consequence,
    why_not=lambda payment: "" if payment.review_reason else "Nothing is to be decided.",
    seen=describe_state,
    # It books what a guard kept from being booked.
    needs_proof=True,
    run=_close,
)


def _set_aside(payment: NowPayment, actor: Actor, given: dict[str, Any]) -> Done:
    services.set_aside(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=f"Payment {payment.payment_id} is set aside.")


def _why_not_set_aside(payment: NowPayment) -> str:
    if payment.accumulation_id is not None:
        return "It is booked: hold or void its accumulation."
    return "It is set aside already." if payment.set_aside_at is not None else ""


SET_ASIDE: Operation[NowPayment] = Operation(
    name="set-aside",
    label="Book nothing for it",
    icon="block",
    is_grave=True,
    consequence=lambda payment: (
        f"Nothing is ever booked for payment {payment.payment_id} of {payment.order_id or 'nobody named'}, whatever"
        " NOWPayments tells of it; what is owed for it must be settled otherwise, say where. It can be taken up again."
        + (f" The question was: {payment.review_reason}" if payment.review_reason else "")
    ),
    why_not=_why_not_set_aside,
    seen=describe_state,
    run=_set_aside,
)


def _take_up(payment: NowPayment, actor: Actor, given: dict[str, Any]) -> Done:
    services.take_up_again(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=f"Payment {payment.payment_id} is taken up again.")


TAKE_UP_AGAIN: Operation[NowPayment] = Operation(
    name="take-up-again",
    label="Take it up again",
    icon="undo",
    consequence=lambda payment: (
        f"Payment {payment.payment_id} is tried again with what is stored of it, and booked once its money has arrived."
    ),
    why_not=lambda payment: "" if payment.set_aside_at is not None else "It is not set aside.",
    seen=describe_state,
    # It books what a guard kept from being booked.
    needs_proof=True,
    run=_take_up,
)


@admin.register(NowPayment)
class NowPaymentAdmin(ObjectAdmin[NowPayment]):
    explanation = "Each payment at NOWPayments: the furthest that was ever heard of it, and what it became here."
    list_display = ("payment", "state", "order", "asked", "outcome", "booked", "question", "age")
    exported = (
        *fields("payment_id", "parent_payment_id", "status", "order_id", "price_amount", "price_currency"),
        *fields("pay_amount", "pay_currency", "actually_paid", "outcome_amount", "outcome_currency"),
        *fields(
            "valued_usd",
            "eth_usd",
            "accumulation_id",
            "review_reason",
            "set_aside_at",
            "provider_updated_at",
            "created_at",
        ),
    )
    list_filter = ("status", "review_cause")
    list_select_related = ("accumulation",)
    search_fields = ("=payment_id", "=parent_payment_id")
    search_help_text = "NOWPayments' whole number of the payment, or of its parent"
    ordering = ("-id",)
    sortable_by = ()
    operations = (CLOSE_REVIEW, SET_ASIDE, TAKE_UP_AGAIN)

    def payment(self, payment: NowPayment) -> SafeString:
        return format_html("<code>{}</code>", payment.payment_id)

    def state(self, payment: NowPayment) -> SafeString:
        return cells.pill("review" if payment.review_reason else payment.status, text=payment.status)

    def order(self, payment: NowPayment) -> str:
        return payment.order_id if len(payment.order_id) <= 40 else f"{payment.order_id[:36]}…"

    def asked(self, payment: NowPayment) -> str:
        return f"{payment.price_amount} {payment.price_currency}".strip()

    def outcome(self, payment: NowPayment) -> str:
        return f"{payment.outcome_amount} {payment.outcome_currency}".strip()

    def booked(self, payment: NowPayment) -> SafeString:
        return linked(payment.accumulation)

    def question(self, payment: NowPayment) -> str:
        return payment.review_reason if len(payment.review_reason) <= 60 else f"{payment.review_reason[:60]}…"

    def age(self, payment: NowPayment) -> SafeString:
        return cells.when(payment.created_at)

    def page(self, _request: HttpRequest, obj: NowPayment) -> Page:
        return Page(
            headline=format_html("Payment {} at NOWPayments", cells.whole(obj.payment_id)),
            pills=(self.state(obj),),
            subline=format_html("first heard of {}", cells.when(obj.created_at)),
            alarm=obj.review_reason,
            sections=(
                facts(
                    "Payment",
                    ("Order id", obj.order_id),
                    ("A later deposit of", obj.parent_payment_id),
                    ("Asked for", self.asked(obj)),
                    ("In the customer's asset", f"{obj.pay_amount} {obj.pay_currency}".strip()),
                    ("Customer sent", f"{obj.actually_paid} {obj.pay_currency}".strip() if obj.actually_paid else ""),
                    ("Pay address", cells.short(obj.pay_address)),
                    ("Reached us", self.outcome(obj)),
                    ("Valued at", cells.usd(obj.valued_usd)),
                    ("By a price of one ETH of", cells.usd(obj.eth_usd)),
                    ("Accumulation", linked(obj.accumulation)),
                    note="The asked price is owed only for an original payment in USD that was paid whole and brought its worth.",
                ),
                facts(
                    "Where it stands",
                    ("Set aside", cells.when(obj.set_aside_at)),
                    ("Provider's time", cells.when(obj.provider_updated_at)),
                    ("Told by", linked(obj.event)),
                    ("Looked at again", cells.when(obj.next_action_at)),
                    ("Asked in this status", cells.times(obj.looks)),
                    ("Last error", obj.last_error),
                ),
                _deliveries(obj),
                history(obj.status_changes.order_by("-id")[:200]),
            ),
        )


@admin.register(NowPaymentStatusChange)
class NowPaymentStatusChangeAdmin(StatusChangeAdmin):
    pass


def _deliveries(payment: NowPayment) -> Table:
    told = InboundEvent.objects.filter(source=NOWPAYMENTS_SOURCE, event_id=payment.payment_id)
    return Table(
        title="Notifications and answers",
        columns=columns("Event", "Outcome", "Received"),
        rows=[
            (linked(event), cells.pill(event.outcome), cells.when(event.received_at))
            for event in told.defer("body", "headers").order_by("-id")[:50]
        ],
    )
