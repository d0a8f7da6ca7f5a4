"""What takes two people: one proposes, another approves exactly that, before it runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind, need_reason
from config.lib.errors import RefusedError
from hostpay.models import Approval, ApprovalAction, ApprovalDecision, HostPayment
from hostpay.services import cancelling, giving_up, taking_on
from hostpay.services.proposals import is_as_proposed, payload_of, person_in, sha256_of

VALID_FOR = timedelta(hours=1)
_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deed:
    """What two people may decide.

    Attributes:
        why_not: a sentence why it is not possible now, from rows alone; or nothing.
        facts: what its proposal says beside the payment, asked anew when it is approved: of the chain, if it says so.
        do: what the approval sets going, in the transaction that records it.
        is_done_at_once: so that the approval is used up there and then.
    """

    why_not: Callable[[HostPayment], str]
    facts: Callable[[Approval], dict[str, str]]
    do: Callable[..., None]
    is_done_at_once: bool = True


def _facts_of_refund(approval: Approval) -> dict[str, str]:
    said = approval.payload
    facts = giving_up.facts_of_refund(
        payment=approval.payment,
        tx_hash=said["refund_tx"],
        units=int(said["refunded_wei"]),
        is_part=said.get("is_part") == "yes",
    )
    # A node may keep less of the past by now; what it kept was seen by who proposed it. Whether what is booked of the
    # block is still all that is booked shows only under its lock.
    return {**facts, "proof": said["proof"], "block_booked_wei": said.get("block_booked_wei", "")}


_DEEDS: dict[str, _Deed] = {
    ApprovalAction.CANCEL_PAYMENT: _Deed(
        why_not=cancelling.why_not_cancel, facts=lambda _: {}, do=cancelling.take_up, is_done_at_once=False
    ),
    ApprovalAction.ACCEPT_REFUND: _Deed(
        why_not=giving_up.why_not_accept_refund, facts=_facts_of_refund, do=giving_up.take_refund
    ),
    ApprovalAction.WRITE_OFF: _Deed(
        why_not=giving_up.why_not_write_off,
        facts=lambda approval: giving_up.facts_of_write_off(payment=approval.payment),
        do=giving_up.write_off,
    ),
    ApprovalAction.TAKE_ON: _Deed(
        why_not=taking_on.why_not_take_on,
        facts=lambda approval: taking_on.facts_of_paid(payment=approval.payment),
        do=taking_on.take_on,
    ),
}


def propose_cancel(*, payment: HostPayment, actor: Actor, reason: str) -> Approval:
    """Propose to cancel a payment whose signed bytes are out, by spending its nonce on nothing.

    Raises:
        RefusedError: it is not on the wire, or mined, or cancelled or proposed already, or no reason is given.
        StaleRowError: it has moved on meanwhile.
    """
    _refuse_hopeless(ApprovalAction.CANCEL_PAYMENT, payment, actor, reason)
    return _propose(ApprovalAction.CANCEL_PAYMENT, payment, {}, actor, reason)


def propose_refund(
    *, payment: HostPayment, tx_hash: str, units: int, actor: Actor, reason: str, is_part: bool = False
) -> Approval:
    """Propose to end a payment with a refund that was found on chain: `units` wei that `tx_hash` brought to the wallet.

    Of a payment that two people have ended before, the proposal is to book it: the payment stays as it ended.

    Args:
        is_part: whether the transaction brought more, for other payments; what all get of it never exceeds that.

    Raises:
        RefusedError: it is not in review at the exchange, the chain says otherwise, or no reason is given.
        StaleRowError: it has moved on meanwhile.
        ProviderError: the node did not answer.
    """
    _refuse_hopeless(ApprovalAction.ACCEPT_REFUND, payment, actor, reason)
    facts = giving_up.facts_of_refund(payment=payment, tx_hash=tx_hash, units=units, is_part=is_part)
    return _propose(ApprovalAction.ACCEPT_REFUND, payment, facts, actor, reason)


def propose_write_off(*, payment: HostPayment, actor: Actor, reason: str) -> Approval:
    """Propose to give up what the exchange took and will never pay or send back.

    Raises:
        RefusedError: it is not in review at the exchange for a day, the chain shows money of it, or no reason is given.
        StaleRowError: it has moved on meanwhile.
        ProviderError: the node did not answer.
    """
    _refuse_hopeless(ApprovalAction.WRITE_OFF, payment, actor, reason)
    facts = giving_up.facts_of_write_off(payment=payment)
    return _propose(ApprovalAction.WRITE_OFF, payment, facts, actor, reason)


def propose_take_on(*, payment: HostPayment, actor: Actor, reason: str) -> Approval:
    """Propose to take on what our key paid to the payment's order, which the books do not know and cannot adopt.

    Then the run that tells of it can be signed off, and the wallet's halt be lifted.

    Raises:
        RefusedError: our key paid none, or it can be adopted, or no reason is given.
        StaleRowError: it has moved on meanwhile.
        ProviderError: the node did not answer.
    """
    _refuse_hopeless(ApprovalAction.TAKE_ON, payment, actor, reason)
    facts = taking_on.facts_of_paid(payment=payment)
    return _propose(ApprovalAction.TAKE_ON, payment, facts, actor, reason)


def why_not_propose(action: ApprovalAction, payment: HostPayment) -> str:
    """A sentence, or nothing if two people could decide that about the payment now."""
    return _DEEDS[action].why_not(payment)


def approve(*, approval: Approval, actor: Actor, reason: str) -> Approval:
    """Approve what somebody else proposed, and set it going.

    Raises:
        RefusedError: proposed by the same person, decided or run out already, changed since, or no longer possible.
        ProviderError: the chain had to be asked, and did not answer.
    """
    need_reason(reason)
    _refuse_unless_open(approval)
    _refuse_own(approval, actor)
    deed = _DEEDS[approval.action]
    # What is possible comes first: a payment that was mined is why its figures moved.
    _refuse_impossible(deed, approval.payment)
    facts = deed.facts(approval)
    with transaction.atomic():
        payment, row = _locked(approval)
        _refuse_unless_open(row)
        _refuse_own(row, actor)
        _refuse_impossible(deed, payment)
        if not is_as_proposed(row, payment, facts):
            raise RefusedError(
                why="What was proposed is no longer what would be done.", next_step="Reject it, and propose anew."
            )
        _decide(row, ApprovalDecision.APPROVED, actor)
        payment.note(actor=actor, reason=f"approved to {row.get_action_display()}: {reason.strip()}")
        deed.do(payment=payment, approval=row, actor=actor)
        if deed.is_done_at_once:
            row.executed_at = clock.now()
            row.save(update_fields=("executed_at",))
        return row


def reject(*, approval: Approval, actor: Actor, reason: str) -> Approval:
    """Turn down what somebody else proposed; nothing is done.

    Raises:
        RefusedError: proposed by the same person (it runs out by itself), or decided already.
    """
    need_reason(reason)
    with transaction.atomic():
        payment, row = _locked(approval)
        _refuse_unless_open(row)
        _refuse_own(row, actor)
        _decide(row, ApprovalDecision.REJECTED, actor)
        payment.note(actor=actor, reason=f"rejected to {row.get_action_display()}: {reason.strip()}")
        return row


def _refuse_hopeless(action: ApprovalAction, payment: HostPayment, actor: Actor, reason: str) -> None:
    """Before the chain is asked about it."""
    _need_person(actor)
    need_reason(reason)
    _refuse_impossible(_DEEDS[action], payment)


def _propose(
    action: ApprovalAction, payment: HostPayment, facts: dict[str, str], actor: Actor, reason: str
) -> Approval:
    with transaction.atomic():
        row = payment.locked()
        _refuse_impossible(_DEEDS[action], row)
        _close_what_ran_out(row, action)
        _refuse_second_proposal(row, action)
        payload = payload_of(action, row, facts)
        approval = Approval.objects.create(
            action=action,
            payment=row,
            payload=payload,
            payload_sha256=sha256_of(payload),
            reason=reason.strip(),
            proposed_by=str(actor),
            expires_at=clock.now() + VALID_FOR,
        )
        row.note(actor=actor, reason=f"proposed to {approval.get_action_display()}: {approval.reason}")
        return approval


def _refuse_impossible(deed: _Deed, payment: HostPayment) -> None:
    why_not = deed.why_not(payment)
    if why_not:
        raise RefusedError(why=why_not, next_step="Follow the payment to its end.")


def _locked(approval: Approval) -> tuple[HostPayment, Approval]:
    """Payment before approval, as the signer locks them."""
    payment = HostPayment.objects.select_for_update(of=("self",)).get(pk=approval.payment_id)
    return payment, Approval.objects.select_for_update(of=("self",)).get(pk=approval.pk)


def _decide(approval: Approval, decision: ApprovalDecision, actor: Actor) -> None:
    approval.decision = decision
    approval.decided_by = str(actor)
    approval.decided_at = clock.now()
    approval.save(update_fields=("decision", "decided_by", "decided_at"))


def _refuse_unless_open(approval: Approval) -> None:
    if approval.decision:
        raise RefusedError(
            why=f"It was {approval.decision} by {approval.decided_by} at {approval.decided_at:%Y-%m-%d %H:%M} UTC.",
            next_step="Propose anew if it is still wanted.",
        )
    if not approval.is_open(clock.now()):
        raise RefusedError(
            why=f"The proposal ran out at {approval.expires_at:%Y-%m-%d %H:%M} UTC.", next_step="Propose it anew."
        )


def _refuse_own(approval: Approval, actor: Actor) -> None:
    _need_person(actor)
    if person_in(approval.proposed_by) == person_in(str(actor)):
        raise RefusedError(
            why=f"{approval.proposed_by} proposed it: another person must decide.",
            next_step="Ask a colleague; undecided it runs out by itself.",
        )


def _close_what_ran_out(payment: HostPayment, action: ApprovalAction) -> None:
    """In its place, so that the new proposal can be the open one."""
    now = clock.now()
    payment.approvals.filter(action=action, decision="", expires_at__lte=now).update(
        decision=ApprovalDecision.REJECTED, decided_by="expiry", decided_at=now
    )


def _refuse_second_proposal(payment: HostPayment, action: ApprovalAction) -> None:
    before = payment.approvals.filter(action=action, decision="").first()
    if before is not None:
        raise RefusedError(
            why=f"{before.proposed_by} proposed it already, at {before.proposed_at:%Y-%m-%d %H:%M} UTC.",
            next_step="Approve or reject that proposal.",
        )


def _need_person(actor: Actor) -> None:
    if actor.kind not in _PEOPLE:
        raise RefusedError(why=f"{actor} is no person.", next_step="Decide it in the admin or at a shell.")
