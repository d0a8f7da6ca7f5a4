"""The one clock of all processes: the database's. A worker's own may jump by a day, and must neither hold nor free money."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

# Machines that keep their time are not this far from one another.
AGREES_WITHIN: Final = timedelta(seconds=5)


def now() -> datetime:
    """What time it is by the database, in UTC; of a statement of its own, so it goes on within a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def apart() -> timedelta:
    """How far this machine's clock is from the database's, either way."""
    return abs(timezone.now() - now())
