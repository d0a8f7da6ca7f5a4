"""Statements that PostgreSQL parses and plans once for each connection, and not each time.

https://www.postgresql.org/docs/current/sql-prepare.html
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any
from weakref import WeakSet

from django.db import connection
from django.db.backends.utils import CursorWrapper


class Prepared:
    """One statement, prepared at its first use on a connection; for those so frequent that it is worth it.

    Args:
        name: of the server's, one for each statement.
        statement: with `%s` for each parameter, and no other percent sign.

    A plan is kept for as long as PostgreSQL thinks well of it: statistics and changes of a table make it plan anew.
    """

    def __init__(self, name: str, statement: str) -> None:
        number = statement.count("%s")
        first, *rest = statement.split("%s")
        numbered = first + "".join(f"${place}{part}" for place, part in zip(count(1), rest, strict=False))
        self._prepare = f"PREPARE {name} AS {numbered}"
        self._execute = f"EXECUTE {name} ({', '.join(['%s'] * number)})"
        # A connection that was opened anew has prepared nothing yet.
        self._prepared_on: WeakSet[Any] = WeakSet()

    def execute(self, cursor: CursorWrapper, parameters: Sequence[Any]) -> None:
        """As `cursor.execute(statement, parameters)` on Django's default connection; raises what that would."""
        # What Django opened for this cursor.
        opened = connection.connection
        if opened not in self._prepared_on:
            cursor.execute(self._prepare)
            self._prepared_on.add(opened)
        cursor.execute(self._execute, parameters)
