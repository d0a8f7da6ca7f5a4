"""What an operator may decide while the exchange has our money and something about it is in doubt."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.db import transaction
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from config.lib.adminkit import cells
from config.lib.adminkit.links import page_of
from config.lib.adminkit.operations import Done, Operation, OperationForm, describe_state
from config.lib.audit import Actor
from config.lib.money import ETH, MoneyError, format_units, parse_coin_amount
from hostpay import services
from hostpay.admin.operations import arrived_units, asked_of_chain, look_now
from hostpay.models import TERMINAL, Approval, ApprovalAction, HostPayment, PaymentStatus


def _why_no_doubt(payment: HostPayment) -> str:
    if payment.status != PaymentStatus.FINAL:
        return f"It is {payment.status}; only while the exchange has the money there is something to decide."
    if not payment.review_reason:
        return "It is not in review: it goes its way by itself."
    return ""


def _wait_consequence(payment: HostPayment) -> str:
    hours = round(services.WAIT_FOR.total_seconds() / 3600)
    return (
        f"The doubt “{payment.review_reason}” is put aside for {hours} hours. The exchange and the chain are looked at"
        f" meanwhile; {cells.usdt_text(arrived_units(payment))} USDT have arrived, and nothing of it is shared. If all is"
        " as it should be, the payment settles by itself. Any other doubt comes up at once."
    )


def _wait(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with transaction.atomic():
        services.wait_for_rest(payment=payment, actor=actor, reason=given["reason"])
        look_now(payment)
    return Done(message=f"Payment {payment} waits for the rest.")


WAIT: Operation[HostPayment] = Operation(
    name="wait",
    label="Wait for the rest",
    icon="hourglass_empty",
    consequence=_wait_consequence,
    why_not=_why_no_doubt,
    seen=describe_state,
    run=_wait,
)


def _escalate_consequence(payment: HostPayment) -> str:
    return (
        f"The history says from now on that “{payment.review_reason}” was taken up with the provider, and by whom. Give its"
        " ticket as the reason. The review stays open, and no money moves."
    )


def _escalate(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    services.escalate(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=f"It is noted that payment {payment} is with the provider.")


ESCALATE: Operation[HostPayment] = Operation(
    name="escalate",
    label="Note that the provider was asked",
    icon="support_agent",
    consequence=_escalate_consequence,
    why_not=_why_no_doubt,
    seen=describe_state,
    run=_escalate,
)


# --- what takes two people, as it ends a payment whose ETH is at the exchange


class RefundForm(OperationForm):
    """The transaction that brought the ETH back, and how much it brought."""

    tx_hash = forms.CharField(
        label="Transaction",
        max_length=66,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Its hash, as a block explorer shows it.",
    )
    amount = forms.CharField(
        label="ETH of it that are this payment's",
        max_length=40,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "inputmode": "decimal"}),
        help_text="Read it off the chain; it is compared with what the nodes can still tell.",
    )

    is_part = forms.BooleanField(
        required=False,
        label="The transaction brought more than that, for other payments",
        widget=UnfoldBooleanSwitchWidget,
        help_text="What all payments get of it is never more than it brought.",
    )

    field_order = ("tx_hash", "amount", "is_part", "reason")

    def clean_amount(self) -> int:
        try:
            return parse_coin_amount(self.cleaned_data["amount"].strip(), ETH, field="amount")
        except MoneyError as error:
            raise forms.ValidationError(str(error), code="no_amount") from None


def _named_refund(payment: HostPayment) -> dict[str, Any]:
    current = payment.orders.filter(is_current=True).first()
    return {"tx_hash": current.refund_hash if current else ""}


def _refund_consequence(payment: HostPayment) -> str:
    if payment.status in TERMINAL:
        asked = f"{payment.review_reason}. " if payment.review_reason else ""
        return (
            f"{asked}You propose to book what came back after the end of this payment of"
            f" {format_units(payment.send_units, ETH)}. The payment and its loss stay as they are, and its members get nothing"
            " of it. The chain is asked now, and again when another operator approves it."
        )
    return (
        f"{payment.review_reason}. You propose to end the payment of {format_units(payment.send_units, ETH)} with what came"
        " back, and to book what is missing as a loss of the house; its batch fails, and the members are pending again in"
        " full. The chain is asked now, and again when another operator approves it."
    )


def _propose_refund(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with asked_of_chain():
        approval = services.propose_refund(
            payment=payment,
            tx_hash=given["tx_hash"],
            units=given["amount"],
            is_part=given["is_part"],
            actor=actor,
            reason=given["reason"],
        )
    return Done(message=_proposed(approval), url=page_of(approval))


PROPOSE_REFUND: Operation[HostPayment] = Operation(
    name="propose-refund",
    label="Propose to accept a refund",
    icon="undo",
    is_grave=True,
    form_class=RefundForm,
    initial=_named_refund,
    consequence=_refund_consequence,
    why_not=partial(services.why_not_propose, ApprovalAction.ACCEPT_REFUND),
    seen=describe_state,
    run=_propose_refund,
)


def _write_off_consequence(payment: HostPayment) -> str:
    return (
        f"{payment.review_reason}. You propose to book all {format_units(payment.send_units, ETH)} of the payment as a loss of"
        " the house; its batch fails, and the members are pending again: another batch pays for them. What the exchange pays"
        " after that is told, and credited to nobody. Another operator must approve it."
    )


def _propose_write_off(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with asked_of_chain():
        approval = services.propose_write_off(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=_proposed(approval), url=page_of(approval))


PROPOSE_WRITE_OFF: Operation[HostPayment] = Operation(
    name="propose-write-off",
    label="Propose to write it off",
    icon="money_off",
    is_grave=True,
    consequence=_write_off_consequence,
    why_not=partial(services.why_not_propose, ApprovalAction.WRITE_OFF),
    seen=describe_state,
    typed=lambda payment: format_units(payment.send_units, ETH),
    run=_propose_write_off,
)


def _proposed(approval: Approval) -> str:
    return f"Proposed. Another operator must approve it before {approval.expires_at:%Y-%m-%d %H:%M} UTC."


# --- what came up after the end


def _why_not_close_review(payment: HostPayment) -> str:
    if payment.delivered_at is None:
        return "It has not ended, or its requester was not told."
    return "" if payment.review_reason else "No review is open."


def _close_review(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    services.close_review(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=f"The review of payment {payment} is closed.")


CLOSE_REVIEW: Operation[HostPayment] = Operation(
    name="close-review",
    label="Close the review",
    icon="task_alt",
    consequence=lambda payment: (
        f"You say that this was looked into: “{payment.review_reason}” Nothing is credited or paid by it; say what was done"
        " with the money, it goes into the history. News of another kind come up again."
    ),
    why_not=_why_not_close_review,
    seen=describe_state,
    run=_close_review,
)
