"""Deleting what has had its time: in portions, so that no statement runs long and no lock is held for all of it."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)

AT_ONCE = 5000


def forget(old: QuerySet[M], *, at_once: int = AT_ONCE) -> int:
    """Delete the rows of `old`, each portion of them in a transaction of its own; says how many went.

    A row that is no longer one of them when its turn comes stays. Rows that others refer to are not for this.
    """
    forgotten = 0
    while True:
        # Asked of the rows themselves once more: whoever was waited for may have brought one up to date.
        count, _ = old.filter(pk__in=old.values("pk")[:at_once]).delete()
        forgotten += count
        if count < at_once:
            return forgotten
