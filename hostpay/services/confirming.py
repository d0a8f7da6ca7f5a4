"""broadcast → mined → final: what the chain says, and again until it cannot change its mind."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import HostPayment, PaymentStatus, Transaction, TransactionStatus
from hostpay.providers.ethereum import BroadcastOutcome, Receipt
from hostpay.services.broadcasting import send, signed_variant
from hostpay.services.steps import Poll, Proceed, Review, Said, Wait

# Blocks come every 12 s; who waits this long waits for something.
_SLOW_AFTER = timedelta(minutes=10)


def look_for_block(*, payment: HostPayment, actor: Actor) -> Said:
    """Find the payment's transaction in a block; send its bytes again if the node has lost them.

    Raises:
        ProviderError: the node did not answer.
    """
    variant = signed_variant(payment)
    receipt = gateways.node().receipt(variant.tx_hash)
    if receipt is None:
        return _not_mined(payment, variant)
    if not receipt.ok:
        return _reverted(payment, variant, receipt, actor)
    with transaction.atomic():
        payment.locked()
        variant.move(
            TransactionStatus.MINED,
            actor=actor,
            reason=f"in block {receipt.block_number}",
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            effective_gas_price_wei=receipt.effective_gas_price_wei,
        )
        payment.move(PaymentStatus.MINED, actor=actor, reason=f"{variant.tx_hash} in block {receipt.block_number}")
    return Poll(after_s=settings.CHAIN_POLL_EVERY_S)


def await_finality(*, payment: HostPayment, actor: Actor) -> Said:
    """Count the confirmations of the block that is really in the chain; a reorganisation moves the payment back.

    Raises:
        ProviderError: the node did not answer.
    """
    variant = signed_variant(payment)
    receipt = gateways.node().receipt(variant.tx_hash)
    if receipt is None or receipt.block_hash != variant.block_hash:
        _reorganised(payment, variant, receipt, actor)
        return Proceed()
    if not is_final(receipt):
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    with transaction.atomic():
        payment.locked()
        reason = f"{settings.ETH_CONFIRMATIONS} confirmations of block {receipt.block_number}"
        variant.move(TransactionStatus.FINAL, actor=actor, reason=reason)
        payment.move(PaymentStatus.FINAL, actor=actor, reason=reason)
    return Proceed()


def is_final(receipt: Receipt) -> bool:
    """Whether the receipt's block is in the chain with the confirmations that the settings ask for.

    Raises:
        ProviderError: the node did not answer.
    """
    node = gateways.node()
    if node.block_number() - receipt.block_number + 1 < settings.ETH_CONFIRMATIONS:
        return False
    return node.block(receipt.block_number).hash == receipt.block_hash


def _not_mined(payment: HostPayment, variant: Transaction) -> Said:
    node = gateways.node()
    if node.transaction(variant.tx_hash) is None:
        outcome, words = send(variant)
        if outcome is BroadcastOutcome.NONCE_TOO_LOW and node.receipt(variant.tx_hash) is None:
            return Review(
                reason=f"nonce {variant.slot.nonce} is used on chain, and not by our {variant.tx_hash}",
                after_s=settings.CHAIN_POLL_EVERY_S,
            )
        if outcome is BroadcastOutcome.REFUSED:
            return Review(
                reason=f"the node lost {variant.tx_hash} and refuses it now: {words}",
                after_s=settings.CHAIN_POLL_EVERY_S,
            )
    if timezone.now() - payment.status_changed_at > _SLOW_AFTER:
        return Wait(
            reason=f"{variant.tx_hash} is not mined since {payment.status_changed_at:%H:%M} UTC",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return Poll(after_s=settings.CHAIN_POLL_EVERY_S)


def _reverted(payment: HostPayment, variant: Transaction, receipt: Receipt, actor: Actor) -> Said:
    """The chain took the gas and kept the value here. Finally so, it frees the wallet, and a person decides."""
    if not is_final(receipt):
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    reason = f"{variant.tx_hash} reverted in block {receipt.block_number}; the value did not leave"
    with transaction.atomic():
        payment.locked()
        variant.move(
            TransactionStatus.REVERTED,
            actor=actor,
            reason=reason,
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            effective_gas_price_wei=receipt.effective_gas_price_wei,
        )
        payment.move(
            PaymentStatus.FAILED,
            actor=actor,
            reason=reason,
            failure_reason=reason,
            review_reason=reason,
            review_since=timezone.now(),
            next_action_at=None,
        )
    return Review(reason=reason)


def _reorganised(payment: HostPayment, variant: Transaction, receipt: Receipt | None, actor: Actor) -> None:
    now_in = "in no block" if receipt is None else f"in block {receipt.block_number}"
    reason = f"the chain was reorganised: block {variant.block_number} is gone, {variant.tx_hash} is {now_in}"
    with transaction.atomic():
        payment.locked()
        variant.move(
            TransactionStatus.BROADCAST,
            actor=actor,
            reason=reason,
            block_number=None,
            block_hash="",
            gas_used=None,
            effective_gas_price_wei=None,
        )
        payment.move(PaymentStatus.BROADCAST, actor=actor, reason=reason)
