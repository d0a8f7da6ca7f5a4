"""Bounds for callers who do not prove who they are: what they cost us in a minute, and how fast they may guess."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import RefusedError
from payouts.models import FailedTries, RejectedDeliveries, TryKind

logger = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
# Failures to log in are forgotten after so long, and this many are free: of a name from one address, of an address.
_LOGIN_MEMORY = timedelta(hours=1)
_FREE_OF_PAIR, _FREE_OF_ADDRESS = 5, 20
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30, 900
_KEPT = timedelta(days=1)


def count_failure(*, kind: TryKind, address: str) -> bool:
    """Count one failed proof from `address`; true while the address has not had UNPROVEN_REQUESTS_PER_MINUTE of them."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT, {"kind": kind.value, "who": _network_of(address), "now": now, "fresh_from": now - MINUTE}
        )
        failures: int = cursor.fetchone()[0]
    return failures <= settings.UNPROVEN_REQUESTS_PER_MINUTE


def count_rejection(*, source: str, why: str) -> None:
    """Count one delivery that was turned away, for whoever watches the figures."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_REJECTION, {"source": source, "why": why})


def take_turn_to_log_in(*, username: str, address: str) -> int:
    """Seconds until somebody at `address` may try to log in as `username`; 0: now, and the try counts as failed.

    It is counted before the password is looked at, so that many tries at once are no way around. `forgive_login` takes
    it back. There is no bound for a name from all addresses together: whoever wanted could keep its owner out by it.
    """
    now = timezone.now()
    with transaction.atomic():
        # The address first: one that has to wait makes no further rows, whatever names it thinks of.
        rows = []
        for who, free in ((_network_of(address), _FREE_OF_ADDRESS), (_pair(username, address), _FREE_OF_PAIR)):
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
    counted = FailedTries.objects.filter(kind=TryKind.LOGIN, who=_network_of(address), failures__gt=0)
    counted.update(failures=F("failures") - 1)


def forget_failed_tries() -> int:
    """Delete what bounds nothing any more; says how much."""
    deleted, _ = FailedTries.objects.filter(failed_at__lt=timezone.now() - _KEPT).delete()
    return deleted


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


def rejected_totals() -> list[tuple[str, str, int]]:
    """Source, reason and number of all deliveries that were ever turned away."""
    return list(RejectedDeliveries.objects.order_by("source", "why").values_list("source", "why", "total"))


def _locked(who: str, now: datetime) -> FailedTries:
    FailedTries.objects.bulk_create(
        [FailedTries(kind=TryKind.LOGIN, who=who, since=now, failed_at=now)], ignore_conflicts=True
    )
    row = FailedTries.objects.select_for_update().get(kind=TryKind.LOGIN, who=who)
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


def _network_of(address: str) -> str:
    """The address, or of IPv6 the network of a single customer: who has one such address has 2^64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "nobody"
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


def _pair(username: str, address: str) -> str:
    return hashlib.sha256(f"{username.casefold()}\n{_network_of(address)}".encode()).hexdigest()


_COUNT = f"""
    INSERT INTO {FailedTries._meta.db_table} AS tries (kind, who, failures, since, failed_at)
    VALUES (%(kind)s, %(who)s, 1, %(now)s, %(now)s)
    ON CONFLICT (kind, who) DO UPDATE
    SET failures = CASE WHEN tries.since > %(fresh_from)s THEN tries.failures + 1 ELSE 1 END,
        since = CASE WHEN tries.since > %(fresh_from)s THEN tries.since ELSE %(now)s END,
        failed_at = %(now)s
    RETURNING failures
"""  # noqa: S608 (only names of ours)

_COUNT_REJECTION = f"""
    INSERT INTO {RejectedDeliveries._meta.db_table} AS rejected (source, why, total)
    VALUES (%(source)s, %(why)s, 1)
    ON CONFLICT (source, why) DO UPDATE SET total = rejected.total + 1
"""  # noqa: S608 (only names of ours)
