"""All that beat does, once: for cron, for a person, for a system whose broker is away."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from batches import services as batches
from config.env import SettingsError, signer_secrets
from config.lib.shell import shell_actor
from hostpay import services as hostpay
from hostpay.models import PaymentStatus
from hostpay.services import Handover

_TAKEN_AT_ONCE = 500


class Command(BaseCommand):
    help = (
        "Do all that beat does, once, in this process: check the threshold, then take every due payment as far as it "
        "goes. Signs only where the wallet's keystore is in the environment. "
        "Example: manage.py tick --until-quiet 30"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-check", action="store_true", help="Leave the threshold check out.")
        parser.add_argument(
            "--until-quiet",
            type=int,
            default=0,
            metavar="SECONDS",
            help="Repeat until no payment is due within a second, for at most this long.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        if not options["no_check"]:
            check = batches.check_threshold(actor=shell_actor())
            self.stdout.write(f"threshold check: {check}")
        may_sign = _has_key()
        deadline = time.monotonic() + options["until_quiet"]
        while True:
            taken = self._take_due(may_sign=may_sign)
            self.stdout.write(f"payments looked at: {taken}")
            if time.monotonic() >= deadline or not (taken or hostpay.due_payments(now=timezone.now(), limit=1)):
                return
            time.sleep(0.5)

    def _take_due(self, *, may_sign: bool) -> int:
        due = hostpay.due_payments(now=timezone.now(), limit=_TAKEN_AT_ONCE)
        for payment_id, status in due:
            self._take(payment_id, status, may_sign=may_sign)
        return len(due)

    def _take(self, payment_id: UUID, status: str, *, may_sign: bool) -> None:
        actor = shell_actor()
        handover = Handover.SIGNER if status == PaymentStatus.ORDERED else Handover.WORKER
        while handover is not Handover.NOBODY:
            if handover is Handover.SIGNER:
                if not may_sign:
                    self.stdout.write(f"payment {payment_id} waits for the signer: no keystore in this environment")
                    return
                handover = hostpay.sign(payment_id=payment_id, actor=actor)
            else:
                handover = hostpay.advance(payment_id=payment_id, actor=actor)


def _has_key() -> bool:
    try:
        signer_secrets()
    except SettingsError:
        return False
    return True
