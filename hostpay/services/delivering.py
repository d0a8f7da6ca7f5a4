"""Tell the requester the end, in the transaction that stamps it as told."""

from __future__ import annotations

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.lifecycle import StaleRowError
from hostpay.callbacks import Failed, Handler, Settled, handler_for
from hostpay.models import HostPayment, PaymentStatus
from hostpay.services.afterwards import first_look_at
from hostpay.services.steps import Poll, Proceed, Review, Said


def deliver(*, payment: HostPayment, actor: Actor) -> Said:
    """Call the context's handler once. One that refuses leaves the payment undelivered, and a person to look at it.

    Raises:
        StaleRowError: somebody else moved the payment, or what it is for, meanwhile.
    """
    name = f"{payment.context} {payment.reference}"
    try:
        handler = handler_for(payment.context)
    except LookupError as error:
        return Review(reason=f"{name} cannot be told: {error}")
    try:
        return _deliver(payment, handler, actor)
    except StaleRowError:
        raise
    except SluiceError as error:
        # Everything the handler wrote is undone. The purpose is not one of its context, or its books object.
        return Review(reason=f"{name} could not be told: {error}")


def _deliver(payment: HostPayment, handler: Handler, actor: Actor) -> Said:
    with transaction.atomic():
        row = payment.locked()
        if row.delivered_at is not None:
            return Poll(after_s=0)
        if row.review_reason:
            return Review(reason=row.review_reason)
        _tell(row, handler)
        row.note(actor=actor, reason=f"{row.context} {row.reference} was told: {row.status}")
        HostPayment.objects.filter(pk=row.pk).update(delivered_at=clock.now(), next_action_at=first_look_at(row))
    return Proceed()


def _tell(payment: HostPayment, handler: Handler) -> None:
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
