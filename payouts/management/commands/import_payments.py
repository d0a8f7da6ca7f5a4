"""`manage.py import_payments`: record the payments of a file."""

from __future__ import annotations

import csv
import json
import os
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import SluiceError
from config.lib.money import InexactJsonError, loads_exact
from config.lib.shell import shell_actor
from hostpay.services import PausedError
from payouts.services import InvalidJsonError
from payouts.services.bulk import Ended, record_payments
from payouts.services.facts import FIELD_NAMES

_AT_ONCE = 1000
_BAR = 30


class _Line(NamedTuple):
    """One payment of the file: the number of its (last) line, and what it says or why it says nothing."""

    number: int
    item: object


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
        if not (source.isascii() and source.isidentifier() and len(source) <= 32):
            raise CommandError("A source has 1 to 32 letters, digits and underscores, and begins with no digit.")
        report: Path = options["report"] or path.with_name(f"{path.name}.refused.jsonl")
        try:
            # newline="": the csv module counts the line breaks inside quotes itself.
            with path.open(encoding="utf-8-sig", newline="") as file, closing(_Report(report)) as refused:
                counted = self._import(file, source, refused, is_csv=path.suffix.lower() == ".csv")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CommandError(f"{path} cannot be read to its end: {error}. What came before is recorded.") from None
        self._tell(counted, report)

    def _import(self, file: IO[str], source: str, refused: _Report, *, is_csv: bool) -> Counter[str]:
        counted: Counter[str] = Counter()
        lines = _csv_lines(file) if is_csv else _json_lines(file)
        size = os.fstat(file.fileno()).st_size
        while chunk := list(islice(lines, _AT_ONCE)):
            try:
                counted += _recorded(chunk, source, refused)
            except PausedError as pause:
                raise CommandError(
                    f"{pause} {counted.total()} lines were done; start again when it is lifted."
                ) from None
            self._show_progress(counted.total(), file, size)
        return counted

    def _show_progress(self, done: int, file: IO[str], size: int) -> None:
        if not self.stderr.isatty():
            return
        # How far the file was read, which is a buffer's length ahead of what was recorded.
        share = min(1, os.lseek(file.fileno(), 0, os.SEEK_CUR) / size) if size else 1
        filled = int(share * _BAR)
        self.stderr.write(f"\r[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%}  {done:,} payments", ending="")

    def _tell(self, counted: Counter[str], report: Path) -> None:
        if self.stderr.isatty():
            self.stderr.write("")
        self.stdout.write(
            f"{counted['recorded']} recorded, {counted['known']} recorded before, {counted['refused']} refused."
        )
        if counted["refused"]:
            raise CommandError(f"{counted['refused']} lines were refused; {report} says which and why.")


class _Report:
    """The refused lines, one JSON object each; the file is made when there is the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def add(self, number: int, refusal: SluiceError) -> None:
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")
        line = {"line": number, "code": refusal.code, "why": str(refusal)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _recorded(chunk: list[_Line], source: str, refused: _Report) -> Counter[str]:
    readable = [line for line in chunk if not isinstance(line.item, SluiceError)]
    ended = record_payments(items=[line.item for line in readable], source=source, delivery=None, actor=shell_actor())
    by_line: dict[int, Ended] = {line.number: one for line, one in zip(readable, ended, strict=True)}
    counted: Counter[str] = Counter()
    for line in chunk:
        end = line.item if isinstance(line.item, SluiceError) else by_line[line.number]
        if isinstance(end, SluiceError):
            refused.add(line.number, end)
            counted["refused"] += 1
        else:
            counted["recorded" if end.is_new else "known"] += 1
    return counted


def _csv_lines(file: IO[str]) -> Iterator[_Line]:
    reader = csv.DictReader(file, strict=True)
    names = reader.fieldnames or []
    unknown = [name for name in names if name not in FIELD_NAMES]
    if unknown or not names or len(set(names)) < len(names):
        raise CommandError(
            f"The first line must name fields, each once, among {', '.join(FIELD_NAMES)};"
            f" it has {', '.join(unknown) or 'none, or one twice'}."
        )
    for row in reader:
        yield _Line(reader.line_num, _item_of(row))


def _item_of(row: dict[str | Any, str | Any]) -> object:
    # The module puts surplus cells under None, and None into missing ones.
    if None in row or None in row.values():
        return InvalidJsonError("The line has another number of cells than the first one.")
    return {name: cell for name, cell in row.items() if cell}


def _json_lines(file: IO[str]) -> Iterator[_Line]:
    for number, text in enumerate(file, start=1):
        if text.strip():
            yield _Line(number, _parsed(text))


def _parsed(text: str) -> object:
    try:
        return loads_exact(text)
    except InexactJsonError as error:
        return InvalidJsonError(f"The line is refused: {error}.")
