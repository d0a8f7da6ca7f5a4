"""Payments that left and that the books have forgotten, as after a restore from a backup: taken back into them.

Nothing is believed but what our own key signed: the bytes are made anew from the chain, and must have the chain's hash
and the wallet's signature. Nothing is signed or sent here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind
from config.lib.differences import Line, Verdict, open_lines
from config.lib.errors import RefusedError
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    HostPayment,
    NonceSlot,
    PaymentStatus,
    Transaction,
    TransactionKind,
    TransactionStatus,
    Wallet,
)
from hostpay.providers.ethereum import Receipt, SentTransaction
from hostpay.providers.rebuilding import signed_bytes
from hostpay.services.finality import is_final
from hostpay.services.halting import halt_wallet, lift_halt
from hostpay.services.operating import retry_payment
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import Provable, examine_line, match
from hostpay.services.reconciling.runs import without_accepted
from hostpay.services.variants import drop_others, mark_in_block, mark_sent, variants_of
from hostpay.services.wallets import our_wallet

logger = logging.getLogger(__name__)

_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readopted:
    """What was taken into the books, what nobody can prove, and whether the wallet may sign again."""

    adopted: list[Transaction]
    left: list[Line]
    is_open: bool


def readopt_sent(*, actor: Actor, reason: str) -> Readopted:
    """Close the gate, adopt every final transaction of the wallet that proves itself, and open the gate if that is all.

    While one nonce is left unexplained the wallet stays halted, and a person must look.

    Raises:
        RefusedError: no reason, or not a person who asks.
        ProviderError: the node did not answer, or does not keep what was asked for.
    """
    if actor.kind not in _PEOPLE:
        raise RefusedError(why=f"Only a person lets payments be adopted, not {actor}.", next_step="Ask an operator.")
    if not reason.strip():
        raise RefusedError(why="This needs a reason.", next_step="Say why; it goes into the history.")
    wallet = our_wallet()
    found = examine_line(wallet, settled_block=settled_block(), anew=True)
    left = open_lines(without_accepted(found.lines))
    # A node that lags shows less than the books have, and is no reason to halt.
    unknown = [line for line in left if line.verdict is Verdict.ALARM or line.row.startswith("nonce")]
    if unknown or found.provable:
        told = "; ".join(map(str, unknown)) or "what was accepted is ours after all"
        halt_wallet(wallet=wallet, actor=actor, reason=f"the chain knows more than the books: {told}")
    adopted = [taken for provable in found.provable if (taken := _adopt(wallet, provable, actor, reason)) is not None]
    if adopted:
        left = open_lines(without_accepted(examine_line(wallet, settled_block=settled_block()).lines))
    wallet.refresh_from_db()
    if adopted and not left and wallet.halted_at is not None:
        _open_gate(wallet, adopted, actor, reason)
        wallet.refresh_from_db()
    return Readopted(adopted=adopted, left=left, is_open=wallet.halted_at is None)


def _open_gate(wallet: Wallet, adopted: list[Transaction], actor: Actor, reason: str) -> None:
    """Let the wallet sign again, and the payments go on that waited for nothing but the answer to its halt."""
    halted_because = wallet.halted_reason
    hashes = ", ".join(each.tx_hash for each in adopted)
    accounted = f"every nonce is accounted for, with {hashes} adopted: {reason}"
    lift_halt(wallet=wallet, actor=actor, reason=accounted)
    for payment in wallet.payments.filter(status=PaymentStatus.ORDERED, review_reason=halted_because):
        retry_payment(payment=payment, actor=actor, reason=accounted)


def _adopt(wallet: Wallet, provable: Provable, actor: Actor, reason: str) -> Transaction | None:
    """The transaction's row, with its payment as far as the chain proves; None if it does not prove itself after all."""
    raw = signed_bytes(provable.sent)
    receipt = gateways.node().receipt(provable.sent.tx_hash)
    if raw is None or receipt is None or not is_final(receipt):
        return None
    with transaction.atomic():
        row = Wallet.objects.select_for_update().get(pk=wallet.pk)
        payment = provable.payment.locked()
        slot = NonceSlot.objects.filter(wallet=row, nonce=provable.sent.nonce).first()
        still = match(provable.sent, row, slot)
        is_busy = row.payments.on_the_wire().exclude(pk=payment.pk).exists()
        if still is None or still.payment.pk != payment.pk or is_busy:
            return None
        variant = _store(slot or _give_nonce(row, provable), provable.sent, raw)
        variant.record_birth(actor=actor, reason=f"found on chain, signed by our key, unknown to the books: {reason}")
        _follow(payment, variant, receipt, actor)
    logger.warning(
        "payment adopted from the chain",
        extra={"host_payment": str(payment.pk), "tx_hash": variant.tx_hash, "actor": str(actor), "reason": reason},
    )
    return variant


def _give_nonce(wallet: Wallet, provable: Provable) -> NonceSlot:
    """The nonce is the payment's from now on; the caller holds the wallet's row."""
    next_nonce = max(provable.sent.nonce + 1, wallet.next_nonce or 0)
    Wallet.objects.filter(pk=wallet.pk).update(next_nonce=next_nonce)
    return NonceSlot.objects.create(wallet=wallet, nonce=provable.sent.nonce, payment=provable.payment)


def _store(slot: NonceSlot, sent: SentTransaction, raw: bytes) -> Transaction:
    if sent.signature is None or sent.to_address is None:
        message = f"{sent.tx_hash} has bytes and no signature"
        raise ValueError(message)
    # It was signed before it was mined, and not now: limits, pauses and stops are about that time.
    mined_at = min(sent.mined_at, clock.now())
    return Transaction.objects.create(
        slot=slot,
        kind=TransactionKind.REPLACEMENT if slot.transactions.exists() else TransactionKind.PAYMENT,
        to_address=sent.to_address,
        value_units=sent.value_wei,
        gas_limit=sent.gas_limit,
        max_fee_per_gas_wei=sent.signature.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=sent.signature.max_priority_fee_per_gas_wei,
        raw=raw,
        tx_hash=sent.tx_hash,
        created_at=mined_at,
        broadcast_at=mined_at,
        broadcasts=1,
    )


def _follow(payment: HostPayment, variant: Transaction, receipt: Receipt, actor: Actor) -> None:
    """Move the payment to where the chain has it; what the chain refused is for the worker, who asks a person."""
    reason = f"adopted: {format_units(int(variant.value_units), ETH)} to {variant.to_address} by {variant.tx_hash}"
    if payment.status == PaymentStatus.ORDERED:
        payment.move(PaymentStatus.SIGNED, actor=actor, reason=reason, data={"tx_hash": variant.tx_hash})
    mark_sent(variant, actor=actor, reason="found in a block")
    if payment.status == PaymentStatus.SIGNED:
        payment.move(PaymentStatus.BROADCAST, actor=actor, reason=reason, **_calm())
    if not receipt.ok:
        return
    where = f"final in block {receipt.block_number}"
    mark_in_block(variant, TransactionStatus.MINED, receipt, actor=actor, reason=where)
    payment.move(PaymentStatus.MINED, actor=actor, reason=where, signer_task="", **_calm())
    variant.move(TransactionStatus.FINAL, actor=actor, reason=where)
    drop_others(variants_of(payment), variant, actor=actor, reason=f"{variant.tx_hash} is final on its nonce")
    payment.move(PaymentStatus.FINAL, actor=actor, reason=where)


def _calm() -> dict[str, Any]:
    """Whatever it waited for, or a person was asked, the chain has decided; a worker looks at it next."""
    return {
        "review_reason": "",
        "review_since": None,
        "waiting_reason": "",
        "waiting_since": None,
        "unknown_reason": "",
        "unknown_since": None,
        "attempts": 0,
        "last_error": "",
        "next_action_at": clock.now(),
    }
