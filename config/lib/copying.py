"""COPY whose rows are worked out while PostgreSQL takes those before them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from django.db import connection

# Some ten kilobytes of what is usual: enough to be worth a call, and little enough for the server to begin early.
_ROWS_AT_ONCE: Final = 50


def copy_rows(statement: str, rows: Iterator[Sequence[object]]) -> None:
    """Execute `COPY ... FROM STDIN WITH (FORMAT csv)` with these rows, drawing each of them when it is needed.

    Nothing between two commas is what the statement makes of it: NULL, or an empty text where it says FORCE_NOT_NULL.

    Raises:
        IntegrityError: a row breaks a rule of the table; nothing is inserted. Rows may have been drawn beyond it.
        Exception: whatever drawing a row raised, as it was. The statement then stored the rows before it, so call this
            within `transaction.atomic()`.
    """
    source = _Source(rows)
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.copy_expert(statement, source)
    if source.failure is not None:
        raise source.failure


class _Source:
    """The file that psycopg2 reads.

    What breaks while it is read would be told as the server's cancellation of the statement, with its text in the
    server's log. So the file ends there, and says afterwards why.
    """

    def __init__(self, rows: Iterator[Sequence[object]]) -> None:
        self.failure: Exception | None = None
        self._rows = rows

    def read(self, _size: int) -> str:
        lines = io.StringIO()
        try:
            csv.writer(lines, lineterminator="\n").writerows(islice(self._rows, _ROWS_AT_ONCE))
        except Exception as failure:  # noqa: BLE001 (raised by copy_rows)
            self.failure = failure
            return ""
        return lines.getvalue()
