"""The switches: stop the intake, new batches or new signatures, at once and with a reason."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from config.lib import clock, locks
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from hostpay.models import Pause, Switch

# Whoever acts under a switch holds its lock shared (the threshold check holds its own alone) until it commits, and asks
# under it, so a pause that has committed has no forerunner still under way. One exception: the usual payment asks in the
# one statement that records it and takes no lock, so it may commit a moment after the pause. It sends no money out.
LOCK_OF = {
    Switch.INTAKE: locks.Lock.INTAKE,
    Switch.BATCHES: locks.Lock.THRESHOLD_CHECK,
    Switch.SIGNING: locks.Lock.SIGNING,
}


class PausedError(RefusedError):
    """An operator has paused this."""

    code = "paused"


def is_paused(switch: Switch) -> Pause | None:
    """The pause in force, if there is one."""
    return Pause.objects.in_force().filter(switch=switch).first()


def refuse_if_paused(switch: Switch) -> None:
    """Go on only if nothing pauses `switch`.

    Raises:
        PausedError: a pause is in force.
    """
    pause = is_paused(switch)
    if pause is not None:
        raise PausedError(
            why=f"{Switch(switch).label.capitalize()} paused by {pause.actor} since {pause.paused_at:%Y-%m-%d %H:%M} UTC: {pause.reason}.",
            next_step="It goes on when the pause is lifted or runs out.",
        )


def pause(*, switch: Switch, actor: Actor, reason: str, expires_at: datetime | None = None) -> Pause:
    """Pause `switch`; when this returns and commits, nothing new starts and nothing old is still starting.

    But for a payment that was recorded by one statement while the intake was being paused; see LOCK_OF.

    Raises:
        RefusedError: no reason given, the expiry is past, or it is paused already.
    """
    if not reason.strip():
        raise RefusedError(why="A pause needs a reason.", next_step="Say why.")
    now = clock.now()
    if expires_at is not None and expires_at <= now:
        raise RefusedError(why="The pause would have run out already.", next_step="Give a time in the future.")
    with transaction.atomic():
        locks.hold_patiently(LOCK_OF[switch])
        for open_pause in Pause.objects.filter(switch=switch, resumed_at__isnull=True):
            if open_pause.expires_at is None or open_pause.expires_at > now:
                raise RefusedError(
                    why=f"{switch.label.capitalize()} is paused already, by {open_pause.actor}: {open_pause.reason}.",
                    next_step="Lift that pause first if it should be another one.",
                )
            # Run out: closed in its place, so that the new one can be the open one.
            Pause.objects.filter(pk=open_pause.pk).update(resumed_at=open_pause.expires_at, resumed_by="expiry")
        return Pause.objects.create(switch=switch, reason=reason.strip(), actor=str(actor), expires_at=expires_at)


def resume(*, switch: Switch, actor: Actor) -> Pause:
    """Lift the pause of `switch`.

    Raises:
        RefusedError: nothing is paused.
    """
    with transaction.atomic():
        locks.hold_patiently(LOCK_OF[switch])
        open_pause = Pause.objects.select_for_update().filter(switch=switch, resumed_at__isnull=True).first()
        if open_pause is None:
            raise RefusedError(why=f"{switch.label.capitalize()} is not paused.", next_step="Nothing is to be done.")
        open_pause.resumed_at = clock.now()
        open_pause.resumed_by = str(actor)
        open_pause.save(update_fields=("resumed_at", "resumed_by"))
        return open_pause
