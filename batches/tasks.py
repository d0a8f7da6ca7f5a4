"""Celery's side of batches: an id and a call each."""

from celery import shared_task
from django.db import transaction

from batches import services
from batches.models import BatchConversion
from config.lib.audit import beat
from hostpay import tasks as hostpay_tasks
from hostpay.services import Handover, beating


@shared_task
def check_threshold() -> None:
    """Look once whether a batch is due."""
    with beating(services.HEARTBEAT):
        check = services.check_threshold(actor=beat("check the threshold"))
    if check.batch is not None:
        hint_at_payment_of(check.batch)


def hint_at_payment_of(batch: BatchConversion) -> None:
    """After the commit, tell a worker that the batch's host payment is due; the sweep would find it anyway."""
    payment = services.payment_of(batch)
    if payment is None:
        return
    payment_id = str(payment.pk)

    # Not a partial: Django's robust hooks want a name to log.
    def hint() -> None:
        hostpay_tasks.hint(payment_id, Handover.WORKER)

    # Robust: the batch stands even when the broker is down.
    transaction.on_commit(hint, robust=True)
