"""The Celery application. A message is a hint that something is due; the sweeps would find it anyway."""

import os
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

DEFAULT_QUEUE = "default"
# Only the worker of this queue has the wallet's key in its environment.
SIGNER_QUEUE = "signer"

# Beat's messages live for their interval, and for so many seconds at least.
MESSAGE_LIVES_S = 10


def transport_options(broker_url: str) -> dict[str, Any]:
    """Options of the broker's own transport; only Redis has any.

    Redis hands a message out again when it was not acknowledged for `visibility_timeout`, so that must exceed the
    longest run of a task; the restore settings make it look for such messages often (RabbitMQ notices a lost
    connection by itself).
    """
    if not urlsplit(broker_url).scheme.startswith(("redis", "rediss")):
        return {}
    return {
        "visibility_timeout": 600,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # A machine that does not even refuse must not hold up a request that only wants to leave a hint.
        "socket_connect_timeout": 1,
    }


app = Celery("sluice")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_transport_options=transport_options(settings.CELERY_BROKER_URL),
    broker_connection_retry_on_startup=True,
    timezone="UTC",
    enable_utc=True,
    # JSON only: a message can be read by a person, and cannot carry code.
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    # What happened stands in our tables; nobody reads a task's result.
    task_ignore_result=True,
    # A task is done when it is done, not when it was handed out; all of them may run twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    # Below the visibility timeout: a task that hangs is ended before its message is handed out again.
    task_time_limit=300,
    task_soft_time_limit=240,
    worker_max_tasks_per_child=10_000,
    task_default_queue=DEFAULT_QUEUE,
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in (DEFAULT_QUEUE, SIGNER_QUEUE)],
    task_create_missing_queues=False,
    task_routes={"hostpay.tasks.sign_payment": {"queue": SIGNER_QUEUE, "routing_key": SIGNER_QUEUE}},
    # A hint to a broker that is down is worth a moment, not a request's time: the sweep follows anyway.
    task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
    # How often beat looks for an operator's change of the schedule, in seconds.
    beat_max_loop_interval=5,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_options: object) -> None:
    """Celery configures logging unless somebody is connected here; the settings have done it already."""


@celeryd_init.connect
def check_worker(options: dict[str, Any], **_rest: object) -> None:
    """Ends a worker that has a key it must not have, or finds another chain than the settings say."""
    from config.starting import check_worker as check  # noqa: PLC0415 (clients, once the settings are read)

    every = (DEFAULT_QUEUE, SIGNER_QUEUE)
    check(
        queues=set(options.get("queues") or every) - set(options.get("exclude_queues") or ()), signer_queue=SIGNER_QUEUE
    )


@beat_init.connect
def check_beat(**_rest: object) -> None:
    """Ends a beat that has the wallet's key."""
    from config.starting import refuse_key  # noqa: PLC0415

    refuse_key(who="beat")


@app.on_after_finalize.connect
def fill_beat_schedule(sender: Celery, **_options: object) -> None:
    """Puts config.schedule's entries into force. Late, because its intervals come from the settings."""
    from config.schedule import SCHEDULE  # noqa: PLC0415

    sender.conf.beat_schedule = {
        entry.name: {
            "task": entry.task,
            "schedule": timedelta(seconds=entry.every_s),
            # While no worker runs, what is overdue must not pile up: the next message says the same. Not sooner than a
            # busy worker comes by, or a sweep that runs each second would never be heard.
            "options": {"expire_seconds": max(entry.every_s, MESSAGE_LIVES_S)},
        }
        for entry in SCHEDULE
    }
