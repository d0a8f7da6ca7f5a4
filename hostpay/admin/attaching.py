"""What an operator may do after a restore: say for which payment an order of the exchange was made."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from config.lib.adminkit.links import page_of
from config.lib.adminkit.operations import Done, Operation, OperationForm, describe_state
from config.lib.audit import Actor
from config.lib.errors import ProviderError, RefusedError
from hostpay import services
from hostpay.admin.operations import asked_of_chain
from hostpay.models import ApprovalAction, HostPayment, PaymentStatus
from hostpay.services.reconciling import attach_order


class _AttachForm(OperationForm):
    order_id = forms.CharField(
        max_length=64,
        label="The exchange's id of the order",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    field_order = ("order_id", "reason")


def _why_not(payment: HostPayment) -> str:
    if payment.status in {PaymentStatus.REQUESTED, PaymentStatus.ORDERED}:
        return ""
    return f"It is {payment.status}: only a payment that was never signed can have lost its order."


def _attach(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    try:
        attach_order(payment=payment, order_id=given["order_id"].strip(), actor=actor, reason=given["reason"])
    except ProviderError as error:
        raise RefusedError(
            why=f"The exchange could not be asked: {error}.", next_step="Try again when it answers."
        ) from None
    return Done(
        message=f"The order is attached to payment {payment}. Adopt what paid it, on the page of a reconciliation."
    )


ATTACH: Operation[HostPayment] = Operation(
    name="attach",
    label="Attach an order of the exchange",
    icon="link",
    is_grave=True,
    form_class=_AttachForm,
    consequence=lambda payment: (
        f"After a restore: you say that an order at the exchange, which the books have forgotten, was made for payment {payment}"
        " and is paid. The exchange is asked whether amount and addresses are this payment's. The payment then waits in review,"
        " and the wallet is halted, if it is not yet; what paid the order is adopted from the chain, if our key signed it. Nothing is signed or sent by this."
    ),
    why_not=_why_not,
    seen=describe_state,
    typed=lambda _: "ATTACH",
    run=_attach,
    needs_proof=True,
)


# --- what nobody can attach or adopt any more


def _propose_take_on(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with asked_of_chain():
        approval = services.propose_take_on(payment=payment, actor=actor, reason=given["reason"])
    return Done(
        message=f"Proposed. Another operator must approve it before {approval.expires_at:%Y-%m-%d %H:%M} UTC.",
        url=page_of(approval),
    )


PROPOSE_TAKE_ON: Operation[HostPayment] = Operation(
    name="propose-take-on",
    label="Propose to take on what our key paid",
    icon="rule",
    is_grave=True,
    consequence=lambda payment: (
        f"After a restore: our key paid an order of payment {payment}, which the books do not know and cannot adopt. You propose"
        " that the difference may be signed off and the wallet's halt be lifted. Nothing is credited by this. Members that are"
        " pending go into the next batch, and are paid a second time: hold them before. The chain is asked now, and again when"
        " another operator approves it."
    ),
    why_not=partial(services.why_not_propose, ApprovalAction.TAKE_ON),
    seen=describe_state,
    run=_propose_take_on,
)
