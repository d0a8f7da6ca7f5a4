"""COPY of rows that are worked out while it runs."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from config.lib.copying import copy_rows

pytestmark = pytest.mark.django_db

_COPY = "COPY words (number, word) FROM STDIN WITH (FORMAT csv, FORCE_NOT_NULL (word))"


@pytest.fixture(autouse=True)
def _words(db: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE words (number int UNIQUE, word text NOT NULL) ON COMMIT DROP")


def found() -> list[tuple[int | None, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number, word FROM words ORDER BY number")
        return list(cursor.fetchall())


@pytest.mark.parametrize("number", [0, 1, 49, 50, 51, 1000])
def test_it_takes_as_many_as_there_are(number: int) -> None:
    rows = [(each, f"word {each}") for each in range(number)]

    copy_rows(_COPY, iter(rows))

    assert found() == rows


def test_what_means_something_to_csv_arrives_as_it_is() -> None:
    rows = [(1, '"'), (2, ","), (3, "\\."), (4, "a\nb"), (5, ""), (6, "\\N"), (7, "\u00e9\U0001f600"), (None, "NULL")]

    copy_rows(_COPY, iter(rows))

    assert found() == rows


@pytest.mark.parametrize("good", [0, 10, 500])
def test_what_breaks_while_a_row_is_worked_out_is_raised_as_it_is_and_leaves_nothing(good: int) -> None:
    broken = ZeroDivisionError("a row")

    def rows() -> Iterator[tuple[int, str]]:
        yield from ((each, "word") for each in range(good))
        raise broken

    with pytest.raises(ZeroDivisionError) as caught, transaction.atomic():
        copy_rows(_COPY, rows())

    assert caught.value is broken
    assert found() == []


def test_a_broken_rule_is_an_integrity_error_and_leaves_nothing() -> None:
    with pytest.raises(IntegrityError, match="words_number_key"), transaction.atomic():
        copy_rows(_COPY, ((each % 300, "word") for each in range(500)))

    assert found() == []
