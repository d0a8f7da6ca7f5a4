"""`manage.py check_invariants`: whether all that must hold, holds."""

from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.invariants import Finding, examine

_EPILOG = """examples:
  manage.py check_invariants              everything; the chain is asked too
  manage.py check_invariants --no-chain   the database alone
  manage.py check_invariants --json       for a program

exit status: 0 all hold; 1 one does not, and its row is named, or could not be asked
"""


class Command(BaseCommand):
    help = "Ask the database and the chain whether every invariant holds. Changes nothing."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object instead of lines.")
        parser.add_argument("--no-chain", action="store_true", help="Leave out what only a node can say.")

    def handle(self, *_args: Any, **options: Any) -> None:
        findings = examine(with_chain=not options["no_chain"])
        if options["json"]:
            self.stdout.write(json.dumps({"ok": _all_hold(findings), "invariants": [_plain(f) for f in findings]}))
        else:
            self._show(findings)
        failed = [finding for finding in findings if finding.unanswered is not None]
        if failed:
            names = "; ".join(f"{one.invariant.id} {one.invariant.promise}: {one.unanswered}" for one in failed)
            raise CommandError(f"Some could not be asked, so nothing is known of them: {names}")
        if not _all_hold(findings):
            sys.exit(1)

    def _show(self, findings: list[Finding]) -> None:
        for finding in findings:
            mark = "ok" if finding.holds else "BREACH" if finding.breaches else "FAILED"
            self.stdout.write(f"{mark:<7}{finding.invariant.id:<4}{finding.invariant.promise}")
            for breach in finding.breaches:
                self.stdout.write(f"       {breach.row}: {breach.sentence}")


def _all_hold(findings: list[Finding]) -> bool:
    return all(finding.holds for finding in findings)


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.invariant.id,
        "promise": finding.invariant.promise,
        "ok": finding.holds,
        "breaches": [{"row": breach.row, "sentence": breach.sentence} for breach in finding.breaches],
    } | ({} if finding.unanswered is None else {"unanswered": str(finding.unanswered)})
