"""What an operator may do about what holds money back: the breaker, a halted wallet, and what takes two people."""

from __future__ import annotations

from functools import partial
from typing import Any

from config.lib import clock
from config.lib.adminkit import cells
from config.lib.adminkit.links import page_of
from config.lib.adminkit.operations import Done, Operation, describe_state
from config.lib.audit import Actor
from config.lib.money import ETH, format_units
from hostpay import services
from hostpay.admin.operations import asked_of_chain, look_now
from hostpay.models import TERMINAL, Approval, ApprovalAction, Breaker, BreakerCause, HostPayment, Wallet

# --- the breaker


def _open(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    opened = services.open_breaker(cause=BreakerCause.OPERATOR, detail=given["reason"], actor=actor)
    return Done(message="The breaker is open: nothing more is signed.", url=page_of(opened))


OPEN_BREAKER: Operation[None] = Operation(
    name="open",
    label="Open the breaker",
    icon="electrical_services",
    is_grave=True,
    consequence=lambda _: (
        "Nothing more is signed until a person closes it again: no payment, no replacement with higher fees, no cancel. "
        "What is signed already goes on to its end. To stop signing for a known time, pause it instead."
    ),
    run=_open,
)


def _why_not_close(breaker: Breaker) -> str:
    return f"It was closed by {breaker.closed_by}: {breaker.close_reason}" if breaker.closed_at else ""


def _close_consequence(breaker: Breaker) -> str:
    others = [str(each) for each in services.open_breakers() if each.pk != breaker.pk]
    after = f"It stays open all the same for: {'; '.join(others)}." if others else "Signing goes on at once."
    return f"You say that this was looked into and is no danger any more: “{breaker.detail}” {after}"


def _close(breaker: Breaker, actor: Actor, given: dict[str, Any]) -> Done:
    services.close_breaker(breaker=breaker, actor=actor, reason=given["reason"])
    return Done(message=f"Closed: {breaker.get_cause_display()}.")


CLOSE_BREAKER: Operation[Breaker] = Operation(
    name="close",
    label="Close",
    icon="play_circle",
    is_grave=True,
    consequence=_close_consequence,
    why_not=_why_not_close,
    seen=lambda breaker: str(breaker.closed_at),
    typed=lambda _: "CLOSE",
    run=_close,
    needs_proof=True,
)


# --- a halted wallet


def _why_not_lift(wallet: Wallet) -> str:
    return "" if wallet.halted_at else "It is not halted."


def _lift(wallet: Wallet, actor: Actor, given: dict[str, Any]) -> Done:
    with asked_of_chain():
        services.lift_halt(wallet=wallet, actor=actor, reason=given["reason"])
    return Done(message=f"Wallet {wallet.address} may sign again.")


def _lift_consequence(wallet: Wallet) -> str:
    said = (
        f"The wallet signs again, from the nonce at which the chain is now. It was halted because: “{wallet.halted_reason}”"
        " Before you go on: find every transaction of this wallet that is on chain and not in our books. If one of them"
        " paid for a payment below, that payment would be paid a second time."
    )
    if wallet.nonce_slots.exists():
        return said
    return (
        f"{said} These books have signed nothing yet: what the wallet has sent since their first payment is looked up now. If"
        " the node no longer keeps the states of that time, as only an archive node does for long, nothing is looked up, and"
        " you vouch for all of it."
    )


LIFT_HALT: Operation[Wallet] = Operation(
    name="lift_halt",
    label="Lift the halt",
    icon="play_circle",
    is_grave=True,
    consequence=_lift_consequence,
    why_not=_why_not_lift,
    seen=lambda wallet: str(wallet.halted_at),
    typed=lambda wallet: wallet.address[-6:],
    run=_lift,
    needs_proof=True,
)


# --- what takes two people


def _propose(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    approval = services.propose_cancel(payment=payment, actor=actor, reason=given["reason"])
    return Done(
        message=f"Proposed. Another operator must approve it before {approval.expires_at:%Y-%m-%d %H:%M} UTC.",
        url=page_of(approval),
    )


PROPOSE_CANCEL: Operation[HostPayment] = Operation(
    name="propose_cancel",
    label="Propose to cancel on chain",
    icon="undo",
    is_grave=True,
    consequence=lambda payment: (
        f"You propose to spend the nonce of payment {payment} on nothing, so that its signed bytes can never be mined. "
        "Another operator must approve it. Which of the two the chain takes, it decides: it may still be the payment."
    ),
    why_not=partial(services.why_not_propose, ApprovalAction.CANCEL_PAYMENT),
    seen=describe_state,
    run=_propose,
)


def _why_not_decide(approval: Approval) -> str:
    if approval.decision:
        return f"It was {approval.decision} by {approval.decided_by}."
    return "" if approval.is_open(clock.now()) else "It has run out; propose it anew."


def _approve_consequence(approval: Approval) -> str:
    return (
        f"{approval.proposed_by} proposed to {approval.get_action_display()} {cells.relative(approval.proposed_at)}: "
        f"“{approval.reason}” {_effect_of(approval)} It cannot be taken back. Whoever proposed it cannot approve it."
    )


def _effect_of(approval: Approval) -> str:
    said = approval.payload
    if approval.action == ApprovalAction.ACCEPT_REFUND and approval.payment.status in TERMINAL:
        return (
            f"With your approval {_eth(said['refunded_wei'])} that came back in {said['refund_tx']} ({said['proof']}) are booked"
            f" after the end of the payment of {_eth(said['value_wei'])}, which stays as it is, and its review is closed."
        )
    if approval.action == ApprovalAction.ACCEPT_REFUND:
        return (
            f"With your approval the payment of {_eth(said['value_wei'])} ends with {_eth(said['refunded_wei'])} that"
            f" came back in {said['refund_tx']} ({said['proof']}), and {_eth(said['lost_wei'])} are booked as a loss of"
            " the house. Its batch fails, and the members are pending again in full."
        )
    if approval.action == ApprovalAction.WRITE_OFF:
        return (
            f"With your approval all {_eth(said['lost_wei'])} at exchange {said['exchange']}, which says"
            f" {said['provider_status'] or 'nothing'}, are booked as a loss of the house. Its batch fails, and the members"
            " are pending again: another batch pays for them. If the exchange pays after all, that is told, and credited"
            " to nobody."
        )
    if approval.action == ApprovalAction.TAKE_ON:
        return (
            f"With your approval {_eth(said['paid_wei'])} that our key sent to its order by {said['paid_by']} hold no halt any"
            " more: the run can be signed off, and the payment be closed. Nothing is credited; whoever was paid by it and is"
            " pending is paid a second time."
        )
    return "With your approval the signer signs it at once."


def _eth(wei: str) -> str:
    return format_units(int(wei), ETH)


def _approve(approval: Approval, actor: Actor, given: dict[str, Any]) -> Done:
    with asked_of_chain():
        services.approve(approval=approval, actor=actor, reason=given["reason"])
    look_now(approval.payment)
    return Done(message=f"Approved to {approval.get_action_display()}; it is done at once.")


APPROVE: Operation[Approval] = Operation(
    name="approve",
    label="Approve",
    icon="check_circle",
    is_grave=True,
    consequence=_approve_consequence,
    why_not=_why_not_decide,
    seen=lambda approval: f"{approval.decision} {approval.payload_sha256}",
    typed=lambda _: "APPROVE",
    run=_approve,
    needs_proof=True,
)


def _reject(approval: Approval, actor: Actor, given: dict[str, Any]) -> Done:
    services.reject(approval=approval, actor=actor, reason=given["reason"])
    return Done(message="Rejected; nothing is done.")


REJECT: Operation[Approval] = Operation(
    name="reject",
    label="Reject",
    icon="block",
    consequence=lambda approval: (
        f"The proposal of {approval.proposed_by} to {approval.get_action_display()} is turned down. Nothing is done."
    ),
    why_not=_why_not_decide,
    seen=lambda approval: approval.decision,
    run=_reject,
)
