"""F73: no text of an outsider's is run as a formula, and no figure of ours is touched by that."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.lib.spreadsheets import Cell, cell_text, neutral, neutral_json, write_table

SIGNS = tuple("=+-@＝＋－＠")
CONTROLS = ("\t", "\r", "\n", "\0")
# Plain texts seldom hold any of these.
HOSTILE = st.text(
    st.one_of(st.sampled_from("=+-@＝－ \t\r\n,;\"'|1a\xa0\u200b\ufeff\u3000\0"), st.characters(codec="utf-8"))
)
BLANK = {"Zs", "Zl", "Zp", "Cc", "Cf"}


def stripped(text: str) -> str:
    """Without the blanks that it begins with."""
    for position, character in enumerate(text):
        if unicodedata.category(character) not in BLANK:
            return text[position:]
    return ""


def restored(text: str) -> str:
    """What the documented rule for getting the old text back says."""
    text = text.removeprefix("'")
    return re.sub(r"""([,;"\t\r\n][\s\x00-\x1f,;"\u200b\ufeff]*)'""", r"\1", text)


@given(HOSTILE)
def test_f73_no_text_begins_like_a_formula(text: str) -> None:
    shown = neutral(text)

    assert not stripped(shown).startswith(SIGNS)
    assert not shown.startswith(CONTROLS)


@given(HOSTILE, HOSTILE)
def test_f73_no_text_holds_a_formula_for_who_splits_by_another_character(left: str, right: str) -> None:
    file = io.StringIO(newline="")
    write_table(file, names=["left", "right"], rows=[[left, right]])

    for cell in re.split(r'[,;"\t\r\n]', file.getvalue()):
        assert not stripped(cell).startswith(SIGNS)


@given(HOSTILE, HOSTILE)
def test_f73_texts_that_differ_still_do(one: str, other: str) -> None:
    assert (neutral(one) == neutral(other)) == (one == other)


@given(st.text("=+-@ \t\r\n,;\"'1a\u200b"))
def test_f73_the_old_text_can_be_had_again(text: str) -> None:
    assert restored(neutral(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("-1", "'-1"),
        ("\u3000＝HYPERLINK", "'\u3000＝HYPERLINK"),
        ("\t=1", "'\t'=1"),
        ("'=1", "''=1"),
        ("a;=cmd|' /C calc'!A0", "a;'=cmd|' /C calc'!A0"),
        ('a","@SUM(A1)', 'a","\'@SUM(A1)'),
        ("order-1001", "order-1001"),
        ("3f2c24e8-3b12-4fef-91d0-5a1c7f6f0a4e", "3f2c24e8-3b12-4fef-91d0-5a1c7f6f0a4e"),
        ("it's held, see the note", "it's held, see the note"),
        ("", ""),
    ],
)
def test_f73_what_is_dangerous_gets_an_apostrophe_and_nothing_else_does(text: str, shown: str) -> None:
    assert neutral(text) == shown


def test_f73_every_character_that_unicode_folds_to_a_sign_counts_as_one() -> None:
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.normalize("NFKC", character)[:1] in tuple("=+-@"):
            assert neutral(character) == f"'{character}", hex(number)


def test_f73_whatever_shows_nothing_hides_no_sign_behind_it() -> None:
    for number in range(sys.maxunicode + 1):
        if unicodedata.category(chr(number)) in BLANK:
            assert neutral(f"{chr(number)}=1").startswith("'"), hex(number)


def test_it_takes_no_longer_for_a_text_of_line_breaks() -> None:
    # Were every break looked at from every break before it, this would be a hundred thousand million steps.
    assert neutral("\n" * 500_000 + "x").startswith("'\n")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("-1.50000000"), "-1.50000000"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal(10**77), "1" + "0" * 77),
        (-(10**18), "-1000000000000000000"),
        (True, "true"),
        (None, ""),
        (datetime(2030, 1, 31, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1))), "2030-01-31T12:00:00.000005Z"),
        (datetime(2030, 1, 31, tzinfo=UTC), "2030-01-31T00:00:00.000000Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_figures_and_times_of_ours_stay_exactly_what_they_are(value: Cell, shown: str) -> None:
    assert cell_text(value) == shown


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=8))
def test_a_number_is_the_same_number_again(number: Decimal) -> None:
    assert Decimal(cell_text(number)) == number
    assert "E" not in cell_text(number)


def test_a_float_has_no_cell() -> None:
    with pytest.raises(TypeError, match="float"):
        cell_text(1.5)  # type: ignore[arg-type]


@given(st.lists(st.tuples(HOSTILE, st.integers()), max_size=5))
def test_a_table_reads_back_as_it_was_written(rows: list[tuple[str, int]]) -> None:
    file = io.StringIO(newline="")
    count = write_table(file, names=["text", "number"], rows=rows)

    assert count == len(rows)
    read = list(csv.reader(io.StringIO(file.getvalue(), newline=""), strict=True))
    assert read == [["text", "number"], *([neutral(text), str(number)] for text, number in rows)]


@given(st.dictionaries(HOSTILE, st.one_of(HOSTILE, st.integers(min_value=0)), max_size=4), st.booleans())
def test_f73_a_report_in_json_says_the_same_and_holds_no_formula(report: dict[str, str | int], plain: bool) -> None:
    text = neutral_json(json.dumps(report, ensure_ascii=plain))

    assert json.loads(text) == report
    for cell in re.split(r'[,;"\t\r\n]', text):
        assert not stripped(cell).startswith(SIGNS)
