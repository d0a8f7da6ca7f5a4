"""`manage.py import_payments`: record the payments of a file."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import SluiceError
from config.lib.progress import FileProgress
from config.lib.record_files import Line, RefusalReport, UnreadableFileError, opened, portions, read_lines
from config.lib.shell import shell_actor
from hostpay.services import PausedError
from payouts.services.bulk import Ended, record_payments
from payouts.services.facts import FIELD_NAMES
from payouts.services.recording import UnknownClientError
from payouts.services.voiding import SOURCE_RULE, is_source

_AT_ONCE = 1000


class Command(BaseCommand):
    help = "Record the payments of a CSV file or of a file with one JSON object a line, as if they had been sent."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "examples:\n"
            "  manage.py import_payments payments.csv\n"
            "  manage.py import_payments export.jsonl --source api --report refused.jsonl\n\n"
            "A CSV file names the fields of POST /api/v1/payments/ in its first line; an empty cell is a field left\n"
            "out. Payments are committed by the thousand, and one that was recorded before changes nothing: after an\n"
            "interruption, start the same command again. Refused lines go to the report with their reasons.\n"
            "Exit code 0 if each payment is recorded, 1 if one was refused or the import broke off."
        )
        parser.add_argument("file", metavar="FILE", type=Path, help="*.csv, or JSON lines under any other name")
        parser.add_argument(
            "--source",
            default="import",
            metavar="NAME",
            help="whose payment ids they are: with `api`, a payment that is also sent is the same (default: import)",
        )
        parser.add_argument(
            "--report", type=Path, default=None, help="where refused lines are listed (default: FILE.refused.jsonl)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        path: Path = options["file"]
        source: str = options["source"]
        if not is_source(source):
            raise CommandError(f"--source {SOURCE_RULE}.")
        report: Path = options["report"] or path.with_name(f"{path.name}.refused.jsonl")
        try:
            with opened(path) as file, closing(RefusalReport(report, about=path)) as refused:
                counted = self._import(file, source, refused, is_csv=path.suffix.lower() == ".csv")
        except UnreadableFileError as error:
            raise CommandError(f"{path}: {error} What came before is recorded.") from None
        except FileNotFoundError as error:
            raise CommandError(f"There is no file {error.filename}.") from None
        except OSError as error:
            raise CommandError(f"{path} cannot be read to its end: {error}. What came before is recorded.") from None
        self._tell(counted, report)

    def _import(self, file: IO[str], source: str, refused: RefusalReport, *, is_csv: bool) -> Counter[str]:
        counted: Counter[str] = Counter()
        lines = read_lines(file, is_csv=is_csv, field_names=FIELD_NAMES)
        progress = FileProgress(self.stderr, file, noun="payments")
        for chunk in portions(lines, _AT_ONCE):
            try:
                counted += _recorded(chunk, source, refused)
            except PausedError as pause:
                raise CommandError(
                    f"{pause} {counted.total()} lines were done; start again when it is lifted."
                ) from None
            progress.show(counted.total())
        progress.end()
        return counted

    def _tell(self, counted: Counter[str], report: Path) -> None:
        self.stdout.write(
            f"{counted['recorded']} recorded, {counted['known']} recorded before, {counted['refused']} refused."
        )
        if counted["refused"]:
            raise CommandError(f"{counted['refused']} lines were refused; {report} says which and why.")


def _recorded(chunk: list[Line], source: str, refused: RefusalReport) -> Counter[str]:
    readable = [line for line in chunk if not isinstance(line.item, SluiceError)]
    ended = record_payments(items=[line.item for line in readable], source=source, delivery=None, actor=shell_actor())
    by_line: dict[int, Ended] = {line.number: one for line, one in zip(readable, ended, strict=True)}
    counted: Counter[str] = Counter()
    for line in chunk:
        end = line.item if isinstance(line.item, SluiceError) else by_line[line.number]
        if isinstance(end, UnknownClientError):
            # Of a file nothing is kept but what is recorded.
            end = UnknownClientError(end.external_id, next_step="Add the client, and import the file again.")
        if isinstance(end, SluiceError):
            refused.add(line.number, end)
            counted["refused"] += 1
        else:
            counted["recorded" if end.is_new else "known"] += 1
    return counted
