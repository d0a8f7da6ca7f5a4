"""The stored bytes to the node: once a call, and what its answer means."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import HostPayment, Transaction
from hostpay.providers.ethereum import BroadcastOutcome
from hostpay.services.halting import halt_wallet
from hostpay.services.steps import Review
from hostpay.services.variants import find_mined

# The node has the bytes, or has had them: from here on only the chain knows.
IT_IS_OUT = (BroadcastOutcome.ACCEPTED, BroadcastOutcome.ALREADY_KNOWN)
# It may take them later: the wallet is topped up, fees fall, or others are signed.
NOT_YET = (BroadcastOutcome.INSUFFICIENT_FUNDS, BroadcastOutcome.UNDERPRICED)


def send(variant: Transaction) -> tuple[BroadcastOutcome, str]:
    """Hand the stored bytes to the node once; says what the node made of them, and its words.

    The try is counted before the call: bytes that may be out are never taken for bytes that never left.

    Raises:
        OutcomeUnknownError: the node's answer does not tell.
        TransientError: the node could not be reached.
    """
    Transaction.objects.filter(pk=variant.pk).update(broadcasts=F("broadcasts") + 1, broadcast_at=timezone.now())
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
