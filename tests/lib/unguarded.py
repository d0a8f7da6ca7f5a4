"""What the database refuses to everybody, done all the same: a superuser's slip, or time that passed for a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.models import Model


@contextmanager
def unguarded(*models: type[Model]) -> Iterator[None]:
    """Within, no trigger of ours looks at the rows of these models."""
    _switch("DISABLE", models)
    try:
        yield
    finally:
        _switch("ENABLE", models)


def _switch(how: str, models: tuple[type[Model], ...]) -> None:
    with connection.cursor() as cursor:
        # A table with constraints still to be checked cannot be altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for model in models:
            cursor.execute(f"ALTER TABLE {model._meta.db_table} {how} TRIGGER USER")
