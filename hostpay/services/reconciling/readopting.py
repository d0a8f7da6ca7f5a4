"""Payments that left and that the books have forgotten, as after a restore from a backup: taken back into them.

Nothing is believed but what our own key signed: the bytes are made anew from the chain, and must have the chain's hash
and the wallet's signature. Nothing is signed or sent here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind, need_reason
from config.lib.differences import Line, Verdict, open_lines
from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from config.lib.locks import Lock, alone
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
from hostpay.services.halting import AHEAD, halt_wallet, lift_halt
from hostpay.services.operating import retry_payment
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import Provable, accepted_nonces, examine_line, match
from hostpay.services.reconciling.runs import without_accepted
from hostpay.services.variants import drop_others, mark_in_block, mark_sent, variants_of
from hostpay.services.wallets import our_wallet

logger = logging.getLogger(__name__)

_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)
_FOUND = "found on chain, signed by our key, unknown to the books"
# Halts over nonces, as written here, where it is signed and where it is sent: to these adopting is the answer.
_ANSWERED = (AHEAD, "the wallet's key was used elsewhere: ", "is used on chain, and not by any transaction of ours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readopted:
    """What was taken into the books, what nobody can prove, and whether the wallet may sign again.

    `waiting`: why something that proves itself was not taken, or the gate was not opened; each a sentence.
    """

    adopted: list[Transaction]
    left: list[Line]
    waiting: list[str]
    is_open: bool


class _NotYetError(Exception):
    """It proves itself, and cannot be taken now; the text says why, and what then."""


def readopt_sent(*, actor: Actor, reason: str, is_whole: bool = False) -> Readopted:
    """Close the gate, adopt every final transaction of the wallet that proves itself, and open the gate if that is all.

    While one nonce is left unexplained the wallet stays halted, and a person must look. A halt that is not about nonces is
    its own person's to lift. What was stopped half-way goes on when it is called again.

    Args:
        is_whole: without the bound that keeps a worker's call short; what that leaves out is the next call's.

    Raises:
        RefusedError: no reason, not a person who asks, or a reconciliation is running.
        ProviderError: the node did not answer, or does not keep what was asked for.
    """
    if actor.kind not in _PEOPLE:
        raise RefusedError(why=f"Only a person lets payments be adopted, not {actor}.", next_step="Ask an operator.")
    need_reason(reason)
    with alone(Lock.RECONCILIATION) as is_alone:
        if not is_alone:
            raise RefusedError(why="A reconciliation is running.", next_step="Adopt again when it is done.")
        return _readopt(our_wallet(), actor, reason, is_whole=is_whole)


def _readopt(wallet: Wallet, actor: Actor, reason: str, *, is_whole: bool) -> Readopted:
    found = examine_line(wallet, settled_block=settled_block(), is_whole=is_whole)
    left = open_lines(without_accepted(found.lines))
    # A node that lags shows less than the books have, and is no reason to halt.
    unknown = [line for line in left if line.verdict is Verdict.ALARM or line.row.startswith("nonce")]
    if unknown or found.provable:
        told = "; ".join(map(str, unknown)) or "what was accepted is ours after all"
        halt_wallet(wallet=wallet, actor=actor, reason=f"{AHEAD}: {told}")
    adopted, waiting = _adopt_all(wallet, found.provable, actor, reason)
    if adopted:
        found = examine_line(wallet, settled_block=settled_block(), is_whole=is_whole)
        left = open_lines(without_accepted(found.lines))
    wallet.refresh_from_db()
    if not left and wallet.halted_at is not None:
        waiting += _open_gate(wallet, found.used, actor, reason)
        wallet.refresh_from_db()
    return Readopted(adopted=adopted, left=left, waiting=waiting, is_open=wallet.halted_at is None)


def _adopt_all(wallet: Wallet, found: list[Provable], actor: Actor, reason: str) -> tuple[list[Transaction], list[str]]:
    adopted, waiting = [], []
    for provable in found:
        try:
            adopted.append(_adopt(wallet, provable, actor, reason))
        except (_NotYetError, StaleRowError) as error:
            waiting.append(f"nonce {provable.sent.nonce} of payment {provable.payment.pk}: {error}")
    return adopted, waiting


def _open_gate(wallet: Wallet, accounted: int, actor: Actor, reason: str) -> list[str]:
    """Let the wallet sign again, if that is what adopting answers, and the payments go on that waited for nothing else.

    Why not, if it does not; and which payment did not go on.
    """
    halted_because = wallet.halted_reason
    if not any(each in halted_because for each in _ANSWERED):
        return [f"every nonce is accounted for, and the wallet was halted over something else: {halted_because}"]
    hashes = ", ".join(each.tx_hash for each in _adopted_since(wallet))
    if not hashes:
        return ["nothing was adopted since the wallet was halted: lift the halt on its page, if you know the reason"]
    said = f"every nonce is accounted for, with {hashes} adopted: {reason}"
    try:
        lift_halt(wallet=wallet, actor=actor, reason=said, accounted=accounted)
    except RefusedError as refusal:
        return [str(refusal)]
    waiting = []
    for payment in wallet.payments.filter(status=PaymentStatus.ORDERED, review_reason=halted_because):
        try:
            retry_payment(payment=payment, actor=actor, reason=said)
        except (RefusedError, StaleRowError) as error:
            waiting.append(f"payment {payment.pk} was not let go on: {error}")
    return waiting


def _adopted_since(wallet: Wallet) -> Iterable[Transaction]:
    """What was adopted under this halt, also by a call that was stopped before it could open the gate."""
    found = Transaction.objects.filter(
        slot__wallet=wallet,
        status_changes__reason__startswith=_FOUND,
        status_changes__created_at__gte=wallet.halted_at,
    )
    return found.order_by("slot__nonce").distinct()


def _adopt(wallet: Wallet, provable: Provable, actor: Actor, reason: str) -> Transaction:
    """The transaction's row, with its payment as far as the chain proves.

    Raises:
        _NotYetError: it is not final after all, or not this payment's, or another payment is before it.
    """
    raw = signed_bytes(provable.sent)
    receipt = gateways.node().receipt(provable.sent.tx_hash)
    if raw is None or receipt is None or not is_final(receipt):
        raise _NotYetError("its receipt is not final; adopt again in some minutes")
    with transaction.atomic():
        row = Wallet.objects.select_for_update().get(pk=wallet.pk)
        payment = provable.payment.locked()
        slot = NonceSlot.objects.filter(wallet=row, nonce=provable.sent.nonce).first()
        still = match(provable.sent, row, slot)
        if still is None or still.payment.pk != payment.pk:
            raise _NotYetError("payment or order have changed meanwhile; adopt again")
        before = row.payments.on_the_wire().exclude(pk=payment.pk).first()
        if before is not None:
            raise _NotYetError(
                f"payment {before.pk} is {before.status} and comes before it: start the default worker, with signing paused,"
                " and adopt again when that payment is final"
            )
        variant = _store(slot or _give_nonce(row, provable), provable.sent, raw)
        variant.record_birth(actor=actor, reason=f"{_FOUND}: {reason}")
        _follow(payment, variant, receipt, actor)
    logger.warning(
        "payment adopted from the chain",
        extra={"host_payment": str(payment.pk), "tx_hash": variant.tx_hash, "actor": str(actor), "reason": reason},
    )
    return variant


def _give_nonce(wallet: Wallet, provable: Provable) -> NonceSlot:
    """The nonce is the payment's from now on; the caller holds the wallet's row."""
    slot = NonceSlot.objects.create(wallet=wallet, nonce=provable.sent.nonce, payment=provable.payment)
    known = {*wallet.nonce_slots.values_list("nonce", flat=True), *accepted_nonces(wallet)}
    next_nonce = slot.nonce if wallet.next_nonce is None else wallet.next_nonce
    # Never over a gap: what nobody has explained below this one keeps the line where it is.
    while next_nonce in known:
        next_nonce += 1
    Wallet.objects.filter(pk=wallet.pk).update(next_nonce=next_nonce)
    return slot


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
