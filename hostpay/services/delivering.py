"""Tell the requester the end, in the transaction that stamps it as told."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from config.lib.audit import Actor
from hostpay.callbacks import Failed, Settled, handler_for
from hostpay.models import HostPayment, PaymentStatus
from hostpay.services.steps import Poll, Proceed, Review, Said


def deliver(*, payment: HostPayment, actor: Actor) -> Said:
    """Call the context's handler once; a handler that fails leaves the payment undelivered.

    Raises:
        LookupError: the context has no handler.
        StaleRowError: somebody else moved the payment meanwhile.
    """
    with transaction.atomic():
        row = payment.locked()
        if row.delivered_at is not None:
            return Poll(after_s=0)
        if row.review_reason:
            return Review(reason=row.review_reason)
        _tell(row)
        row.note(actor=actor, reason=f"{row.context} {row.reference} was told: {row.status}")
        HostPayment.objects.filter(pk=row.pk).update(delivered_at=timezone.now(), next_action_at=None)
    return Proceed()


def _tell(payment: HostPayment) -> None:
    handler = handler_for(payment.context)
    if payment.status == PaymentStatus.SETTLED:
        latest = payment.orders.get(is_current=True).receipts.order_by("-pk").first()
        handler.on_settled(
            Settled(
                payment_id=payment.pk,
                context=payment.context,
                reference=payment.reference,
                received_units=int(payment.received_units or 0),
                tx_hash=latest.tx_hash if latest else "",
            )
        )
    else:
        handler.on_failed(
            Failed(
                payment_id=payment.pk,
                context=payment.context,
                reference=payment.reference,
                reason=payment.failure_reason or payment.status,
            )
        )
