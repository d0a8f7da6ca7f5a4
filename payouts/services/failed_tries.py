"""How fast somebody may guess passwords, and how long failures are kept."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import RefusedError
from config.lib.forgetting import forget
from payouts.models import FailedTries, TryKind
from payouts.services.callers import counted_as

logger = logging.getLogger(__name__)

# Failures to log in are forgotten after so long, and this many are free: of a name from one address, of an address
# (of IPv6, of its line, and some times as many of its site).
_LOGIN_MEMORY = timedelta(hours=1)
_FREE_OF_PAIR, _FREE_OF_ADDRESS = 5, 20
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30, 900
_KEPT = timedelta(days=1)


def take_turn_to_log_in(*, username: str, address: str) -> int:
    """Seconds until somebody at `address` may try to log in as `username`; 0: now, and the try counts as failed.

    It is counted before the password is looked at, so that many tries at once are no way around. `forgive_login` takes
    it back. There is no bound for a name from all addresses together: whoever wanted could keep its owner out by it.
    """
    now = timezone.now()
    with transaction.atomic():
        # The address first, its site before its line: who has to wait makes no further rows, whatever it thinks of.
        bounds = [(who, share * _FREE_OF_ADDRESS) for who, share in counted_as(address)]
        rows = []
        for who, free in (*bounds, (_pair(username, address), _FREE_OF_PAIR)):
            row = _locked(who, now)
            wait_s = _wait_s(row, free, now)
            if wait_s:
                return wait_s
            rows.append(row)
        for row in rows:
            row.failures, row.failed_at = row.failures + 1, now
            row.save()
    return 0


def forgive_login(*, username: str, address: str) -> None:
    """The try that was counted last was a good one."""
    FailedTries.objects.filter(kind=TryKind.LOGIN, who=_pair(username, address)).delete()
    callers = [who for who, _ in counted_as(address)]
    FailedTries.objects.filter(kind=TryKind.LOGIN, who__in=callers, failures__gt=0).update(failures=F("failures") - 1)


def forget_failed_tries() -> int:
    """Delete what bounds nothing any more; says how much."""
    return forget(FailedTries.objects.filter(failed_at__lt=timezone.now() - _KEPT))


def forget_failures_of(*, tries: FailedTries, actor: Actor, reason: str) -> None:
    """Hear somebody again who has to wait.

    Raises:
        RefusedError: without a reason.
    """
    if not reason.strip():
        raise RefusedError(why="The failures were not forgotten: a reason is missing.", next_step="Say why.")
    FailedTries.objects.filter(pk=tries.pk).update(failures=0)
    logger.info(
        "failed tries forgotten", extra={"kind": tries.kind, "who": tries.who, "actor": str(actor), "reason": reason}
    )


def _locked(who: str, now: datetime) -> FailedTries:
    FailedTries.objects.bulk_create(
        [FailedTries(kind=TryKind.LOGIN, who=who, since=now, failed_at=now)],
        # Changes nothing, and takes the lock: else the sweep could forget the row before we have it.
        update_conflicts=True,
        unique_fields=("kind", "who"),
        update_fields=("kind",),
    )
    row = FailedTries.objects.get(kind=TryKind.LOGIN, who=who)
    if row.failed_at < now - _LOGIN_MEMORY:
        row.failures, row.since = 0, now
    return row


def _wait_s(row: FailedTries, free: int, now: datetime) -> int:
    """Doubles with each failure beyond the free ones."""
    if row.failures < free:
        return 0
    wait_s = min(_FIRST_WAIT_S * 2 ** min(row.failures - free, 16), _LONGEST_WAIT_S)
    left = row.failed_at + timedelta(seconds=wait_s) - now
    return max(0, -(-left // timedelta(seconds=1)))


def _pair(username: str, address: str) -> str:
    narrowest, _ = counted_as(address)[-1]
    return hashlib.sha256(f"{username.casefold()}\n{narrowest}".encode()).hexdigest()
