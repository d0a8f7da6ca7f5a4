"""What an operator may decide while the exchange has our money and something about it is in doubt."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from config.lib.adminkit import cells
from config.lib.adminkit.operations import Done, Operation, describe_state
from config.lib.audit import Actor
from config.lib.money import ETH, format_units
from hostpay import services
from hostpay.admin.operations import arrived_units, look_now
from hostpay.models import HostPayment, PaymentStatus


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


def _why_not_take_back(payment: HostPayment) -> str:
    if not payment.orders.filter(is_current=True).exclude(refund_hash="").exists():
        return "The exchange has named no refund of it."
    return _why_no_doubt(payment)


def _take_back_consequence(payment: HostPayment) -> str:
    return (
        f"{payment.review_reason}. The payment of {format_units(payment.send_units, ETH)} ends with what came back, and what"
        " is missing is booked as a loss of the house. Its batch fails, and the members are pending again in full."
    )


def _take_back(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with transaction.atomic():
        services.accept_refund(payment=payment, actor=actor, reason=given["reason"])
        look_now(payment)
    return Done(message=f"Payment {payment} ends with its refund, if that is as it was.")


ACCEPT_REFUND: Operation[HostPayment] = Operation(
    name="accept-refund",
    label="Accept the refund",
    icon="undo",
    is_grave=True,
    consequence=_take_back_consequence,
    why_not=_why_not_take_back,
    seen=describe_state,
    typed=lambda _: "REFUND",
    run=_take_back,
)
