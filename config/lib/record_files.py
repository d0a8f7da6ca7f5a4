"""Files of records that people import: tables (CSV) and JSON lines, read line by line, with a report of what was refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from config.lib.errors import SluiceError
from config.lib.exact_json import InexactJsonError, loads_exact


class UnreadableLineError(SluiceError):
    """One line of the file says nothing that can be read."""

    code = "invalid_json"


class UnreadableFileError(SluiceError):
    """The file as a whole is none of records."""

    code = "unreadable_file"


class Line(NamedTuple):
    """One record of a file: the number of its (last) line, and what it says or why it says nothing."""

    number: int
    item: object


def read_lines(file: IO[str], *, is_csv: bool, field_names: Collection[str]) -> Iterator[Line]:
    """The records of an open file (opened with `newline=""`); a table's first line names its fields.

    Raises:
        UnreadableFileError: the table's first line names none, another one, or one twice; or its quotes do not close.
    """
    return _csv_lines(file, field_names) if is_csv else _json_lines(file)


class RefusalReport:
    """The refused lines, one JSON object each; the file is made when there is the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def add(self, number: int, refusal: SluiceError) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        line = {"line": number, "code": refusal.code, "why": str(refusal)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _csv_lines(file: IO[str], field_names: Collection[str]) -> Iterator[Line]:
    reader = csv.DictReader(file, strict=True)
    try:
        names = reader.fieldnames or []
        unknown = [name for name in names if name not in field_names]
        if unknown or not names or len(set(names)) < len(names):
            raise UnreadableFileError(
                f"The first line must name fields, each once, among {', '.join(field_names)};"
                f" it has {', '.join(unknown) or 'none, or one twice'}."
            )
        for row in reader:
            yield Line(reader.line_num, _item_of(row))
    except csv.Error as error:
        raise UnreadableFileError(f"Line {reader.line_num} is no line of a table: {error}.") from None


def _item_of(row: dict[str | Any, str | Any]) -> object:
    # The module puts surplus cells under None, and None into missing ones.
    if None in row or None in row.values():
        return UnreadableLineError("The line has another number of cells than the first one.")
    return {name: cell for name, cell in row.items() if cell}


def _json_lines(file: IO[str]) -> Iterator[Line]:
    for number, text in enumerate(file, start=1):
        if text.strip():
            yield Line(number, _parsed(text))


def _parsed(text: str) -> object:
    try:
        return loads_exact(text)
    except InexactJsonError as error:
        return UnreadableLineError(f"The line is refused: {error}.")
