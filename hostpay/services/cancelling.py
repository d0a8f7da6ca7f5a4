"""Take a payment back that is on the wire: spend its nonce on nothing. Two people decide it, and the chain.

An approval only asks the signer. What was mined says how it ended: the cancel, or the payment after all.
"""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from config.lib import clock, locks
from config.lib.audit import Actor
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    Approval,
    ApprovalAction,
    ApprovalDecision,
    HostPayment,
    PaymentStatus,
    SignerTask,
    Transaction,
    TransactionKind,
    TransactionStatus,
    Wallet,
)
from hostpay.services.fees import Fees, market_fees, raised_fees, too_dear
from hostpay.services.proposals import is_as_proposed, person_in
from hostpay.services.replacing import drop_task
from hostpay.services.signing import fee_quote, refuse_other_chain, why_not_now
from hostpay.services.steps import Proceed, Review, Said, Wait
from hostpay.services.variants import fees_of, find_mined, sign_variant, variants_of


def why_not_cancel(payment: HostPayment) -> str:
    """A sentence, or nothing if its nonce could still be spent on nothing."""
    if payment.status not in {PaymentStatus.SIGNED, PaymentStatus.BROADCAST}:
        return f"The payment is {payment.status}: only what is signed and not mined can be cancelled on chain."
    variants = variants_of(payment)
    if any(variant.kind == TransactionKind.CANCEL for variant in variants):
        return "A cancel of the payment is signed already."
    if any(variant.status == TransactionStatus.MINED for variant in variants):
        return "A transaction of the payment is mined already."
    return ""


def take_up(*, payment: HostPayment, approval: Approval, actor: Actor) -> None:
    """Ask the signer for the cancel, in the transaction that approves it; it comes before a replacement asked for.

    The approval is used up only when the signer has signed by it.
    """
    HostPayment.objects.filter(pk=payment.pk).update(signer_task=SignerTask.CANCEL, next_action_at=clock.now())
    payment.note(
        actor=actor,
        reason="the signer is asked to spend its nonce on nothing",
        data={"approval": str(approval.pk)},
    )


def cancel(*, payment: HostPayment, actor: Actor) -> Said:
    """Sign a transfer of nothing to ourselves on the payment's nonce, unless a block has taken a variant meanwhile.

    Raises:
        ProviderError: the node did not answer, or is on the wrong chain.
    """
    variants = variants_of(payment)
    newest = variants[0]
    if find_mined(variants) is not None:
        # The worker says in the history that the cancel came too late, and clears the task.
        drop_task(payment)
        return Proceed()
    wallet = newest.slot.wallet
    refuse_other_chain(wallet)
    quote = fee_quote()
    if isinstance(quote, Wait):
        return quote
    fees = raised_fees(fees_of(newest), market_fees(quote))
    node = gateways.node()
    gas_limit = node.estimate_gas(from_address=wallet.address, to_address=wallet.address, value_wei=0)
    balance_wei, needed_wei = node.balance_wei(wallet.address), gas_limit * fees.max_fee_per_gas_wei
    dear = too_dear(fees, gas_limit=gas_limit, value_wei=0)
    if not dear and balance_wei < needed_wei:
        dear = f"the wallet has {format_units(balance_wei, ETH)}, gas may cost {format_units(needed_wei, ETH)}"
    if dear:
        return Wait(reason=f"the cancel waits: {dear}", after_s=settings.CHAIN_POLL_EVERY_S)
    return _sign_cancel(payment, newest, gas_limit, fees, actor) or Proceed()


def note_if_too_late(payment: HostPayment, variants: list[Transaction], *, actor: Actor) -> None:
    """Say in the history that a cancel that was asked for or signed has lost against the payment."""
    signed = any(variant.kind == TransactionKind.CANCEL for variant in variants)
    asked = Approval.objects.filter(
        payment=payment,
        action=ApprovalAction.CANCEL_PAYMENT,
        decision=ApprovalDecision.APPROVED,
        executed_at__isnull=True,
    ).exists()
    if signed or asked:
        what = "the cancel was signed, and lost" if signed else "the cancel was approved, and came too late"
        payment.note(actor=actor, reason=f"{what}: the payment was mined first")


def _sign_cancel(payment: HostPayment, newest: Transaction, gas_limit: int, fees: Fees, actor: Actor) -> Said | None:
    with transaction.atomic():
        locks.hold_shared(locks.Lock.SIGNING)
        wallet = Wallet.objects.select_for_update().get(pk=payment.wallet_id)
        row = payment.locked()
        not_now = why_not_now(payment=payment, wallet=wallet)
        if not_now is not None:
            return not_now
        if variants_of(payment)[0] != newest or newest.kind == TransactionKind.CANCEL:
            # Signed again meanwhile: with which fees, the next look says.
            return None
        approval = _approved(payment)
        if approval is None:
            HostPayment.objects.filter(pk=row.pk).update(signer_task="")
            return Review(
                reason="a cancel was asked for, and no approval by two people covers it any more; nothing was signed",
                after_s=settings.CHAIN_POLL_EVERY_S,
            )
        variant = sign_variant(
            slot=newest.slot,
            kind=TransactionKind.CANCEL,
            to=wallet.address,
            value_wei=0,
            gas_limit=gas_limit,
            fees=fees,
            actor=actor,
        )
        Approval.objects.filter(pk=approval.pk).update(executed_at=clock.now())
        HostPayment.objects.filter(pk=row.pk).update(signer_task="")
        row.note(
            actor=actor,
            reason=f"cancel signed as proposed by {approval.proposed_by} and approved by {approval.decided_by}",
            data={"tx_hash": variant.tx_hash, "approval": str(approval.pk)},
        )
    return None


def _approved(payment: HostPayment) -> Approval | None:
    """The approval that covers a cancel of this payment now: by two people, of exactly this, not run out, not used."""
    approval = (
        Approval.objects.select_for_update(of=("self",))
        .filter(
            payment=payment,
            action=ApprovalAction.CANCEL_PAYMENT,
            decision=ApprovalDecision.APPROVED,
            executed_at__isnull=True,
            expires_at__gt=clock.now(),
        )
        .order_by("-decided_at")
        .first()
    )
    if approval is None or person_in(approval.proposed_by) == person_in(approval.decided_by):
        return None
    return approval if is_as_proposed(approval, payment, {}) else None
