"""signed → broadcast: hand the stored bytes to the node, the same bytes however often."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import HostPayment, PaymentStatus, Transaction, TransactionStatus
from hostpay.providers.ethereum import BroadcastOutcome
from hostpay.services.steps import Poll, Review, Said, Wait

# The node has the bytes, or has had them: from here on only the chain knows.
_IT_IS_OUT = (BroadcastOutcome.ACCEPTED, BroadcastOutcome.ALREADY_KNOWN)


def broadcast(*, payment: HostPayment, actor: Actor) -> Said:
    """Send the payment's signed bytes.

    Raises:
        OutcomeUnknownError: the node's answer does not tell; the same bytes are sent again later.
        TransientError: the node could not be reached.
    """
    variant = signed_variant(payment)
    outcome, words = send(variant)
    if outcome in _IT_IS_OUT:
        _is_out(payment, variant, actor, f"the node answered {outcome}")
        return Poll(after_s=settings.CHAIN_POLL_EVERY_S)
    if outcome is BroadcastOutcome.NONCE_TOO_LOW:
        return _nonce_is_used(payment, variant, actor)
    if outcome in {BroadcastOutcome.INSUFFICIENT_FUNDS, BroadcastOutcome.UNDERPRICED}:
        return Wait(reason=f"the node does not take it yet: {words}", after_s=settings.CHAIN_POLL_EVERY_S)
    return Review(reason=f"the node refuses {variant.tx_hash}: {words}", after_s=settings.CHAIN_POLL_EVERY_S)


def signed_variant(payment: HostPayment) -> Transaction:
    """The latest transaction of the payment's nonce slot, which exists from `signed` on."""
    return Transaction.objects.select_related("slot").filter(slot__payment=payment).latest("pk")


def send(variant: Transaction) -> tuple[BroadcastOutcome, str]:
    """Hand the stored bytes to the node once, and count it; says what the node made of them, and its words."""
    result = gateways.node().send_raw(bytes(variant.raw))
    Transaction.objects.filter(pk=variant.pk).update(broadcasts=F("broadcasts") + 1, broadcast_at=timezone.now())
    return result.outcome, result.detail


def _nonce_is_used(payment: HostPayment, variant: Transaction, actor: Actor) -> Said:
    """Either our own bytes were mined while nobody looked, or somebody else used the key."""
    if gateways.node().receipt(variant.tx_hash) is not None:
        _is_out(payment, variant, actor, "mined already when it was sent again")
        return Poll(after_s=0)
    return Review(
        reason=f"nonce {variant.slot.nonce} is used on chain, and not by our {variant.tx_hash}: the key was used elsewhere",
        after_s=settings.CHAIN_POLL_EVERY_S,
    )


def _is_out(payment: HostPayment, variant: Transaction, actor: Actor, reason: str) -> None:
    with transaction.atomic():
        payment.locked()
        if variant.status == TransactionStatus.SIGNED:
            variant.move(TransactionStatus.BROADCAST, actor=actor, reason=reason)
        payment.move(PaymentStatus.BROADCAST, actor=actor, reason=f"{variant.tx_hash}: {reason}")
