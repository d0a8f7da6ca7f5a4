"""Statements prepared once for each connection."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from config.lib.prepared import Prepared

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _numbers(db: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE prepared_numbers (number numeric PRIMARY KEY, word text, body bytea)")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE prepared_numbers")


@pytest.fixture
def insertion(request: Any) -> Prepared:
    statement = "INSERT INTO prepared_numbers SELECT %s, %s, %s WHERE %s <> 'nobody' RETURNING number"
    return Prepared("insertion_of_tests", statement)


def insert(statement: Prepared, number: object, word: str | None = "one", body: bytes = b"\x00'%s") -> object:
    with connection.cursor() as cursor:
        statement.execute(cursor, (number, word, body, "somebody"))
        return cursor.fetchone()[0]


def prepared_names() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return [name for (name,) in cursor.fetchall()]


def test_it_does_what_the_statement_does_and_is_prepared_once(insertion: Prepared) -> None:
    assert [insert(insertion, 1), insert(insertion, 2, None), insert(insertion, 3, "%s $1")] == [1, 2, 3]

    assert prepared_names().count("insertion_of_tests") == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT word, body FROM prepared_numbers ORDER BY number")
        rows = [(word, bytes(body)) for word, body in cursor.fetchall()]
    assert rows == [("one", b"\x00'%s"), (None, b"\x00'%s"), ("%s $1", b"\x00'%s")]


def test_it_is_prepared_anew_on_a_new_connection(insertion: Prepared) -> None:
    insert(insertion, 1)
    connection.close()

    assert insert(insertion, 2) == 2


def test_what_is_rolled_back_leaves_it_prepared(insertion: Prepared) -> None:
    with transaction.atomic():
        insert(insertion, 1)
        transaction.set_rollback(True)

    assert insert(insertion, 1) == 1
    with pytest.raises(IntegrityError):
        insert(insertion, 1)


def test_a_table_that_gains_a_column_meanwhile_is_met_as_it_is(insertion: Prepared) -> None:
    insert(insertion, 1)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE prepared_numbers ADD COLUMN more int NOT NULL DEFAULT 7")

    assert insert(insertion, 2) == 2
