"""A reorganisation deeper than what we call final: nothing more is signed until a person has looked."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from config.lib.audit import Actor
from hostpay import gateways
from hostpay.models import BreakerCause, HostPayment, Transaction, TransactionStatus
from hostpay.providers.ethereum import Receipt
from hostpay.services.breaking import open_breaker
from hostpay.services.sending import send
from hostpay.services.steps import Review, Said
from hostpay.services.variants import block_is_gone


def check_still_final(*, payment: HostPayment, actor: Actor) -> Said | None:
    """None if the payment's final transaction is where it was, or in another block; the breaker opens if it moved.

    Raises:
        ProviderError: the node did not answer.
    """
    variant = Transaction.objects.filter(slot__payment=payment, status=TransactionStatus.FINAL).first()
    if variant is None:
        return None
    receipt = gateways.node().receipt(variant.tx_hash)
    if receipt is not None and receipt.block_hash == variant.block_hash:
        return None
    if receipt is None and not block_is_gone(variant):
        return None
    now_in = "in no block" if receipt is None else f"in block {receipt.block_number}"
    reason = (
        f"a reorganisation deeper than {settings.ETH_CONFIRMATIONS} confirmations: block {variant.block_number} is gone,"
        f" {variant.tx_hash} is {now_in}"
    )
    open_breaker(cause=BreakerCause.CHAIN, detail=reason, actor=actor)
    if receipt is not None and receipt.ok:
        _moved(payment, variant, receipt, reason, actor)
        return None
    if receipt is None:
        # The bytes that paid once pay again, and cannot pay twice.
        send(variant)
    return Review(reason=reason, after_s=settings.CHAIN_POLL_EVERY_S)


def _moved(payment: HostPayment, variant: Transaction, receipt: Receipt, reason: str, actor: Actor) -> None:
    with transaction.atomic():
        payment.locked()
        Transaction.objects.filter(pk=variant.pk).update(
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            effective_gas_price_wei=receipt.effective_gas_price_wei,
        )
        variant.note(actor=actor, reason=reason)
