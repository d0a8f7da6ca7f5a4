"""The record of what was taken out of the admin's lists."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from config.lib.audit import Actor
from payouts.models import Export

logger = logging.getLogger(__name__)


def record_export(
    *,
    subject: str,
    filters: Mapping[str, Sequence[str]],
    columns: Sequence[str],
    row_count: int,
    sha256: str,
    actor: Actor,
) -> Export:
    """Write down a file that is about to be handed over: without this row, nobody gets it."""
    export = Export.objects.create(
        subject=subject,
        filters=dict(filters),
        columns=list(columns),
        row_count=row_count,
        sha256=sha256,
        actor=str(actor),
    )
    logger.info("exported", extra={"subject": subject, "rows": row_count, "actor": str(actor)})
    return export


def record_refused_export(
    *, subject: str, filters: Mapping[str, Sequence[str]], columns: Sequence[str], why: str, actor: Actor
) -> Export:
    """Write down that somebody asked for a file and got none."""
    export = Export.objects.create(
        subject=subject, filters=dict(filters), columns=list(columns), refusal=why, actor=str(actor)
    )
    logger.warning("export refused", extra={"subject": subject, "why": why, "actor": str(actor)})
    return export
