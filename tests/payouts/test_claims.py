"""Holding, letting go on and voiding one accumulation."""

from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from batches.models import BatchConversion, BatchStatus
from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from payouts.models import Accumulation, AccumulationStatus, Strategy
from payouts.services import hold_accumulation, unhold_accumulation, void_accumulation
from payouts.services.members import claim_pending
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew, wait_until_blocked

Move = Callable[..., Accumulation]


def _batch(total_usd: Decimal) -> BatchConversion:
    return BatchConversion(
        id=uuid4(),
        policy=factories.policy(1),
        threshold_usd=1,
        total_usd=total_usd,
        member_count=1,
        net_wei=1,
        unreceipted_usd=0,
        status=BatchStatus.SWAPPING,
        created_by=str(ACTOR),
    )


@pytest.mark.django_db
def test_it_holds_and_lets_go_on() -> None:
    row = factories.accumulation(5)

    hold_accumulation(accumulation=row, actor=ACTOR, reason=" looks odd ")
    row.refresh_from_db()
    assert (row.status, row.hold_reason) == (AccumulationStatus.HELD, "looks odd")

    unhold_accumulation(accumulation=row, actor=ACTOR, reason="asked the sender")
    row.refresh_from_db()
    assert (row.status, row.hold_reason, row.pending_usd_amount) == (AccumulationStatus.PENDING, "", Decimal(5))
    changes = row.status_changes.values_list("from_status", "to_status", "actor", "reason")
    assert list(changes) == [
        ("pending", "held", str(ACTOR), "looks odd"),
        ("held", "pending", str(ACTOR), "asked the sender"),
    ]


@pytest.mark.django_db
def test_it_voids_for_good() -> None:
    row = factories.accumulation(5)

    void_accumulation(accumulation=row, actor=ACTOR, reason="refunded")

    row.refresh_from_db()
    assert row.status == AccumulationStatus.VOIDED
    for move in (hold_accumulation, unhold_accumulation, void_accumulation):
        with pytest.raises(RefusedError, match="is voided"):
            move(accumulation=row, actor=ACTOR, reason="again")
    assert row.status_changes.count() == 1


@pytest.mark.django_db
def test_inc63_what_arrived_in_another_asset_is_never_paid_again_with_our_eth() -> None:
    row = factories.accumulation(
        5,
        net_wei=None,
        outcome_currency="usdt",
        outcome_amount="4.99",
        status=AccumulationStatus.HELD,
        hold_reason="Arrived in USDT: only ETH is converted in batches.",
    )

    with pytest.raises(RefusedError, match=r"arrived as 4\.99 USDT: a batch would pay for it once more") as refused:
        unhold_accumulation(accumulation=row, actor=ACTOR, reason="it looks fine")

    assert "outside of the batches" in refused.value.next_step
    # Nor past the service.
    with (
        pytest.raises(IntegrityError, match="accumulation_in_a_batch_came_as_eth_or_unsaid"),
        transaction.atomic(),
    ):
        Accumulation.objects.filter(pk=row.pk).update(status=AccumulationStatus.PENDING, hold_reason="")
    row.refresh_from_db()
    assert row.status == AccumulationStatus.HELD
    assert not row.status_changes.exists()
    # Once it is settled otherwise it does not stay open for ever.
    void_accumulation(accumulation=row, actor=ACTOR, reason="paid out by hand")
    row.refresh_from_db()
    assert (row.status, row.hold_reason) == (AccumulationStatus.VOIDED, "")


@pytest.mark.django_db
def test_a_payment_of_an_instant_client_is_not_let_into_a_batch_of_the_threshold() -> None:
    instant = factories.client(strategy=Strategy.INSTANT, payout_threshold_usd=None)
    row = factories.accumulation(5, client=instant, status=AccumulationStatus.HELD, hold_reason="Instant client.")

    with pytest.raises(RefusedError, match="is paid out instantly"):
        unhold_accumulation(accumulation=row, actor=ACTOR, reason="it looks fine")

    row.refresh_from_db()
    assert row.status == AccumulationStatus.HELD
    instant.strategy, instant.payout_threshold_usd = Strategy.THRESHOLD, Decimal(50)
    instant.save()
    row = Accumulation.objects.get(pk=row.pk)
    assert unhold_accumulation(accumulation=row, actor=ACTOR, reason="now it accumulates").status == "pending"


@pytest.mark.django_db
@pytest.mark.parametrize("move", [hold_accumulation, void_accumulation])
def test_it_wants_a_reason(move: Move) -> None:
    row = factories.accumulation(5)

    with pytest.raises(RefusedError, match="needs a reason"):
        move(accumulation=row, actor=ACTOR, reason="  ")

    assert not row.status_changes.exists()


@pytest.mark.django_db
def test_it_refuses_a_row_that_somebody_else_moved_meanwhile() -> None:
    row = factories.accumulation(5)
    seen = Accumulation.objects.get(pk=row.pk)
    hold_accumulation(accumulation=row, actor=ACTOR, reason="looks odd")

    with pytest.raises(StaleRowError):
        void_accumulation(accumulation=seen, actor=ACTOR, reason="refunded")

    row.refresh_from_db()
    assert row.status == AccumulationStatus.HELD


def first_of_two(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Future[Any], Future[Any]]:
    """`first` acts and commits only when `second` waits for what it holds; both have ended."""
    acted, go_on = Event(), Event()

    def act_and_linger() -> Any:
        with transaction.atomic():
            done = first()
            acted.set()
            assert go_on.wait(PATIENCE_S)
        return done

    with crew(2) as workers:
        one = workers.start(act_and_linger)
        assert acted.wait(PATIENCE_S)
        other = workers.start(second)
        try:
            wait_until_blocked()
        finally:
            go_on.set()
    return one, other


@pytest.mark.django_db(transaction=True)
def test_f11_a_void_that_comes_after_the_claim_loses() -> None:
    row = factories.accumulation(5)
    batch = _batch(row.pending_usd_amount)

    claiming, voiding = first_of_two(
        lambda: _claim(batch), lambda: void_accumulation(accumulation=row, actor=ACTOR, reason="refunded")
    )

    assert claiming.result() == 1
    with pytest.raises(StaleRowError):
        voiding.result()
    stored = Accumulation.objects.get(pk=row.pk)
    assert (stored.status, stored.batch_conversion_id) == (AccumulationStatus.SWAPPING, batch.pk)
    assert not stored.status_changes.exists()


@pytest.mark.django_db(transaction=True)
def test_f11_a_claim_that_comes_after_the_void_loses() -> None:
    row, other = factories.accumulations(5, 7)
    batch = _batch(other.pending_usd_amount)

    voiding, claiming = first_of_two(
        lambda: void_accumulation(accumulation=row, actor=ACTOR, reason="refunded"), lambda: _claim(batch)
    )

    assert voiding.result().status == AccumulationStatus.VOIDED
    assert claiming.result() == 1
    assert Accumulation.objects.get(pk=row.pk).batch_conversion_id is None
    assert Accumulation.objects.get(pk=other.pk).batch_conversion_id == batch.pk


def _claim(batch: BatchConversion) -> int:
    with transaction.atomic():
        claimed = claim_pending(batch_id=batch.pk, converts_unreceipted=True, max_wei=None)
        batch.save(force_insert=True)
    return claimed.member_count
