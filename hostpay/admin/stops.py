"""What stands still as a whole: the red bar above every page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from config.lib.adminkit.links import page_of
from hostpay.models import Breaker, Pause, Wallet


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One thing that was stopped: what, why, and by whom since when."""

    what: str
    why: str
    who: str
    url: str
    icon: str


def stops() -> list[Stop]:
    """Pauses in force, open breakers and halted wallets; three queries by small tables or partial indexes."""
    pauses = [
        Stop(
            what=f"Paused: {pause.get_switch_display()}",
            why=pause.reason,
            who=f"{pause.actor}, {_since(pause.paused_at)}"
            + (f", until {pause.expires_at:%Y-%m-%d %H:%M} UTC" if pause.expires_at else ""),
            url=page_of(pause),
            icon="pause_circle",
        )
        for pause in Pause.objects.in_force().order_by("paused_at")
    ]
    breakers = [
        Stop(
            what=f"Breaker open: {breaker.get_cause_display()}",
            why=breaker.detail,
            who=f"{breaker.opened_by}, {_since(breaker.opened_at)}",
            url=page_of(breaker),
            icon="electrical_services",
        )
        for breaker in Breaker.objects.filter(closed_at__isnull=True).order_by("opened_at")
    ]
    halted = [
        Stop(
            what="Wallet halted",
            why=wallet.halted_reason,
            who=_since(wallet.halted_at) if wallet.halted_at else "",
            url=page_of(wallet),
            icon="back_hand",
        )
        for wallet in Wallet.objects.exclude(halted_reason="")
    ]
    return [*pauses, *breakers, *halted]


def _since(moment: datetime) -> str:
    return f"since {moment:%Y-%m-%d %H:%M} UTC"
