"""How fast many payments come in at once, against a COPY of the finished rows.

    python -m tests.bench.bulk [--sizes 1000,5000] [--repeats N]

One embedded PostgreSQL with durability on; each time ends with the commit. COPY gets rows that are worked out already,
into the same table with the same indexes and constraints: what the database needs at the least. The two take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from tests.bench.batches import database


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; the figures are for people, so nothing fails for being slow."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bulk", description=__doc__)
    parser.add_argument("--sizes", default="1000,5000", help="payments of a request, separated by commas")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args([] if arguments is None else arguments)
    tell = sys.stdout.write
    tell("bulk, durable PostgreSQL, medians\n")
    tell(f"{'payments':>9} {'runs':>4}  {'COPY rows/s':>12} {'bulk rows/s':>12} {'ratio':>6}\n")
    with database():
        # Django reads its settings when it is first used, and those name the server just started.
        from tests.bench import bulk_rows  # noqa: PLC0415

        bulk_rows.prepare()
        for size in map(int, options.sizes.split(",")):
            rounds = [bulk_rows.measure(size, ours_first=bool(number % 2)) for number in range(options.repeats)]
            copied = statistics.median(size / one.copy_s for one in rounds)
            bulk = statistics.median(size / one.bulk_s for one in rounds)
            # Of each round and then the median: neighbours in time had the same machine.
            ratio = statistics.median(one.copy_s / one.bulk_s for one in rounds)
            tell(f"{size:>9} {len(rounds):>4}  {copied:>12.0f} {bulk:>12.0f} {ratio:>6.2f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
