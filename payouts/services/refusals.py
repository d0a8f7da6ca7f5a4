"""How often what was signed was refused all the same, or conflicts: one row for each source and code, and it only grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from django.db import connection

from payouts.models import RejectedDeliveries


def count_refusals(*, source: str, codes: Iterable[str]) -> None:
    """Count what was refused with these codes of errors, for whoever watches the figures; nothing is asked for none."""
    counted = sorted(Counter(codes).items())
    if not counted:
        return
    with connection.cursor() as cursor:
        # In the same order in every process: each row waits for who has it.
        cursor.execute(_COUNT, [source, [code for code, _ in counted], [number for _, number in counted]])


_COUNT = f"""
    INSERT INTO {RejectedDeliveries._meta.db_table} AS rejected (source, why, total)
    SELECT %s, * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (source, why) DO UPDATE SET total = rejected.total + excluded.total
"""  # noqa: S608 (only names of ours)
