"""A backup of the books within a test: every row of ours as it is now, and put back later as a restore does it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from django.apps import apps
from django.db import connection, transaction

_APPS = ("payouts", "batches", "hostpay")
_numbers = itertools.count(1)


class Backup:
    """All rows of our apps, taken when it is made; `restore` may be called more than once."""

    def __init__(self) -> None:
        self._schema = f"backup_{next(_numbers)}"
        self._tables = _tables()
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {self._schema}")
            for table in self._tables:
                cursor.execute(f"CREATE TABLE {self._schema}.{table} AS TABLE public.{table}")

    @transaction.atomic
    def restore(self) -> None:
        """Put the rows back. A restore asks no trigger."""
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            for table in self._tables:
                cursor.execute(f"DELETE FROM public.{table}")  # noqa: S608 (names of our own models)
                cursor.execute(f"INSERT INTO public.{table} SELECT * FROM {self._schema}.{table}")  # noqa: S608

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {self._schema} CASCADE")


def _tables() -> Sequence[str]:
    return sorted({model._meta.db_table for app in _APPS for model in apps.get_app_config(app).get_models()})
