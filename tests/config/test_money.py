"""Money comes in exactly, is divided by a stated rounding, and goes out exactly."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.lib.exact_json import texts_in_list
from config.lib.money import (
    ETH,
    MAX_UNITS,
    USD,
    USDT,
    AmountError,
    Asset,
    InexactJsonError,
    UnknownAssetError,
    asset_of,
    dumps_exact,
    fee_of,
    format_units,
    from_units,
    loads_exact,
    parse_coin_amount,
    parse_money,
    split_fee_wei,
    to_units,
)

SHIB = Asset("shib", "eth", 18)
percentages = st.decimals(min_value=0, max_value=100, places=3)


class Liar(str):
    """A string that is something else to whoever asks it for its length."""

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "NaN",
        "Infinity",
        "-1",
        "+1",
        "1e5",
        "1_000",
        " 5 ",
        "5\n",
        "",
        ".",
        "1.",
        ".5",
        "01",
        "1,5",
        "0x10",
        "\u0661\u0662",
        "\uff11",
        "\u00b2",
        "1" * 13,
        "9" * 30,
        "1.123456789",
        "1\x00",
        Liar("12.5"),
        True,
        12,
        1.5,
        Decimal("1.5"),
        None,
        [],
        {},
        b"1",
    ],
)
def test_f7_it_refuses_what_is_no_plain_decimal_string(nonsense: object) -> None:
    with pytest.raises(AmountError) as refused:
        parse_money(nonsense, field="amount_usd")

    assert refused.value.field == "amount_usd"
    assert refused.value.code == "invalid_amount"


@pytest.mark.parametrize("text", ["0", "0.00000001", "1.50", "19.40", "999999999999.99999999"])
def test_it_reads_a_plain_decimal_string_digit_by_digit(text: str) -> None:
    amount = parse_money(text, field="amount_usd")

    assert amount == Decimal(text)
    assert f"{amount:f}" == text


@given(st.text(max_size=24))
def test_it_never_reads_a_text_that_says_another_number(text: str) -> None:
    try:
        amount = parse_money(text, field="amount")
    except AmountError:
        return
    assert text.isascii()
    assert f"{amount:f}" == text


@pytest.mark.parametrize(
    ("text", "asset", "units"),
    [
        ("8.2", USDT, 8_200_000),
        ("2.01", USDT, 2_010_000),
        ("0.000001", USDT, 1),
        ("0.000000000000000001", ETH, 1),
        ("0.00149302", ETH, 1_493_020_000_000_000),
        ("596726.70043", SHIB, 596_726_700_430_000_000_000_000),
        ("1000000000000000", SHIB, 10**33),
    ],
)
def test_inc19_it_turns_amounts_into_whole_units(text: str, asset: Asset, units: int) -> None:
    assert parse_coin_amount(text, asset, field="outcome_amount") == units
    assert from_units(units, asset) == Decimal(text)


@pytest.mark.parametrize(("text", "asset"), [("0.0000001", USDT), ("1.0000000000000000001", ETH), ("8.2000000", USDT)])
def test_it_refuses_more_decimals_than_the_asset_has(text: str, asset: Asset) -> None:
    with pytest.raises(AmountError):
        parse_coin_amount(text, asset, field="outcome_amount")


@pytest.mark.parametrize(
    "amount", ["-1", "-0", "NaN", "sNaN", "Infinity", "1e999999999", "1e-999999999", "0.0000001", "1e80"]
)
def test_f58_it_refuses_units_of_what_is_no_amount(amount: str) -> None:
    with pytest.raises(AmountError):
        to_units(Decimal(amount), USDT)


@given(st.integers(0, 10**30), st.sampled_from([ETH, USDT, USD, SHIB]))
def test_f58_units_come_back_as_they_went(units: int, asset: Asset) -> None:
    amount = from_units(units, asset)

    assert to_units(amount, asset) == units
    assert amount * asset.units_per_one == units or len(str(units)) > 28


@given(st.integers(0, MAX_UNITS))
def test_every_number_a_column_holds_comes_back(units: int) -> None:
    assert to_units(from_units(units, ETH), ETH) == units


@pytest.mark.parametrize("units", [-1, True, 1.0, "1", None])
def test_it_makes_no_amount_of_what_are_no_units(units: object) -> None:
    with pytest.raises(AmountError):
        from_units(units, ETH)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gross", "percent", "net"),
    [("1.35", "15", "1.1475"), ("2.50", "3", "2.425"), ("5.00", "3", "4.85"), ("20", "0", "20"), ("20", "100", "0")],
)
def test_inc15_the_fee_is_the_percentage_of_the_gross(gross: str, percent: str, net: str) -> None:
    assert Decimal(gross) - fee_of(Decimal(gross), Decimal(percent)) == Decimal(net)


@pytest.mark.parametrize(("gross", "fee"), [("0.00000050", "0.00000002"), ("0.00000150", "0.00000004")])
def test_half_a_hundred_millionth_goes_to_the_even_side(gross: str, fee: str) -> None:
    assert fee_of(Decimal(gross), Decimal(3)) == Decimal(fee)


@given(st.decimals(min_value=0, max_value=10**12, places=8), percentages)
def test_the_fee_is_within_half_a_step_of_the_exact_one(gross: Decimal, percent: Decimal) -> None:
    fee = fee_of(gross, percent)

    exact = gross * percent / 100 if len(str(gross)) < 16 else None
    assert 0 <= fee <= gross
    assert fee.as_tuple().exponent == -8
    assert exact is None or abs(fee - exact) <= Decimal("0.000000005")


def test_inc16_fee_and_net_sum_to_what_was_received() -> None:
    assert split_fee_wei(1_493_020_000_000_000, Decimal(15)) == (223_953_000_000_000, 1_269_067_000_000_000)
    assert split_fee_wei(1, Decimal(15)) == (0, 1)
    assert split_fee_wei(99, Decimal("1.5")) == (1, 98)


@given(st.integers(0, 10**30), percentages)
def test_inc16_a_split_loses_nothing_and_rounds_the_fee_down(received: int, percent: Decimal) -> None:
    fee_wei, net_wei = split_fee_wei(received, percent)

    assert fee_wei + net_wei == received
    assert fee_wei >= 0
    assert net_wei >= 0
    scaled = int(percent * 1000)
    assert fee_wei * 100_000 <= received * scaled < (fee_wei + 1) * 100_000


@pytest.mark.parametrize("percent", ["-1", "100.01", "NaN", "Infinity", "sNaN", "1e-19", "1e-999999999", "1e999999999"])
def test_it_refuses_a_percentage_that_is_none(percent: str) -> None:
    with pytest.raises(AmountError):
        fee_of(Decimal(1), Decimal(percent))
    with pytest.raises(AmountError):
        split_fee_wei(1, Decimal(percent))


@pytest.mark.parametrize("percent", ["3", "3.00", "3.0000000000000000000000", "0.03e2"])
def test_a_percentage_is_its_value_however_it_is_written(percent: str) -> None:
    assert fee_of(Decimal(100), Decimal(percent)) == 3
    assert split_fee_wei(1000, Decimal(percent)) == (30, 970)


def test_no_fee_is_none_however_it_is_written() -> None:
    assert [fee_of(Decimal(100), Decimal(zero)) for zero in ("0", "0e999999999", "0e-999999999")] == [0, 0, 0]


@pytest.mark.parametrize("gross", ["-0.01", "NaN", "Infinity", "1e999999999"])
def test_it_takes_no_fee_of_what_is_no_amount(gross: str) -> None:
    with pytest.raises(AmountError):
        fee_of(Decimal(gross), Decimal(3))


def test_it_knows_an_asset_by_ticker_and_network() -> None:
    assert asset_of("ETH", "eth") is ETH
    assert asset_of("usdt", "ETH") is USDT
    with pytest.raises(UnknownAssetError):
        asset_of("usdt", "trx")


def test_people_read_exact_amounts() -> None:
    assert format_units(250_000_000_000_000_000, ETH) == "0.25 ETH"
    assert format_units(19_400_000, USDT) == "19.4 USDT"
    assert format_units(1, ETH) == "0.000000000000000001 ETH"
    assert format_units(10**20, ETH) == "100 ETH"


def test_json_numbers_keep_their_digits() -> None:
    content = loads_exact(b'{"a": 2.50, "b": 1e-7, "c": 7.41109355, "d": 5513339153, "e": "2.50", "f": null}')

    assert content["a"] == Decimal("2.50")
    assert str(content["a"]) == "2.50"
    assert content["b"] == Decimal("0.0000001")
    assert content["c"] == Decimal("7.41109355")
    assert (content["d"], content["e"], content["f"]) == (5513339153, "2.50", None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html></html>",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1e999999999}',
        b'{"a": 1e-999999999}',
        b'{"a": 0e999999999}',
        b'{"a": ' + b"1" * 101 + b"}",
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000,
        b'{"a": "\\u0000"}',
        b'{"a": ["\\ud800"]}',
        b'{"\\u0000": 1}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
    ],
)
def test_it_refuses_json_that_is_none_or_says_two_things(text: bytes) -> None:
    with pytest.raises(InexactJsonError) as refused:
        loads_exact(text)

    assert len(str(refused.value)) < 120


def test_brackets_in_a_string_are_no_nesting() -> None:
    assert loads_exact(json.dumps({"a": "[" * 200 + '"' + "\\"})) == {"a": "[" * 200 + '"' + "\\"}


def test_it_writes_decimals_as_plain_strings() -> None:
    content = {"b": Decimal("1E-7"), "a": [Decimal("2.50"), 3, True, None, ("x",)], "c": Decimal("1E+3")}

    assert dumps_exact(content) == '{"a":["2.50",3,true,null,["x"]],"b":"0.0000001","c":"1000"}'


@pytest.mark.parametrize("value", [1.5, [0.1], {"a": float("nan")}, Decimal("NaN"), {1: 2}, b"x", {1, 2}])
def test_it_writes_no_float(value: object) -> None:
    with pytest.raises(InexactJsonError):
        dumps_exact(value)


JSON_TEXTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab\\"é]},: ', max_size=4), inner, max_size=4),
    max_leaves=10,
).flatmap(
    lambda value: st.builds(
        json.dumps, st.just(value), ensure_ascii=st.booleans(), indent=st.sampled_from([None, 0, 1, "\t"])
    )
)
NUMBER_TEXTS = st.sampled_from(["1e1", "1E+2", "-0", "-0.0", "1.50", "0e-7", "1.0e00", "9" * 90, "0." + "1" * 80])


@given(
    st.lists(JSON_TEXTS | NUMBER_TEXTS, max_size=6),
    st.text(" \t\n\r", max_size=2),
    st.sampled_from([None, "p", "\\u0070"]),
)
def test_f7_each_element_of_a_list_is_found_as_it_was_written(texts: list[str], space: str, key: str | None) -> None:
    listed = f"{space}[{space}{f'{space},{space}'.join(texts)}{space}]{space}"
    body = listed if key is None else f'{space}{{{space}"{key}"{space}:{listed}}}'

    assert [found.decode() for found in texts_in_list(body.encode())] == texts


@pytest.mark.parametrize("body", [b"1", b'"["', b'{"payments": {}}'])
def test_it_finds_no_elements_where_no_list_is(body: bytes) -> None:
    with pytest.raises(InexactJsonError):
        texts_in_list(body)


@given(st.text(alphabet='[]{}":,\\\\a1 ', max_size=120))
def test_the_quick_look_at_depth_and_the_exact_one_take_and_refuse_the_same(text: str) -> None:
    # Bytes are looked at quickly first, a text is not.
    assert outcome_of(text.encode()) == outcome_of(text)


@pytest.mark.parametrize("text", [
    "[" * 32 + "]" * 32, "[" * 33 + "]" * 33, '{"a":' * 32 + "1" + "}" * 32, '{"a":' * 33 + "1" + "}" * 33,
    "[{}," * 20 + "1" + "]" * 20, '[{"a":' * 16 + "[]" + "}]" * 16, '[{"a":' * 16 + "1" + "}]" * 16,
    "[[],[],[]]" * 2, "]" * 5 + "[" * 5, "[" * 10_000, "[" * 10_000 + "]" * 10_000, '"' + "[" * 50 + '"',
])  # fmt: skip
def test_nesting_is_counted_the_same_in_bytes_and_in_a_text(text: str) -> None:
    assert outcome_of(text.encode()) == outcome_of(text)


def outcome_of(text: bytes | str) -> object:
    try:
        return loads_exact(text)
    except InexactJsonError as refusal:
        return str(refusal)
