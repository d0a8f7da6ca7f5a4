"""The stored bytes to the node: once a call, and what its answer means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F

from config.lib import clock
from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, SignerTask, Transaction, TransactionKind
from hostpay.providers.ethereum import BroadcastOutcome
from hostpay.services.halting import halt_wallet
from hostpay.services.ordering import FUNDABLE_FOR, VALIDITY_MARGIN
from hostpay.services.steps import Poll, Review
from hostpay.services.variants import find_mined

# The node has the bytes, or has had them: from here on only the chain knows.
IT_IS_OUT = (BroadcastOutcome.ACCEPTED, BroadcastOutcome.ALREADY_KNOWN)
# Nothing is sent so shortly before the provider's own limit for the deposit.
_TIME_TO_BE_MINED = timedelta(minutes=1)
# It may take them later: the wallet is topped up, fees fall, or others are signed.
NOT_YET = (BroadcastOutcome.INSUFFICIENT_FUNDS, BroadcastOutcome.UNDERPRICED)


def why_not_send(payment: HostPayment, variants: Sequence[Transaction]) -> Review | Poll | None:
    """What forbids to hand the newest bytes to a node now, which does not have them; None if nothing does.

    A deposit that comes after the provider's own limit is exchanged at another rate, or not at all. Of an order at a
    floating rate no limit is told: what never left is not sent long after its order, what left once is sent again always.
    """
    newest = variants[0]
    if payment.signer_task == SignerTask.CANCEL:
        # Two people want it gone: the signer is to spend its nonce on nothing first.
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    if newest.kind == TransactionKind.CANCEL:
        return None
    current = payment.orders.filter(is_current=True).first()
    was_sent = any(variant.broadcasts for variant in variants)
    if current is None or not is_too_late(current, was_sent=was_sent):
        return None
    said = "it is lost to the node, and is not sent again" if was_sent else "it was not sent"
    return Review(
        reason=f"the time for the deposit ran out for {newest.tx_hash}: {said}; propose to cancel the payment",
        after_s=settings.CHAIN_POLL_EVERY_S,
    )


def is_too_late(current: ExchangeOrder, *, was_sent: bool) -> bool:
    """Whether a deposit sent now would be mined after the order's own limit, or, never sent, long after the order."""
    limit = current.valid_until
    if limit is None and not was_sent:
        limit = current.created_at + FUNDABLE_FOR + VALIDITY_MARGIN
    return limit is not None and clock.now() + _TIME_TO_BE_MINED > limit


def send(variant: Transaction) -> tuple[BroadcastOutcome, str]:
    """Hand the stored bytes to the node once; says what the node made of them, and its words.

    The try is counted before the call: bytes that may be out are never taken for bytes that never left.

    Raises:
        OutcomeUnknownError: the node's answer does not tell.
        TransientError: the node could not be reached.
    """
    Transaction.objects.filter(pk=variant.pk).update(broadcasts=F("broadcasts") + 1, broadcast_at=clock.now())
    result = gateways.node().send_raw(bytes(variant.raw))
    return result.outcome, result.detail


def somebody_elses(payment: HostPayment, variants: Sequence[Transaction], actor: Actor) -> Review | None:
    """Halt the wallet if the chain has used the payment's nonce, and for none of our variants; None if it has not.

    Raises:
        ProviderError: the node did not answer.
    """
    slot = variants[0].slot
    chain_nonce = gateways.node().nonce(slot.wallet.address)
    # The nonce first, the receipts after it: what was mined in between is ours.
    if chain_nonce <= slot.nonce or find_mined(variants) is not None:
        return None
    reason = f"nonce {slot.nonce} is used on chain, and not by any transaction of ours: the key was used elsewhere"
    with transaction.atomic():
        halt_wallet(wallet=slot.wallet, actor=actor, reason=f"{reason} (host payment {payment.pk})")
    return Review(reason=reason, after_s=settings.CHAIN_POLL_EVERY_S)
