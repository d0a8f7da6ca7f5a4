"""Background work of payouts. A task is an id and a call; a message is a hint, the sweep is the engine."""

from celery import shared_task

from config.lib import audit, clock
from hostpay.services import beating
from payouts import services
from payouts.services import webhooks

_SWEPT_AT_ONCE = 200


@shared_task
def bound_rejected_events() -> None:
    """Keep only the newest deliveries that nobody signed, and no failure of long ago."""
    with beating("bound_rejected_events"):
        services.bound_rejected_events()
        services.forget_failed_tries()


@shared_task
def forget_bodies() -> None:
    """Keep the bodies of deliveries that are done with no longer than they may be needed."""
    with beating("forget_bodies"):
        services.forget_bodies()


@shared_task
def process_notification(event_id: int) -> None:
    """Find out what a stored notification tells, and take its payment as far as it goes."""
    actor = audit.worker("process_notification")
    payment_pk = services.process_notification(event_id=event_id, actor=actor)
    if payment_pk is not None:
        services.advance_payment(payment_pk=payment_pk, actor=actor)


@shared_task
def advance_now_payment(payment_pk: int) -> None:
    """Take the next step of a payment at NOWPayments."""
    services.advance_payment(payment_pk=payment_pk, actor=audit.worker("advance_now_payment"))


@shared_task
def sweep_nowpayments() -> None:
    """Hint at every notification that nobody processed, and at every payment that is due."""
    with beating("sweep_nowpayments"):
        for event_id in services.waiting_notifications(limit=_SWEPT_AT_ONCE):
            process_notification.delay(event_id)
        for payment_pk in services.due_payments(now=clock.now(), limit=_SWEPT_AT_ONCE):
            advance_now_payment.delay(payment_pk)


@shared_task
def replay_deliveries() -> None:
    """Process again, for some seconds, the deliveries that somebody asked for."""
    with beating("replay_deliveries"):
        services.carry_out_replays(actor=audit.worker("replay_deliveries"))


@shared_task
def settle_sent_again() -> None:
    """Call nobody for what was refused and sent again since."""
    with beating("settle_sent_again"):
        services.settle_sent_again(actor=audit.worker("settle_sent_again"))


@shared_task
def apply_destination_changes() -> None:
    """Pay clients where they asked to be paid, once their time to think has passed."""
    with beating("apply_destination_changes"):
        services.apply_destination_changes(now=clock.now())


@shared_task
def carry_out_void_orders() -> None:
    """Void what slipped past the word that it is void."""
    with beating("carry_out_void_orders"):
        services.carry_out_void_orders(actor=audit.worker("carry_out_void_orders"))


@shared_task
def forget_request_keys() -> None:
    """Keep no answer for longer than a week."""
    with beating("forget_request_keys"):
        services.forget_request_keys()


@shared_task
def sweep_webhooks() -> None:
    """Send what endpoints are to be told, for some seconds."""
    with beating("sweep_webhooks"):
        webhooks.deliver_due(actor=audit.worker("sweep_webhooks"))


@shared_task
def forget_webhooks() -> None:
    """Give up what has waited too long for disabled endpoints, and keep nothing that has ended for over two months."""
    with beating("forget_webhooks"):
        webhooks.give_up_of_disabled()
        webhooks.forget_deliveries()
