"""The circuit breaker: it opens by itself, and only a person closes it.

An opening does not wait for a signature that is just being stored; a pause does. Whoever signs looks at it last.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now

from config.lib.audit import Actor, ActorKind
from config.lib.errors import RefusedError
from hostpay.models import Breaker, BreakerCause, HostPaymentStatusChange, PaymentStatus

logger = logging.getLogger(__name__)

_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)
_PAID_IN_VAIN = (PaymentStatus.FAILED, PaymentStatus.REFUNDED)


def open_breaker(*, cause: BreakerCause, detail: str, actor: Actor) -> Breaker:
    """No new signature from here on. Open for that cause already, it keeps its first detail.

    Raises:
        RefusedError: no detail is given.
    """
    if not detail.strip():
        raise RefusedError(why="The breaker needs a reason.", next_step="Say why.")
    opened, is_new = Breaker.objects.get_or_create(
        cause=cause, closed_at=None, defaults={"detail": detail.strip(), "opened_by": str(actor)}
    )
    if is_new:
        logger.error("breaker opened", extra={"cause": str(cause), "detail": detail, "actor": str(actor)})
    return opened


def close_breaker(*, breaker: Breaker, actor: Actor, reason: str) -> Breaker:
    """Let signing go on, as far as this opening held it back.

    Raises:
        RefusedError: it is closed already, no reason is given, or it is not a person who asks.
    """
    if actor.kind not in _PEOPLE:
        raise RefusedError(why=f"Only a person closes the breaker, not {actor}.", next_step="Ask an operator.")
    if not reason.strip():
        raise RefusedError(why="This needs a reason.", next_step="Say what was found; it is kept.")
    with transaction.atomic():
        row = Breaker.objects.select_for_update().get(pk=breaker.pk)
        if row.closed_at is not None:
            raise RefusedError(
                why=f"It was closed by {row.closed_by} at {row.closed_at:%Y-%m-%d %H:%M} UTC: {row.close_reason}.",
                next_step="Nothing is to be done.",
            )
        Breaker.objects.filter(pk=row.pk).update(closed_at=Now(), closed_by=str(actor), close_reason=reason.strip())
        row.refresh_from_db()
    logger.warning("breaker closed", extra={"cause": row.cause, "actor": str(actor), "reason": reason})
    return row


def was_looked_into(*, cause: BreakerCause, line: str) -> bool:
    """Whether a person has closed an opening for that cause which names exactly this, as a line of its detail."""
    closed = Breaker.objects.filter(cause=cause, closed_at__isnull=False, detail__contains=line)
    return any(line in detail.splitlines() for detail in closed.values_list("detail", flat=True))


def open_breakers() -> list[Breaker]:
    """Those that nobody has closed yet, the oldest first; at most one a cause."""
    return list(Breaker.objects.filter(closed_at__isnull=True).order_by("opened_at", "pk"))


def open_if_failing(*, actor: Actor) -> Breaker | None:
    """Open the breaker if the latest payments that were signed all ended in vain; None if they did not.

    Counted are ends since the breaker was last closed for this cause: whoever closed it has seen the others.
    """
    seen = Breaker.objects.filter(cause=BreakerCause.FAILURES).aggregate(until=Max("closed_at"))["until"]
    # Stamped and numbered by the database, so that no worker's clock changes the order.
    ends = HostPaymentStatusChange.objects.filter(
        from_status__in=(PaymentStatus.BROADCAST, PaymentStatus.FINAL),
        to_status__in=(PaymentStatus.SETTLED, *_PAID_IN_VAIN),
    )
    if seen is not None:
        ends = ends.filter(created_at__gt=seen)
    latest = list(ends.select_related("subject").order_by("-pk")[: settings.BREAKER_AFTER_FAILURES])
    in_vain = [end for end in latest if end.to_status in _PAID_IN_VAIN]
    if len(in_vain) < settings.BREAKER_AFTER_FAILURES:
        return None
    return open_breaker(
        cause=BreakerCause.FAILURES,
        detail=f"the last {len(in_vain)} payments that were sent brought nothing, the latest of them"
        f" {in_vain[0].subject}: {in_vain[0].reason}",
        actor=actor,
    )
