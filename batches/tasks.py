"""Celery's side of batches: an id and a call each."""

from functools import partial

from celery import shared_task

from batches import services
from batches.models import BatchConversion
from config.lib.audit import beat
from config.lib.commits import after_commit
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
    after_commit(partial(hostpay_tasks.hint, str(payment.pk), Handover.WORKER))
