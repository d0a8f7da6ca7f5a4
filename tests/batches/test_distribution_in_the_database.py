"""The one statement that divides, held to the reference, on PostgreSQL."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batches.distribution import shares
from batches.models import BatchConversion
from payouts.models import Accumulation, AccumulationStatus
from payouts.services.members import Credited, NothingToDivideError, claim_pending, credit_shares
from tests import factories

pytestmark = pytest.mark.django_db


def claimed_batch() -> uuid.UUID:
    """Everything pending, claimed by a batch of its own."""
    batch_id = uuid.uuid4()
    totals = claim_pending(batch_id=batch_id, converts_unreceipted=True, max_wei=None)
    BatchConversion.objects.create(
        id=batch_id,
        policy=factories.policy(20),
        threshold_usd=Decimal(20),
        total_usd=totals.total_usd,
        member_count=totals.member_count,
        net_wei=totals.net_wei,
        unreceipted_usd=totals.unreceipted_usd,
        created_by="tests",
    )
    return batch_id


def shares_in_units(batch_id: uuid.UUID) -> dict[int, int]:
    rows = Accumulation.objects.filter(batch_conversion_id=batch_id).values_list("pk", "converted_usdt_amount")
    return {member: int(amount.scaleb(6)) for member, amount in rows if amount is not None}


def weights_of(batch_id: uuid.UUID) -> list[tuple[int, int]]:
    rows = Accumulation.objects.filter(batch_conversion_id=batch_id).values_list("pk", "pending_usd_amount")
    return [(member, int(amount.scaleb(8))) for member, amount in rows]


net_usd = st.integers(min_value=1, max_value=10**18).map(lambda units: Decimal(units).scaleb(-8))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(net_usd | st.sampled_from([Decimal(10), Decimal("9.7"), Decimal("0.00000001")]), min_size=1, max_size=25),
    st.integers(min_value=1, max_value=10**13) | st.integers(min_value=1, max_value=30),
)
def test_it_divides_as_the_reference_does(amounts: list[Decimal], received: int) -> None:
    with transaction.atomic():
        factories.accumulations(*amounts)
        batch_id = claimed_batch()
        expected = shares(weights_of(batch_id), received)

        credited = credit_shares(batch_id=batch_id, received_units=received)

        assert credited == Credited(member_count=len(amounts), total_units=received)
        assert shares_in_units(batch_id) == expected
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("amounts", "received", "expected"),
    [
        (["19.40", "9.70", "29.10"], 57_000_000, [19_000_000, 9_500_000, 28_500_000]),
        (["10", "10", "10"], 29_000_000, [9_666_667, 9_666_667, 9_666_666]),
        (["1"] * 11, 10_700_000, [972_728] * 3 + [972_727] * 8),
        (["0.00000001", "100"], 100_000_000, [0, 100_000_000]),
        (["7.77"], 7_540_001, [7_540_001]),
    ],
)
def test_it_divides_the_known_cases(amounts: list[str], received: int, expected: list[int]) -> None:
    members = factories.accumulations(*amounts)
    batch_id = claimed_batch()

    credit_shares(batch_id=batch_id, received_units=received)

    assert [shares_in_units(batch_id)[member.pk] for member in members] == expected
    assert {member.status for member in Accumulation.objects.all()} == {AccumulationStatus.COMPLETED}


@pytest.mark.parametrize("received", [0, -1])
def test_f59_it_refuses_proceeds_of_nothing(received: int) -> None:
    member = factories.accumulation(20)
    batch_id = claimed_batch()

    with pytest.raises(NothingToDivideError, match=str(batch_id)):
        credit_shares(batch_id=batch_id, received_units=received)

    member.refresh_from_db()
    assert member.status == AccumulationStatus.SWAPPING
    assert member.converted_usdt_amount is None


def test_f59_it_gives_the_only_unit_to_the_largest_remainder() -> None:
    small, large = factories.accumulations("0.01", "10000000000")  # one is 10^12 times the other
    batch_id = claimed_batch()

    credited = credit_shares(batch_id=batch_id, received_units=1)

    assert credited == Credited(member_count=2, total_units=1)
    assert shares_in_units(batch_id) == {small.pk: 0, large.pk: 1}


def test_f59_it_gives_zero_shares_when_there_are_fewer_units_than_members() -> None:
    members = factories.accumulations(*["5"] * 7)
    batch_id = claimed_batch()

    credited = credit_shares(batch_id=batch_id, received_units=3)

    assert credited == Credited(member_count=7, total_units=3)
    assert [shares_in_units(batch_id)[member.pk] for member in members] == [1, 1, 1, 0, 0, 0, 0]


def test_f59_it_divides_among_fifty_thousand_members_in_one_statement() -> None:
    factories.accumulations(*[Decimal(100 + number % 977).scaleb(-2) for number in range(50_000)])
    batch_id = claimed_batch()
    expected = shares(weights_of(batch_id), 271_828_182_845)

    with CaptureQueriesContext(connection) as queries:
        credited = credit_shares(batch_id=batch_id, received_units=271_828_182_845)

    assert credited == Credited(member_count=50_000, total_units=271_828_182_845)
    assert shares_in_units(batch_id) == expected
    assert len([query for query in queries if "payouts_accumulation" in query["sql"]]) == 1


def test_f60_it_credits_nobody_twice() -> None:
    factories.accumulations(10, 20)
    batch_id = claimed_batch()
    credit_shares(batch_id=batch_id, received_units=29_000_000)
    before = shares_in_units(batch_id)

    again = credit_shares(batch_id=batch_id, received_units=31_000_000)

    assert again == Credited(member_count=0, total_units=0)
    assert shares_in_units(batch_id) == before


def test_it_leaves_other_batches_and_pending_payments_alone() -> None:
    others = factories.accumulations(10, 20)
    other_batch = claimed_batch()
    mine = factories.accumulation(30)
    my_batch = claimed_batch()
    pending = factories.accumulation(40)

    credit_shares(batch_id=my_batch, received_units=30_000_000)

    assert shares_in_units(my_batch) == {mine.pk: 30_000_000}
    assert shares_in_units(other_batch) == {}
    pending.refresh_from_db()
    assert pending.status == AccumulationStatus.PENDING
    assert {row.status for row in Accumulation.objects.filter(pk__in=[other.pk for other in others])} == {"swapping"}
