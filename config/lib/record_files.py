"""Files of records that people import: tables (CSV) and JSON lines, read line by line, with a report of what was refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from config.lib.errors import SluiceError
from config.lib.exact_json import InexactJsonError, loads_exact
from config.lib.spreadsheets import neutral_json

# Of the module's own 131,072 characters a longer cell would end the file. No rule of a field lets such a cell pass, but
# that is one line's fault.
csv.field_size_limit(64 * 1024 * 1024)
_REPORT_BEGINS: Final = b'{"line": '
_NOT_UTF8: Final = "The line is not UTF-8: save the file as UTF-8, or mend the line."


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


def opened(path: Path) -> IO[str]:
    """The file to read records from; bytes that are not UTF-8 become halves of surrogate pairs, which no UTF-8 holds.

    Raises:
        OSError: it cannot be opened.
    """
    # newline="": the csv module counts the line breaks inside quotes itself.
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def portions(lines: Iterable[Line], size: int) -> Iterator[list[Line]]:
    """The lines in lists of `size`; those before a line that ends the file come before its error."""
    portion: list[Line] = []
    try:
        for line in lines:
            portion.append(line)
            if len(portion) == size:
                yield portion
                portion = []
    except (UnreadableFileError, OSError):
        if portion:
            yield portion
        raise
    if portion:
        yield portion


def read_lines(file: IO[str], *, is_csv: bool, field_names: Collection[str]) -> Iterator[Line]:
    """The records of a file that `opened` gave; a table's first line names its fields.

    Raises:
        UnreadableFileError: the table's first line names none, another one, or one twice; or its quotes do not close.
    """
    return _csv_lines(file, field_names) if is_csv else _json_lines(file)


class RefusalReport:
    """The refused lines, one JSON object each; the file is made when there is the first.

    A spreadsheet that opens it, as a table that it is not, runs no formula that a line of the import brought along. A
    report of an earlier run goes: it would tell of lines that were not refused this time.

    Raises:
        UnreadableFileError: it would be written over the file it is about, or over one that is no such report.
        OSError: it cannot be written there.
    """

    def __init__(self, path: Path, *, about: Path) -> None:
        if path.exists() and path.samefile(about):
            raise UnreadableFileError(
                f"The report of what is refused would be written over {about}: name another file."
            )
        if path.exists() and not _is_report(path):
            raise UnreadableFileError(
                f"{path} stands there already and is no report of refused lines: name another file."
            )
        path.unlink(missing_ok=True)
        self.path = path
        self._file: IO[str] | None = None

    def add(self, number: int, refusal: SluiceError) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        line = {"line": number, "code": refusal.code, "why": str(refusal)}
        self._file.write(neutral_json(json.dumps(line, ensure_ascii=False)) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _is_report(path: Path) -> bool:
    """Whether it begins as a report does; an empty one is nothing to be lost either."""
    with path.open("rb") as file:
        return file.read(len(_REPORT_BEGINS)) in {b"", _REPORT_BEGINS}


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
        raise UnreadableFileError(f"What comes after line {reader.line_num} is no table any more: {error}.") from None


def _item_of(row: dict[str | Any, str | Any]) -> object:
    # The module puts surplus cells under None, and None into missing ones.
    if None in row or None in row.values():
        return UnreadableLineError("The line has another number of cells than the first one.")
    if not all(_is_utf8(cell) for cell in row.values()):
        return UnreadableLineError(_NOT_UTF8)
    return {name: cell for name, cell in row.items() if cell}


def _json_lines(file: IO[str]) -> Iterator[Line]:
    for number, text in enumerate(file, start=1):
        if text.strip():
            yield Line(number, _parsed(text))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parsed(text: str) -> object:
    if not _is_utf8(text):
        return UnreadableLineError(_NOT_UTF8)
    try:
        return loads_exact(text)
    except InexactJsonError as error:
        return UnreadableLineError(f"The line is refused: {error}.")
