"""Amounts on the wire look as JavaScript prints them."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostpay.sandbox.exchange.numbers import Raw, dumps, js_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("0.000000", "0"),
        ("298.400000", "298.4"),
        ("7.41109355", "7.41109355"),
        ("1E+3", "1000"),
        ("0.000001", "0.000001"),
        ("0.00000012", "1.2e-7"),
        ("0.0000001", "1e-7"),
        ("0.00000001", "1e-8"),
        ("-0.5", "-0.5"),
        ("1E+21", "1e+21"),
        ("123456789012", "123456789012"),
    ],
)
def test_it_prints_as_javascript(value: str, text: str) -> None:
    assert js_number(Decimal(value)) == text


@given(st.decimals(min_value=0, max_value=1_000_000, places=8))
def test_it_loses_nothing(value: Decimal) -> None:
    assert json.loads(dumps({"a": value}), parse_float=Decimal, parse_int=Decimal)["a"] == value


def test_it_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="NaN"):
        js_number(Decimal("NaN"))


def test_it_lets_raw_text_through() -> None:
    assert dumps({"a": [Raw("1e400"), None, True, "é\n"]}) == '{"a":[1e400,null,true,"é\\n"]}'
