"""The simulator in a slice of time: known seeds again, and as many new histories as fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from django.db import connection

from config.stack.paths import PROJECT_ROOT

pytestmark = pytest.mark.slow

_SEEDS = Path(__file__).with_name("seeds")
_SLICE_S = 25


def _simulate(*arguments: str, database: str = "") -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, on the server of the tests and beside their databases."""
    # Each xdist worker its own, as two simulations in one database would not be alone.
    own = database or f"simulation_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    return subprocess.run(
        [sys.executable, "manage.py", "simulate", "--database", own, *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def _known() -> list[tuple[str, str]]:
    lines = [line.split() for line in _SEEDS.read_text().splitlines() if line and not line.startswith("#")]
    return [(seed, steps) for seed, steps in lines]


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(("seed", "steps"), _known())
def test_a_known_seed_holds(seed: str, steps: str) -> None:
    played = _simulate("--seed", seed, "--steps", steps)

    assert played.returncode == 0, played.stderr
    assert f"seed {seed}: {steps} steps" in played.stdout


@pytest.mark.usefixtures("db")
def test_new_histories_hold() -> None:
    """The same ones in every run, as many as fit: whether a change lands must not hang on luck.

    Others are looked for by hand (`simulate --for`); a failing one prints its seed, which then belongs into the file.
    """
    played = _simulate("--seed", "5000", "--steps", "250", "--histories", "4", "--for", str(_SLICE_S), "--report")

    assert played.returncode == 0, played.stderr
    assert "crashes" in played.stdout


@pytest.mark.usefixtures("db")
def test_the_same_seed_is_the_same_history() -> None:
    once, again = (_simulate("--seed", "11", "--steps", "120", "--trace") for _ in range(2))

    assert once.returncode == again.returncode == 0, once.stderr + again.stderr
    assert once.stdout == again.stdout
    assert len(once.stdout.splitlines()) >= 120


@pytest.fixture
def somebody_elses(db: None) -> Iterator[str]:
    """A database with one table, which is not the simulator's."""
    name = "somebody_elses"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    inside = psycopg2.connect(**{**connection.get_connection_params(), "dbname": name})
    with inside, inside.cursor() as cursor:
        cursor.execute("CREATE TABLE precious AS SELECT 1 AS row")
    yield name
    with inside, inside.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert cursor.fetchone() == (1,)
    inside.close()
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_it_refuses_a_database_that_it_did_not_make(somebody_elses: str) -> None:
    refused = _simulate("--seed", "1", "--steps", "1", database=somebody_elses)

    assert refused.returncode == 1
    assert (
        f"Database {somebody_elses} has tables that the simulator did not make; nothing was touched" in refused.stderr
    )
