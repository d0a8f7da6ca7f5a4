"""A database of the simulator's own: made by it, marked by it, emptied between histories, and of nobody else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections

from config.lib.errors import RefusedError

_SUFFIX = "_simulation"
_MARK = "simulation_mark"
_APPS = ("hostpay", "payouts", "batches")

# What takes its time from the server, a column's default or a statement, takes it from the simulated clock, so that it
# agrees with the program's. The server's own function is found behind ours, which stands in its place.
_SIMULATED_TIME = f"""
CREATE TABLE {_MARK} AS SELECT %(schema)s::text AS schema;
CREATE FUNCTION statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT coalesce(nullif(current_setting('sluice.now', true), '')::timestamptz, pg_catalog.statement_timestamp()) $$;
DO $$ DECLARE found record; BEGIN
    FOR found IN SELECT table_name, column_name FROM information_schema.columns
                  WHERE table_schema = 'public' AND column_default ILIKE '%%statement_timestamp%%' LOOP
        EXECUTE format('ALTER TABLE %%I ALTER COLUMN %%I SET DEFAULT public.statement_timestamp()', found.table_name, found.column_name);
    END LOOP;
    EXECUTE format('ALTER DATABASE %%I SET search_path TO public, pg_catalog', current_database());
END $$
"""  # noqa: S608 (only names of ours)


def enter(name: str = "") -> None:
    """From here on this process works in a database of the simulator's own beside the configured one, made if need be.

    Raises:
        RefusedError: a database of that name is there, with tables that the simulator did not make.
    """
    own = name or f"{connection.settings_dict['NAME']}{_SUFFIX}"
    elsewhere = connection.settings_dict["NAME"]
    _make_if_missing(own)
    _go_to(own)
    known = _schema_of_mark(own)
    if known == _schema_of_code():
        return
    if known is not None:
        # Ours, and made by another version of the migrations.
        _go_to(elsewhere)
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {connection.ops.quote_name(own)}")
        _make_if_missing(own)
        _go_to(own)
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(_SIMULATED_TIME, {"schema": _schema_of_code()})
    # The next connection finds the simulated clock.
    connections.close_all()


def empty() -> None:
    """Forget every row of ours. Only a marked database can get here."""
    tables = [model._meta.db_table for app in _APPS for model in apps.get_app_config(app).get_models()]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {_MARK}")  # noqa: S608 (a name of ours)
        cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")
    hurry()


def hurry() -> None:
    """Do not wait for the disk, on this connection: a simulation that loses power is run again."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")


def _make_if_missing(name: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)", [name])
        if not cursor.fetchone()[0]:
            cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(name)}")


def _go_to(name: str) -> None:
    connections.close_all()
    connection.settings_dict["NAME"] = name


def _schema_of_mark(name: str) -> str | None:
    tables = connection.introspection.table_names()
    if not tables:
        return None
    if _MARK not in tables:
        raise RefusedError(
            why=f"Database {name} has tables that the simulator did not make; nothing was touched.",
            next_step="Name another one with --database, or drop it.",
        )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT schema FROM {_MARK}")  # noqa: S608 (a name of ours)
        return str(cursor.fetchone()[0])


def _schema_of_code() -> str:
    files = sorted(path for app in _APPS for path in Path(apps.get_app_config(app).path).glob("migrations/0*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
