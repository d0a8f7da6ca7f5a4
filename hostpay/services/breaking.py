"""The circuit breaker: it opens by itself, and only a person closes it."""

from __future__ import annotations

import logging

from django.db import IntegrityError, transaction

from config.lib.audit import Actor
from hostpay.models import Breaker, BreakerCause

logger = logging.getLogger(__name__)


def open_breaker(*, cause: BreakerCause, detail: str, actor: Actor) -> Breaker:
    """No new signature from here on. Open for that cause already, it keeps its first detail."""
    try:
        with transaction.atomic():
            opened = Breaker.objects.create(cause=cause, detail=detail, opened_by=str(actor))
    except IntegrityError:
        return Breaker.objects.get(cause=cause, closed_at__isnull=True)
    logger.error("breaker opened", extra={"cause": str(cause), "detail": detail, "actor": str(actor)})
    return opened
