"""What an operator may do to a batch; every refusal says why and what next."""

from __future__ import annotations

from django.db import transaction

from batches.models import BatchConversion, BatchStatus
from batches.services.settling import give_back
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from hostpay import services as hostpay
from hostpay.models import Context, HostPayment

_ENDED = {
    BatchStatus.COMPLETED: "its USDT is shared among the members",
    BatchStatus.FAILED: "its members went back to the pending pool",
    BatchStatus.CANCELLED: "its members went back to the pending pool",
}


def payment_of(batch: BatchConversion) -> HostPayment | None:
    """The host payment that stands for the batch, or stood for it last."""
    return hostpay.latest_payment(context=Context.BATCH, reference=str(batch.pk))


def retry_batch(*, batch: BatchConversion, actor: Actor, reason: str) -> HostPayment:
    """End a wait or a review of the batch's host payment, and take its next step now; that payment.

    Raises:
        RefusedError: the batch has ended, or hostpay refuses.
        StaleRowError: the batch or its payment has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        payment = _payment_of_open(batch)
        hostpay.retry_payment(payment=payment, actor=actor, reason=reason)
        row = batch.locked()
        row.note(actor=actor, reason=f"retry: {reason}", data={"host_payment": str(payment.pk)})
    return payment


def release_batch(*, batch: BatchConversion, actor: Actor, reason: str) -> int:
    """Cancel a batch for which no money left, and give its members back to the pending pool; their number.

    Raises:
        RefusedError: the batch has ended, or signed bytes of its payment exist.
        StaleRowError: the batch or its payment has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        # The payment first: that is the order in which hostpay's deliveries lock them.
        payment = _payment_of_open(batch)
        hostpay.close_unsent(payment=payment, actor=actor, reason=reason)
        row = batch.locked()
        returned = give_back(row, actor=actor, reason=reason)
        row.move(
            BatchStatus.CANCELLED,
            actor=actor,
            reason=reason,
            data={"members_returned": returned, "host_payment": str(payment.pk)},
            failure_reason=reason,
        )
    return returned


def _payment_of_open(batch: BatchConversion) -> HostPayment:
    if batch.status in _ENDED:
        raise RefusedError(
            why=f"Batch {batch.pk} is {batch.status}: {_ENDED[BatchStatus(batch.status)]}.",
            next_step="Nothing is left to do with it; what is pending goes into the next batch.",
        )
    payment = payment_of(batch)
    if payment is None:
        raise RefusedError(
            why=f"Batch {batch.pk} is {batch.status}, but no host payment was ever requested for it.",
            next_step="This should not be: run check_invariants.",
        )
    return payment
