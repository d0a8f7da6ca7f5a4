"""signed → broadcast: hand the stored bytes to the node, the same bytes however often."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import HostPayment, PaymentStatus, Transaction
from hostpay.providers.ethereum import BroadcastOutcome
from hostpay.services.replacing import ask_if_stuck
from hostpay.services.sending import IT_IS_OUT, NOT_YET, send, somebody_elses, why_not_send
from hostpay.services.steps import Poll, Proceed, Review, Said, Wait
from hostpay.services.variants import find_mined, mark_sent, variants_of


def broadcast(*, payment: HostPayment, actor: Actor) -> Said:
    """Send the payment's signed bytes.

    Raises:
        OutcomeUnknownError: the node's answer does not tell; the same bytes are sent again later.
        TransientError: the node could not be reached.
    """
    variants = variants_of(payment)
    newest = variants[0]
    held_back = why_not_send(payment, variants)
    # Also where they never left by our books: those of a backup do not know it, and would hold it back for ever.
    may_be_out = held_back is not None or any(variant.broadcasts for variant in variants)
    found = _on_its_way(variants) if may_be_out else None
    if found is not None:
        _is_out(payment, found, actor, "the chain knows it already")
        return Proceed()
    if held_back is not None:
        return held_back
    outcome, words = send(newest)
    if outcome in IT_IS_OUT:
        _is_out(payment, newest, actor, f"the node answered {outcome}")
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    if outcome is BroadcastOutcome.NONCE_TOO_LOW:
        return _nonce_is_used(payment, variants, actor)
    if outcome in NOT_YET:
        # Fees may have risen for good: what waits too long is signed again.
        return ask_if_stuck(payment=payment, variants=variants, actor=actor) or Wait(
            reason=f"the node does not take it yet: {words}", after_s=settings.CHAIN_POLL_EVERY_S
        )
    return Review(reason=f"the node refuses {newest.tx_hash}: {words}", after_s=settings.CHAIN_POLL_EVERY_S)


def _on_its_way(variants: Sequence[Transaction]) -> Transaction | None:
    """The variant that is in a block, or the newest if it waits in the node's pool."""
    mined = find_mined(variants)
    if mined is not None:
        return mined[0]
    return None if gateways.node().transaction(variants[0].tx_hash) is None else variants[0]


def _nonce_is_used(payment: HostPayment, variants: Sequence[Transaction], actor: Actor) -> Said:
    """Either our own bytes were mined while nobody looked, or somebody else used the key."""
    mined = find_mined(variants)
    if mined is not None:
        _is_out(payment, mined[0], actor, "mined already when it was sent again")
        return Proceed()
    foreign = somebody_elses(payment, variants, actor)
    if foreign is None:
        return Wait(
            reason=f"the node says that nonce {variants[0].slot.nonce} is used, and shows by no block that it is",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    # The chain is followed from there: when it is final, the payment fails, and the wallet is free again.
    _is_out(payment, variants[0], actor, foreign.reason)
    return foreign


def _is_out(payment: HostPayment, variant: Transaction, actor: Actor, reason: str) -> None:
    with transaction.atomic():
        payment.locked()
        mark_sent(variant, actor=actor, reason=reason)
        payment.move(PaymentStatus.BROADCAST, actor=actor, reason=f"{variant.tx_hash}: {reason}")
