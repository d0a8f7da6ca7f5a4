"""Background work of hostpay. A task is an id and a call; a message is a hint, the sweep is the engine."""

from uuid import UUID

from celery import shared_task
from django.conf import settings

from config.lib import audit, clock
from hostpay import services
from hostpay.models import PaymentStatus
from hostpay.services import Handover

_SWEPT_AT_ONCE = 500
SWEEP_HEARTBEAT = "sweep_payments"


def hint(payment_id: str, handover: Handover) -> None:
    """Tell whoever is next that the payment is due. A hint nobody took in time is worth nothing: the sweep repeats it."""
    expires = 4 * settings.SWEEP_EVERY_S
    if handover is Handover.SIGNER:
        sign_payment.apply_async((payment_id,), expires=expires)
    elif handover is Handover.WORKER:
        advance_payment.apply_async((payment_id,), expires=expires)


@shared_task
def advance_payment(payment_id: str) -> None:
    """Take the payment's next steps, all but the signature."""
    hint(payment_id, services.advance(payment_id=UUID(payment_id), actor=audit.worker("advance_payment")))


@shared_task
def sign_payment(payment_id: str) -> None:
    """Sign the payment; runs in the signer's queue, where the key is."""
    hint(payment_id, services.sign(payment_id=UUID(payment_id), actor=audit.worker("sign_payment")))


@shared_task
def sweep_payments() -> None:
    """Hint at every payment that is due."""
    with services.beating(SWEEP_HEARTBEAT):
        for payment_id, status in services.due_payments(now=clock.now(), limit=_SWEPT_AT_ONCE):
            hint(str(payment_id), Handover.SIGNER if status == PaymentStatus.ORDERED else Handover.WORKER)


@shared_task
def forget_used_tokens() -> None:
    """Delete the nonces of tokens that could no longer verify."""
    with services.beating("forget_used_tokens"):
        services.forget_used_tokens(now=clock.now())
