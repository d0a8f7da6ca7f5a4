"""`manage.py create_batch`: a batch of what is pending, below the threshold too."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from batches.management.commands.check_threshold import run_check

_EPILOG = """example:
  manage.py create_batch --reason "end of the quarter"

exit status: 0 the batch was made; 3 something blocks it (nothing pending, a pause, the provider's minimum); 1 refused
"""


class Command(BaseCommand):
    help = "Make a batch of everything that is pending, though it is below the threshold; never past a pause."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; it goes into the batch's history")

    def handle(self, *_args: Any, reason: str, **_options: Any) -> None:
        run_check(self, force=True, reason=reason)
