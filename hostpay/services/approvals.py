"""What takes two people: one proposes, another approves exactly that, before it runs out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind
from config.lib.errors import RefusedError
from hostpay.models import Approval, ApprovalAction, ApprovalDecision, HostPayment
from hostpay.services import cancelling
from hostpay.services.proposals import is_as_proposed, payload_of, person_in, sha256_of

VALID_FOR = timedelta(hours=1)
_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)

# What an approval sets going, in the transaction that records it.
_EFFECTS: dict[str, Callable[..., None]] = {ApprovalAction.CANCEL_PAYMENT: cancelling.take_up}


def propose_cancel(*, payment: HostPayment, actor: Actor, reason: str) -> Approval:
    """Propose to cancel a payment whose signed bytes are out, by spending its nonce on nothing.

    Raises:
        RefusedError: it is not on the wire, or mined, or cancelled or proposed already, or no reason is given.
        StaleRowError: it has moved on meanwhile.
    """
    _need_person(actor)
    _need_reason(reason)
    with transaction.atomic():
        row = payment.locked()
        why_not = cancelling.why_not_cancel(row)
        if why_not:
            raise RefusedError(why=why_not, next_step="Follow the payment to its end.")
        _close_what_ran_out(row, ApprovalAction.CANCEL_PAYMENT)
        _refuse_second_proposal(row, ApprovalAction.CANCEL_PAYMENT)
        payload = payload_of(ApprovalAction.CANCEL_PAYMENT, row)
        approval = Approval.objects.create(
            action=ApprovalAction.CANCEL_PAYMENT,
            payment=row,
            payload=payload,
            payload_sha256=sha256_of(payload),
            reason=reason.strip(),
            proposed_by=str(actor),
            expires_at=clock.now() + VALID_FOR,
        )
        row.note(actor=actor, reason=f"proposed to {approval.get_action_display()}: {approval.reason}")
        return approval


def approve(*, approval: Approval, actor: Actor, reason: str) -> Approval:
    """Approve what somebody else proposed, and set it going.

    Raises:
        RefusedError: proposed by the same person, decided or run out already, changed since, or no longer possible.
    """
    _need_reason(reason)
    with transaction.atomic():
        payment, row = _locked(approval)
        _refuse_unless_open(row)
        _refuse_own(row, actor)
        # What is possible comes first: a payment that was mined is why its figures moved.
        why_not = cancelling.why_not_cancel(payment)
        if why_not:
            raise RefusedError(why=why_not, next_step="Follow the payment to its end.")
        if not is_as_proposed(row, payment):
            raise RefusedError(
                why="What was proposed is no longer what would be done.", next_step="Reject it, and propose anew."
            )
        _decide(row, ApprovalDecision.APPROVED, actor)
        payment.note(actor=actor, reason=f"approved to {row.get_action_display()}: {reason.strip()}")
        _EFFECTS[row.action](payment=payment, actor=actor)
        return row


def reject(*, approval: Approval, actor: Actor, reason: str) -> Approval:
    """Turn down what somebody else proposed; nothing is done.

    Raises:
        RefusedError: proposed by the same person (it runs out by itself), or decided already.
    """
    _need_reason(reason)
    with transaction.atomic():
        payment, row = _locked(approval)
        _refuse_unless_open(row)
        _refuse_own(row, actor)
        _decide(row, ApprovalDecision.REJECTED, actor)
        payment.note(actor=actor, reason=f"rejected to {row.get_action_display()}: {reason.strip()}")
        return row


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


def _need_reason(reason: str) -> None:
    if not reason.strip():
        raise RefusedError(why="This needs a reason.", next_step="Say why; it goes into the history.")
