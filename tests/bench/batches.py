"""How long a batch takes to claim and to share out, against a plain UPDATE of the same rows and columns.

    python -m tests.bench.batches [--sizes 1000,1000000] [--repeats N]

One embedded PostgreSQL with durability on, and the commit is part of every time. Ours and the plain statement take
turns on rows inserted afresh, so that each finds the table as the other did; medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import django

from config.stack.paths import State
from config.stack.postgres import Postgres, fitting_privilege
from tests.lib.servers import running

if TYPE_CHECKING:
    from tests.bench.batch_rows import Round

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; the figures are for people, so nothing fails for being slow."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.batches", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="members of a batch, separated by commas")
    parser.add_argument("--repeats", type=int, default=0, help="of each size; by default fewer for the large ones")
    options = parser.parse_args([] if arguments is None else arguments)
    tell = sys.stdout.write
    tell("batches, durable PostgreSQL, medians; `plain` is an UPDATE of the same rows and columns\n")
    tell(
        f"{'members':>9} {'runs':>4}  {'plain':>9} {'check':>9} {'ratio':>5}  {'plain':>9} {'share':>9} {'ratio':>5}\n"
    )
    with database():
        # Django reads its settings when it is first used, and those name the server just started.
        from tests.bench import batch_rows  # noqa: PLC0415

        batch_rows.prepare()
        for size in map(int, options.sizes.split(",")):
            repeats = options.repeats or (3 if size >= 100_000 else 5)
            rounds = [batch_rows.measure(size, ours_first=bool(number % 2)) for number in range(repeats)]
            tell(_line(size, rounds))
            sys.stdout.flush()


def _line(size: int, rounds: list[Round]) -> str:
    plain_claim = statistics.median(one.plain_claim_s for one in rounds)
    check = statistics.median(one.check_s for one in rounds)
    plain_share = statistics.median(one.plain_share_s for one in rounds)
    share = statistics.median(one.share_s for one in rounds)
    return (
        f"{size:>9} {len(rounds):>4}  {plain_claim:>8.3f}s {check:>8.3f}s {check / plain_claim:>5.2f}"
        f"  {plain_share:>8.3f}s {share:>8.3f}s {share / plain_share:>5.2f}\n"
    )


@contextmanager
def database() -> Iterator[None]:
    """A durable server of our own, and Django told of it."""
    with tempfile.TemporaryDirectory(prefix="sl-bench-") as folder:
        state = State(Path(folder))
        state.make()
        server = Postgres(data=state.postgres, sockets=state.sockets, privilege=fitting_privilege())
        server.prepare()
        with running(server.command(), is_ready=server.is_ready, log=Path(folder) / "postgres.log"):
            server.make_database()
            os.environ.pop("DATABASE_URL", None)
            os.environ |= {
                "SLUICE_TEST_STATE": folder,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "LOG_LEVEL": "ERROR",
            }
            django.setup()
            yield


if __name__ == "__main__":
    main(sys.argv[1:])
