"""Background work of payouts."""

from celery import shared_task

from hostpay.services import beating
from payouts import services


@shared_task
def bound_rejected_events() -> None:
    """Keep only the newest deliveries that nobody signed."""
    with beating("bound_rejected_events"):
        services.bound_rejected_events()
