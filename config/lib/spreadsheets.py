"""Tables for spreadsheets: exact figures, and no text from outside that a spreadsheet would run as a formula.

Excel, LibreOffice and Google Sheets evaluate a cell of a CSV file that begins with one of `= + - @`, quoted or not. By
OWASP's advice («CSV Injection») such a text gets an apostrophe in front, which they show as text. Characters of full or
other width that fold to these four count as well, as does what comes after blanks. And since a spreadsheet may split by
another character than the comma (in half of Europe by the semicolon), so does what comes after one of those.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

Cell = str | int | Decimal | datetime | UUID | None

# With all that Unicode folds to them (NFKC), and the mathematical minus.
_SIGNS = r"=+\-@⁺⁻⁼₊₋₌−⩵⩶﬩﹢﹣﹦﹫＋－＝＠"
# White space, control characters and what shows nothing: categories Z, Cc and Cf.
_BLANKS = (
    r"\s\x00-\x20\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
# Where a cell may begin besides, by whatever rules the file is read.
_SEPARATORS = frozenset(',;"\t\r\n')
_BETWEEN = rf'[,;"{_BLANKS}]'
# What lies before a sign is taken whole or not at all, so a text of nothing but line breaks costs no more than another.
_BEGINS_FORMULA = re.compile(rf"['\t\r\n\x00]|[{_BLANKS}]*+[{_SIGNS}]")
_MAY_BEGIN_LATER = re.compile(rf"(?<!{_BETWEEN}){_BETWEEN}++(?=[{_SIGNS}'])")
_SIGN_IN_JSON = re.compile(rf"(?<!{_BETWEEN})({_BETWEEN}++)([{_SIGNS}])")


class Writable(Protocol):
    """Where a table is written to."""

    def write(self, text: str, /) -> object: ...


def neutral(text: str) -> str:
    """`text` as no spreadsheet runs it: with an apostrophe in front if it begins like a formula, after blanks or not.

    And with one before each sign that begins a cell if the file is split by other rules than ours. No two texts become
    the same one, since an apostrophe that stands in such a place already gets another.
    """
    front = "'" if _BEGINS_FORMULA.match(text) else ""
    return front + _MAY_BEGIN_LATER.sub(_quoted, text)


def neutral_json(text: str) -> str:
    r"""A JSON object of texts and whole numbers, its signs escaped (`\u003d`) wherever a formula could begin.

    It says the same as before to whoever reads JSON. For files that are none of tables, and are opened as one.
    """
    return _SIGN_IN_JSON.sub(_escaped, text)


def cell_text(value: Cell) -> str:
    """A value as a cell: numbers with all their digits and never an exponent, times in UTC by ISO 8601, texts neutral.

    It is the type that tells a number of ours, which may be negative, from a text that looks like one.
    """
    if isinstance(value, str):
        return neutral(value)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"no cell can hold a {type(value).__name__}")


def write_table(file: Writable, *, names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    """Write the table by RFC 4180, every cell in quotes, one row at a time; says how many rows below the headings."""
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow([neutral(name) for name in names])
    count = 0
    for row in rows:
        writer.writerow([cell_text(value) for value in row])
        count += 1
    return count


def _quoted(found: re.Match[str]) -> str:
    return found[0] if _SEPARATORS.isdisjoint(found[0]) else f"{found[0]}'"


def _escaped(found: re.Match[str]) -> str:
    before, sign = found.groups()
    return found[0] if _SEPARATORS.isdisjoint(before) else f"{before}\\u{ord(sign):04x}"
