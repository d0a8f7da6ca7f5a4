"""`manage.py check_invariants`: whether all that must hold, holds."""

from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.invariants import Finding, examine
from config.lib.errors import ProviderError

_EPILOG = """examples:
  manage.py check_invariants              everything; the chain is asked too
  manage.py check_invariants --no-chain   the database alone
  manage.py check_invariants --json       for a program

exit status: 0 all hold; 1 one does not, and its row is named, or the chain could not be asked
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
        try:
            findings = examine(with_chain=not options["no_chain"])
        except ProviderError as error:
            raise CommandError(f"The chain could not be asked, so nothing is known: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps({"ok": _all_hold(findings), "invariants": [_plain(f) for f in findings]}))
        else:
            self._show(findings)
        if not _all_hold(findings):
            sys.exit(1)

    def _show(self, findings: list[Finding]) -> None:
        for finding in findings:
            mark = "BREACH" if finding.breaches else "ok"
            self.stdout.write(f"{mark:<7}{finding.invariant.id:<4}{finding.invariant.promise}")
            for breach in finding.breaches:
                self.stdout.write(f"       {breach.row}: {breach.sentence}")


def _all_hold(findings: list[Finding]) -> bool:
    return not any(finding.breaches for finding in findings)


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.invariant.id,
        "promise": finding.invariant.promise,
        "ok": not finding.breaches,
        "breaches": [{"row": breach.row, "sentence": breach.sentence} for breach in finding.breaches],
    }
