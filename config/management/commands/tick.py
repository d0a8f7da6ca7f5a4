"""All that beat does, once: for cron, for a person, for a system whose broker is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from batches import services as batches
from config.env import SettingsError, signer_secrets
from config.lib import clock
from config.lib.shell import shell_actor
from config.schedule import SCHEDULE, Entry
from hostpay import services as hostpay
from hostpay.models import PaymentStatus
from hostpay.services import Handover, beating
from hostpay.tasks import SWEEP_HEARTBEAT
from payouts import services as payouts
from payouts.services import webhooks

logger = logging.getLogger(__name__)

_TAKEN_AT_ONCE = 500
_SWEEPS = frozenset({"sweep_payments", "sweep_nowpayments", "sweep_webhooks"})


class _Isolated:
    """Lets one piece of work fail without the others: what it raises is logged and remembered, and goes no further.

    As a worker does it, in which one task's error ends that task. A signal, or the end of the process, goes on up.
    """

    def __init__(self, name: str, failures: list[str]) -> None:
        self._name = name
        self._failures = failures

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        logger.error("part of a tick failed", extra={"part": self._name}, exc_info=error)
        self._failures.append(f"{self._name} ({type(error).__name__}: {error})")
        return True


class Command(BaseCommand):
    help = (
        "Do all that beat does, once, in this process and without a broker: check the threshold, take every due payment "
        "as far as it goes, ask the invariants, tidy up. Signs only where the wallet's keystore is in the environment. "
        "Ends with 1 if any part failed; the others were done. Example: manage.py tick --until-quiet 30"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only",
            action="append",
            choices=[_short(entry) for entry in SCHEDULE],
            metavar="PART",
            help="Do this part of the schedule only, by its task's name; may be repeated.",
        )
        parser.add_argument(
            "--until-quiet",
            type=int,
            default=0,
            metavar="SECONDS",
            help="Go on taking due payments until none is due within a second, for at most this long.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        self._failures: list[str] = []
        self._may_sign = _has_key()
        deadline = time.monotonic() + options["until_quiet"]
        chosen = [entry for entry in SCHEDULE if not options["only"] or _short(entry) in options["only"]]
        for entry in chosen:
            self._do(entry)
        sweeps = [entry for entry in chosen if _short(entry) in _SWEEPS]
        while time.monotonic() < deadline and _is_any_due():
            time.sleep(0.5)
            for entry in sweeps:
                self._do(entry)
        if self._failures:
            raise CommandError(f"{len(self._failures)} failed: {'; '.join(self._failures)}")

    def _do(self, entry: Entry) -> None:
        # What only sends messages is done here instead; all the others are calls.
        instead: dict[str, Callable[[], None]] = {
            "check_threshold": self._check_threshold,
            "sweep_payments": self._sweep_payments,
            "sweep_nowpayments": self._sweep_nowpayments,
        }
        with _Isolated(entry.name, self._failures):
            instead.get(_short(entry), import_string(entry.task))()

    def _check_threshold(self) -> None:
        with beating(batches.HEARTBEAT):
            check = batches.check_threshold(actor=shell_actor())
        self.stdout.write(f"threshold check: {check}")

    def _sweep_payments(self) -> None:
        with beating(SWEEP_HEARTBEAT):
            due = hostpay.due_payments(now=clock.now(), limit=_TAKEN_AT_ONCE)
            for payment_id, status in due:
                with _Isolated(f"payment {payment_id}", self._failures):
                    self._take(payment_id, status)
        self.stdout.write(f"payments looked at: {len(due)}")

    def _take(self, payment_id: UUID, status: str) -> None:
        actor = shell_actor()
        handover = Handover.SIGNER if status == PaymentStatus.ORDERED else Handover.WORKER
        while handover is not Handover.NOBODY:
            if handover is Handover.SIGNER:
                if not self._may_sign:
                    self.stdout.write(f"payment {payment_id} waits for the signer: no keystore in this environment")
                    return
                handover = hostpay.sign(payment_id=payment_id, actor=actor)
            else:
                handover = hostpay.advance(payment_id=payment_id, actor=actor)

    def _sweep_nowpayments(self) -> None:
        with beating("sweep_nowpayments"):
            waiting = payouts.waiting_notifications(limit=_TAKEN_AT_ONCE)
            for event_id in waiting:
                with _Isolated(f"notification {event_id}", self._failures):
                    payouts.process_notification(event_id=event_id, actor=shell_actor())
            due = payouts.due_payments(now=clock.now(), limit=_TAKEN_AT_ONCE)
            for payment_pk in due:
                with _Isolated(f"NOWPayments payment {payment_pk}", self._failures):
                    payouts.advance_payment(payment_pk=payment_pk, actor=shell_actor())
        self.stdout.write(f"notifications processed: {len(waiting)}; payments at NOWPayments looked at: {len(due)}")


def _short(entry: Entry) -> str:
    return entry.task.rpartition(".")[2]


def _is_any_due() -> bool:
    now = clock.now() + timedelta(seconds=1)
    return bool(
        hostpay.due_payments(now=now, limit=1) or payouts.due_payments(now=now, limit=1) or webhooks.is_any_due(now=now)
    )


def _has_key() -> bool:
    try:
        signer_secrets()
    except SettingsError:
        return False
    return True
