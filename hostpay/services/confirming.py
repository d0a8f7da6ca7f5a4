"""broadcast → mined → final: what the chain says, and again until it cannot change its mind.

Every variant of the payment is watched; whichever is in a block decides. A missing answer is no answer: that a block is
gone is believed only where another stands in its place.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    HostPayment,
    OrderStatus,
    PaymentStatus,
    SignerTask,
    Transaction,
    TransactionKind,
    TransactionStatus,
)
from hostpay.providers.ethereum import BroadcastOutcome, PrunedError, Receipt, find_by_nonce
from hostpay.services.adopting import ADOPT
from hostpay.services.cancelling import note_if_too_late
from hostpay.services.finality import is_final, last_final_block
from hostpay.services.replacing import ask_if_stuck
from hostpay.services.sending import IT_IS_OUT, NOT_YET, send, somebody_elses, why_not_send
from hostpay.services.steps import Poll, Proceed, Review, Said, Wait
from hostpay.services.variants import (
    block_is_gone,
    drop_others,
    find_mined,
    mark_in_block,
    mark_sent,
    take_out_of_block,
    variants_of,
)

# Blocks come every 12 s; who waits this long waits for something.
_SLOW_AFTER = timedelta(minutes=10)


def look_for_block(*, payment: HostPayment, actor: Actor) -> Said:
    """Find one of the payment's variants in a block; send the newest again if the node has lost it.

    Raises:
        ProviderError: the node did not answer.
    """
    variants = variants_of(payment)
    found = find_mined(variants)
    _correct_blocks(payment, variants, found, actor)
    if found is None and payment.signer_task == SignerTask.CANCEL:
        # Two people want it gone: it is not sent again before the signer has spent its nonce on nothing.
        return _used_elsewhere(payment, variants, actor) or Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    if found is None:
        return _not_mined(payment, variants, actor)
    variant, receipt = found
    if variant.kind == TransactionKind.CANCEL:
        return _cancelled(payment, variants, variant, receipt, actor)
    if not receipt.ok:
        return _reverted(payment, variants, variant, receipt, actor)
    with transaction.atomic():
        payment.locked()
        mark_in_block(variant, TransactionStatus.MINED, receipt, actor=actor, reason=f"in block {receipt.block_number}")
        payment.move(
            PaymentStatus.MINED,
            actor=actor,
            reason=f"{variant.tx_hash} in block {receipt.block_number}",
            signer_task="",
            # Whatever a person was asked while it was out, the chain has decided.
            review_reason="",
            review_since=None,
        )
        note_if_too_late(payment, variants, actor=actor)
    return Poll(after_s=settings.CHAIN_POLL_EVERY_S)


def await_finality(*, payment: HostPayment, actor: Actor) -> Said:
    """Count the confirmations of the block that is really in the chain; a reorganisation moves the payment back.

    Raises:
        ProviderError: the node did not answer.
    """
    variants = variants_of(payment)
    variant = next(each for each in variants if each.status == TransactionStatus.MINED)
    receipt = gateways.node().receipt(variant.tx_hash)
    if receipt is None or receipt.block_hash != variant.block_hash:
        if receipt is None and not block_is_gone(variant):
            return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
        _reorganised(payment, variant, receipt, actor)
        return Proceed()
    if not is_final(receipt):
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    with transaction.atomic():
        payment.locked()
        reason = f"{settings.ETH_CONFIRMATIONS} confirmations of block {receipt.block_number}"
        variant.move(TransactionStatus.FINAL, actor=actor, reason=reason)
        drop_others(variants, variant, actor=actor, reason=f"{variant.tx_hash} is final on its nonce")
        payment.move(PaymentStatus.FINAL, actor=actor, reason=reason)
    return Proceed()


def _not_mined(payment: HostPayment, variants: list[Transaction], actor: Actor) -> Said:
    newest = variants[0]
    if newest.status == TransactionStatus.SIGNED or gateways.node().transaction(newest.tx_hash) is None:
        said = _send_again(payment, variants, actor)
        if said is not None:
            return said
    stuck = ask_if_stuck(payment=payment, variants=variants, actor=actor)
    if stuck is not None:
        return stuck
    if clock.now() - newest.created_at > _SLOW_AFTER:
        return Wait(
            reason=f"{newest.tx_hash} is not mined since {newest.created_at:%Y-%m-%d %H:%M} UTC",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return Poll(after_s=settings.CHAIN_POLL_EVERY_S)


def _send_again(payment: HostPayment, variants: list[Transaction], actor: Actor) -> Said | None:
    """What the node says to the newest bytes, which it does not have; None if it has them now."""
    newest = variants[0]
    held_back = why_not_send(payment, variants)
    if held_back is not None:
        return held_back
    outcome, words = send(newest)
    if outcome in IT_IS_OUT:
        mark_sent(newest, actor=actor, reason=f"the node answered {outcome}")
        return None
    if outcome is BroadcastOutcome.NONCE_TOO_LOW:
        # Else mined between two questions, or a node that contradicts itself: the next look tells.
        return _used_elsewhere(payment, variants, actor) or Wait(
            reason=f"the node says {words}, and shows no block", after_s=settings.CHAIN_POLL_EVERY_S
        )
    if outcome in NOT_YET:
        # Fees may have risen for good: what waits too long is signed again.
        return ask_if_stuck(payment=payment, variants=variants, actor=actor) or Wait(
            reason=f"the node does not take {newest.tx_hash} yet: {words}", after_s=settings.CHAIN_POLL_EVERY_S
        )
    return Review(
        reason=f"the node does not have {newest.tx_hash}, and refuses it: {words}", after_s=settings.CHAIN_POLL_EVERY_S
    )


def _used_elsewhere(payment: HostPayment, variants: list[Transaction], actor: Actor) -> Review | None:
    """A transaction of somebody else's on the payment's nonce ends it when it is final; None if there is none."""
    foreign = somebody_elses(payment, variants, actor)
    if foreign is None:
        return None
    final = last_final_block()
    if gateways.node().nonce(variants[0].slot.wallet.address, final) <= variants[0].slot.nonce:
        return foreign
    ours = _paid_by_forgotten(payment, variants, final)
    if ours:
        # Failed, it would be paid a second time.
        return Review(reason=f"{foreign.reason} that the books know; {ours}", after_s=settings.CHAIN_POLL_EVERY_S)
    with transaction.atomic():
        payment.locked()
        drop_others(variants, None, actor=actor, reason=foreign.reason)
        _fail(payment, f"{foreign.reason}, finally so; the value did not leave by us", actor)
    return Review(reason=payment.review_reason)


def _paid_by_forgotten(payment: HostPayment, variants: list[Transaction], final: int) -> str:
    """Why the nonce may have been spent on the payment after all, as by a variant that a backup has forgotten; or nothing."""
    slot = variants[0].slot
    try:
        sent = find_by_nonce(gateways.node(), sender=slot.wallet.address, nonce=slot.nonce, lowest=0, highest=final)
    except PrunedError as pruned:
        return f"whether it paid this payment cannot be looked up: {pruned}"
    if sent is None or not payment.orders.filter(payin_address__iexact=sent.to_address or "").exists():
        return ""
    return f"{sent.tx_hash} paid this payment's order with {format_units(sent.value_wei, ETH)}: {ADOPT}"


def _correct_blocks(
    payment: HostPayment, variants: list[Transaction], found: tuple[Transaction, Receipt] | None, actor: Actor
) -> None:
    """A cancel waits for its confirmations as `mined` while its payment is `broadcast`: it, too, may lose its block."""
    for variant in variants:
        if variant.status != TransactionStatus.MINED:
            continue
        receipt = found[1] if found is not None and found[0] == variant else None
        if receipt is not None and receipt.block_hash == variant.block_hash:
            continue
        if found is None and not block_is_gone(variant):
            continue
        with transaction.atomic():
            payment.locked()
            take_out_of_block(variant, actor=actor, reason=_lost_block(variant, receipt))


def _cancelled(
    payment: HostPayment, variants: list[Transaction], variant: Transaction, receipt: Receipt, actor: Actor
) -> Said:
    """The nonce is spent on nothing. Finally so, it frees the wallet, and the requester is told that nothing left."""
    with transaction.atomic():
        payment.locked()
        if variant.status != TransactionStatus.MINED:
            reason = f"in block {receipt.block_number}"
            mark_in_block(variant, TransactionStatus.MINED, receipt, actor=actor, reason=reason)
            payment.note(actor=actor, reason=f"the cancel {variant.tx_hash} is mined {reason}")
    if not is_final(receipt):
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    reason = f"cancelled on chain by {variant.tx_hash}, final in block {receipt.block_number}; the value did not leave"
    with transaction.atomic():
        payment.locked()
        variant.move(TransactionStatus.FINAL, actor=actor, reason=reason)
        drop_others(variants, variant, actor=actor, reason=reason)
        _let_order_expire(payment, reason, actor)
        payment.move(
            PaymentStatus.CANCELLED,
            actor=actor,
            reason=reason,
            failure_reason=reason,
            signer_task="",
            review_reason="",
            review_since=None,
        )
    return Proceed()


def _reverted(
    payment: HostPayment, variants: list[Transaction], variant: Transaction, receipt: Receipt, actor: Actor
) -> Said:
    """The chain took the gas and kept the value here. Finally so, it frees the wallet, and a person decides."""
    if not is_final(receipt):
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    reason = f"{variant.tx_hash} reverted in block {receipt.block_number}; the value did not leave"
    with transaction.atomic():
        payment.locked()
        mark_in_block(variant, TransactionStatus.REVERTED, receipt, actor=actor, reason=reason)
        drop_others(variants, variant, actor=actor, reason=reason)
        _fail(payment, reason, actor)
    return Review(reason=reason)


def _fail(payment: HostPayment, reason: str, actor: Actor) -> None:
    """In review: ordering anew by itself could burn gas in a loop, so the requester hears of it from a person."""
    _let_order_expire(payment, reason, actor)
    payment.move(
        PaymentStatus.FAILED,
        actor=actor,
        reason=reason,
        failure_reason=reason,
        signer_task="",
        review_reason=reason,
        review_since=clock.now(),
        waiting_reason="",
        waiting_since=None,
        unknown_reason="",
        unknown_since=None,
        next_action_at=None,
    )


def _let_order_expire(payment: HostPayment, reason: str, actor: Actor) -> None:
    """Nobody will pay it. It stays the current one: what was signed was signed for it."""
    for order in payment.orders.filter(is_current=True, status=OrderStatus.OPEN):
        order.move(OrderStatus.EXPIRED, actor=actor, reason=f"never paid: {reason}")


def _reorganised(payment: HostPayment, variant: Transaction, receipt: Receipt | None, actor: Actor) -> None:
    reason = _lost_block(variant, receipt)
    with transaction.atomic():
        payment.locked()
        take_out_of_block(variant, actor=actor, reason=reason)
        payment.move(PaymentStatus.BROADCAST, actor=actor, reason=reason)


def _lost_block(variant: Transaction, receipt: Receipt | None) -> str:
    now_in = "in no block" if receipt is None else f"in block {receipt.block_number}"
    return f"the chain was reorganised: block {variant.block_number} is gone, {variant.tx_hash} is {now_in}"
