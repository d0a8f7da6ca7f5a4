"""The variants of a payment's transaction: all signed for one nonce, of which the chain takes at most one."""

from __future__ import annotations

from collections.abc import Sequence

from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import HostPayment, NonceSlot, Transaction, TransactionKind, TransactionStatus
from hostpay.providers.ethereum import Receipt, UnsignedTransfer
from hostpay.services.fees import Fees


def variants_of(payment: HostPayment) -> list[Transaction]:
    """Every variant, the one signed last first; at least one from `signed` on."""
    return list(Transaction.objects.select_related("slot__wallet").filter(slot__payment=payment).order_by("-pk"))


def find_mined(variants: Sequence[Transaction]) -> tuple[Transaction, Receipt] | None:
    """The variant that is in a block, with its receipt (a call each).

    Raises:
        ProviderError: the node did not answer.
    """
    node = gateways.node()
    for variant in variants:
        receipt = node.receipt(variant.tx_hash)
        if receipt is not None:
            return variant, receipt
    return None


def block_is_gone(variant: Transaction) -> bool:
    """Whether another block stands where the variant's was. A node that merely lags, or forgot a receipt, does not say so.

    Raises:
        TransientError: the node has no block of that height.
    """
    return variant.block_number is not None and gateways.node().block(variant.block_number).hash != variant.block_hash


def fees_of(variant: Transaction) -> Fees:
    return Fees(
        max_fee_per_gas_wei=int(variant.max_fee_per_gas_wei),
        max_priority_fee_per_gas_wei=int(variant.max_priority_fee_per_gas_wei),
    )


def sign_variant(
    *,
    slot: NonceSlot,
    kind: TransactionKind,
    to: str,
    value_wei: int,
    gas_limit: int,
    fees: Fees,
    actor: Actor,
) -> Transaction:
    """Sign one transaction for the slot and store its bytes, in the transaction that holds the wallet's row.

    Raises:
        UnsignableError: a field is out of its bounds.
        SignerError: the key cannot be used.
        NoKeyError: this process has no key.
    """
    unsigned = UnsignedTransfer(
        chain_id=slot.wallet.chain_id,
        nonce=slot.nonce,
        to=to,
        value_wei=value_wei,
        gas_limit=gas_limit,
        max_fee_per_gas_wei=fees.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=fees.max_priority_fee_per_gas_wei,
    )
    signed = gateways.signer().sign(unsigned)
    variant = Transaction.objects.create(
        slot=slot,
        kind=kind,
        to_address=unsigned.to,
        value_units=unsigned.value_wei,
        gas_limit=unsigned.gas_limit,
        max_fee_per_gas_wei=unsigned.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=unsigned.max_priority_fee_per_gas_wei,
        raw=signed.raw,
        tx_hash=signed.tx_hash,
    )
    variant.record_birth(actor=actor, reason=f"{kind} signed with nonce {slot.nonce}")
    return variant


def mark_sent(variant: Transaction, *, actor: Actor, reason: str) -> None:
    """signed → broadcast, if it is still only signed."""
    if variant.status == TransactionStatus.SIGNED:
        variant.move(TransactionStatus.BROADCAST, actor=actor, reason=reason)


def mark_in_block(
    variant: Transaction, status: TransactionStatus, receipt: Receipt, *, actor: Actor, reason: str
) -> None:
    """Move the variant to a status that names its block, with what its gas cost."""
    mark_sent(variant, actor=actor, reason="found in a block")
    variant.move(
        status,
        actor=actor,
        reason=reason,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
        gas_used=receipt.gas_used,
        effective_gas_price_wei=receipt.effective_gas_price_wei,
    )


def take_out_of_block(variant: Transaction, *, actor: Actor, reason: str) -> None:
    """mined → broadcast: its block is gone, and what it cost there with it."""
    variant.move(
        TransactionStatus.BROADCAST,
        actor=actor,
        reason=reason,
        block_number=None,
        block_hash="",
        gas_used=None,
        effective_gas_price_wei=None,
    )


def drop_others(variants: Sequence[Transaction], winner: Transaction | None, *, actor: Actor, reason: str) -> None:
    """The nonce is finally used: no other variant can be mined any more."""
    for variant in variants:
        if variant != winner and variant.status in {TransactionStatus.SIGNED, TransactionStatus.BROADCAST}:
            variant.move(TransactionStatus.DROPPED, actor=actor, reason=reason)
