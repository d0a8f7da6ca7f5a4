"""What an invariant is, and what is said of one that does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

# The first rows are enough to act upon; ten thousand of them help nobody.
MOST_BREACHES = 5
# Sums over millions of members take some seconds; the task's own time limit comes later than this.
_TIMEOUT = "SET LOCAL statement_timeout = '120s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One row that breaks an invariant: where it is, and what is wrong with it."""

    row: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """A promise of ours that can be asked of the database or the chain.

    `look` gives the first rows that break it. `stops_money`: a breach means that books, signatures or chain do not
    agree, so nothing more may be signed until a person has looked; without it the breach is one of liveness or of
    secrecy, which stopping the money would not mend.
    """

    id: str
    promise: str
    look: Callable[[], list[Breach]]
    stops_money: bool = True
    asks_chain: bool = False


def by_sql(statement: str, **parameters: Any) -> Callable[[], list[Breach]]:
    """A look that is one statement, so one snapshot, whose rows are (row, sentence) of the breaches."""

    def look() -> list[Breach]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_TIMEOUT)
            cursor.execute(f"{statement}\nLIMIT {MOST_BREACHES}", parameters)
            return [Breach(row=row, sentence=sentence) for row, sentence in cursor.fetchall()]

    return look
