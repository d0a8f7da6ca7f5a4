"""The reference of the division, by its own promises."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches.distribution import exact_share, shares

weights = st.lists(st.integers(min_value=1, max_value=10**20), min_size=1, max_size=60).map(
    lambda values: list(enumerate(values, start=1))
)
units = st.integers(min_value=1, max_value=10**18)


@given(weights, units)
def test_it_gives_out_exactly_what_was_received(members: list[tuple[int, int]], received: int) -> None:
    given_out = shares(members, received)

    assert sum(given_out.values()) == received
    assert given_out.keys() == {member for member, _ in members}


@given(weights, units)
def test_it_keeps_every_share_within_one_unit_of_the_exact_fraction(
    members: list[tuple[int, int]], received: int
) -> None:
    whole = sum(weight for _, weight in members)

    for member, share in shares(members, received).items():
        exact = exact_share(weight=dict(members)[member], whole=whole, received_units=received)
        assert share >= 0
        assert abs(share - exact) < 1


@given(weights, units, st.integers())
def test_it_does_not_depend_on_the_order_of_the_rows(members: list[tuple[int, int]], received: int, seed: int) -> None:
    shuffled = random.Random(seed).sample(members, len(members))  # noqa: S311 - a shuffle, not a secret

    assert shares(shuffled, received) == shares(members, received)


@pytest.mark.parametrize(
    ("members", "received", "expected"),
    [
        # 19.40 / 9.70 / 29.10 USD and 57 USDT
        ([(1, 1940000000), (2, 970000000), (3, 2910000000)], 57_000_000, {1: 19_000_000, 2: 9_500_000, 3: 28_500_000}),
        # 3 x 10 USD and 29 USDT: the two units left over go to the smaller ids
        ([(1, 10), (2, 10), (3, 10)], 29_000_000, {1: 9_666_667, 2: 9_666_667, 3: 9_666_666}),
        ([(7, 1)], 12_345_678, {7: 12_345_678}),
        # 10^-8 USD beside 100 USD
        ([(1, 1), (2, 10**10)], 100_000_000, {1: 0, 2: 100_000_000}),
        # fewer units than members: zero shares are shares
        ([(3, 5), (1, 5), (2, 5)], 1, {1: 1, 2: 0, 3: 0}),
        ([(1, 1), (2, 10**12)], 1, {1: 0, 2: 1}),
    ],
)
def test_it_divides_the_known_cases(members: list[tuple[int, int]], received: int, expected: dict[int, int]) -> None:
    assert shares(members, received) == expected


def test_it_divides_eleven_equal_members_exactly() -> None:
    # 11 x 1 USD and 10.7 USDT
    given_out = shares([(member, 10**8) for member in range(1, 12)], 10_700_000)

    assert sum(given_out.values()) == 10_700_000
    assert sorted(given_out.values()) == [972_727] * 8 + [972_728] * 3
    assert [member for member, share in given_out.items() if share == 972_728] == [1, 2, 3]


@pytest.mark.parametrize("received", [0, -1])
def test_it_refuses_to_divide_nothing(received: int) -> None:
    with pytest.raises(ValueError, match="cannot be divided"):
        shares([(1, 1)], received)


@pytest.mark.parametrize("members", [[], [(1, 0)], [(1, 5), (2, -5)]])
def test_it_refuses_members_without_weight(members: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="positive weight"):
        shares(members, 1)


def test_it_names_the_exact_fraction() -> None:
    assert exact_share(weight=1, whole=3, received_units=10) == Fraction(10, 3)
