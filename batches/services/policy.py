"""The rules in force, in versions."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.db import transaction

from batches.models import ConversionPolicy
from config.lib import locks
from config.lib.audit import Actor, ActorKind
from config.lib.errors import RefusedError

_SETTINGS = Actor(ActorKind.COMMAND, "settings")


def current_policy() -> ConversionPolicy:
    """The newest version; the first one is made of the settings when there is none yet."""
    return _newest() or _first()


def set_policy(
    *, threshold_usd: Decimal, converts_unreceipted: bool, tolerance_bps: int, actor: Actor, reason: str
) -> ConversionPolicy:
    """Put a new version of the rules into force; the next check goes by it, one under way by the version it read.

    Raises:
        RefusedError: no reason given, a figure is out of range, or nothing would change.
    """
    _refuse_nonsense(threshold_usd, tolerance_bps, reason)
    with transaction.atomic():
        locks.hold(locks.Lock.POLICY)
        newest = _newest() or _insert_first()
        rules = (threshold_usd, converts_unreceipted, tolerance_bps)
        if rules == (newest.threshold_usd, newest.converts_unreceipted, newest.tolerance_bps):
            raise RefusedError(
                why=f"Policy version {newest.version} says exactly this already.",
                next_step="Change a figure, or leave it as it is.",
            )
        return ConversionPolicy.objects.create(
            version=newest.version + 1,
            threshold_usd=threshold_usd,
            converts_unreceipted=converts_unreceipted,
            tolerance_bps=tolerance_bps,
            reason=reason.strip(),
            created_by=str(actor),
        )


def _refuse_nonsense(threshold_usd: Decimal, tolerance_bps: int, reason: str) -> None:
    if not reason.strip():
        raise RefusedError(why="A change of policy needs a reason.", next_step="Say why; it stays with the version.")
    if not threshold_usd.is_finite() or not Decimal(0) < threshold_usd < Decimal(10) ** 12:
        raise RefusedError(
            why=f"A threshold of {threshold_usd} USD is out of range.", next_step="Give a positive amount below 10^12."
        )
    if threshold_usd != round(threshold_usd, 8):
        raise RefusedError(
            why=f"The threshold {threshold_usd} USD has more than 8 decimals.", next_step="Give at most 8."
        )
    if not 0 <= tolerance_bps <= 10_000:
        raise RefusedError(
            why=f"A tolerance of {tolerance_bps} hundredths of a percent is out of range.",
            next_step="Give 0 to 10000.",
        )


def _newest() -> ConversionPolicy | None:
    return ConversionPolicy.objects.order_by("-version").first()


def _first() -> ConversionPolicy:
    with transaction.atomic():
        locks.hold(locks.Lock.POLICY)
        return _newest() or _insert_first()


def _insert_first() -> ConversionPolicy:
    return ConversionPolicy.objects.create(
        version=1,
        threshold_usd=settings.MICRO_BATCH_THRESHOLD_USD,
        reason="first value: MICRO_BATCH_THRESHOLD_USD of the settings",
        created_by=str(_SETTINGS),
    )
