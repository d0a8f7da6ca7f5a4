"""`manage.py simulate`: histories out of seeds, over the real services and a real database, in a world of our making."""

from __future__ import annotations

import logging
import time
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.lib.errors import RefusedError
from config.simulation import database
from config.simulation.history import History, HistoryError, Report

_EPILOG = """examples:
  manage.py simulate --seed 7 --steps 400             one history; the same seed is the same history, always
  manage.py simulate --seed 1 --histories 500         five hundred seeds, one after the other
  manage.py simulate --seed 1 --histories 500 --for 60 --report

exit status: 0 all held; 1 something did not, and seed, step and trace say what
"""


class Command(BaseCommand):
    help = (
        "Play histories: customers, workers, provider, miners and operators act in an order that the seed decides, "
        "calls fail, processes die; after every step all invariants are asked. Works in a database of its own."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, required=True, help="Of the first history; the next ones count up.")
        parser.add_argument("--steps", type=int, default=300, help="In each history.")
        parser.add_argument("--histories", type=int, default=1, metavar="N")
        parser.add_argument("--for", type=int, default=0, metavar="SECONDS", help="Begin no other history after this.")
        parser.add_argument("--database", default="", metavar="NAME", help="Its own; made if it is not there.")
        parser.add_argument("--report", action="store_true", help="Say what happened how often.")
        parser.add_argument("--trace", action="store_true", help="Print every step.")

    def handle(self, *_args: Any, **options: Any) -> None:
        # Hundreds of failing calls are the point here, and would hide what is not.
        logging.getLogger().setLevel(logging.CRITICAL)
        try:
            database.enter(options["database"])
        except RefusedError as refused:
            raise CommandError(str(refused)) from None
        deadline = time.monotonic() + options["for"]
        reports: list[Report] = []
        for seed in range(options["seed"], options["seed"] + options["histories"]):
            if options["for"] and time.monotonic() > deadline:
                break
            reports.append(self._play(seed, options["steps"], show=options["trace"]))
        if options["report"]:
            self._report(reports)

    def _play(self, seed: int, steps: int, *, show: bool) -> Report:
        history, report = History(seed=seed, steps=steps), None
        try:
            report = history.play()
        except HistoryError as failed:
            raise CommandError(str(failed)) from None
        finally:
            if report is None:
                self.stderr.write(f"seed {seed} failed after {len(history.trace)} steps:\n{history.story()}")
        if show:
            self.stdout.write("\n".join(history.trace))
        self.stdout.write(f"seed {seed}: {steps} steps, trace {report.sha256[:16]}, ends {dict(report.ends)}")
        return report

    def _report(self, reports: list[Report]) -> None:
        steps = sum(report.steps for report in reports)
        crashes = sum(report.crashes for report in reports)
        self.stdout.write(f"{len(reports)} histories, {steps} steps, {crashes} crashes")
        for name in ("actors", "faults", "ends"):
            summed: Counter[str] = sum((getattr(report, name) for report in reports), Counter())
            self.stdout.write(f"{name}: {', '.join(f'{what} {times}' for what, times in summed.most_common())}")
