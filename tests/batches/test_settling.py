"""How a batch ends, through the handler that hostpay calls."""

from __future__ import annotations

import uuid
from decimal import Decimal
from threading import Barrier

import pytest
from django.db import connection

from batches.models import BatchConversion, BatchStatus
from batches.services import DistributionError, UnknownBatchError, check_threshold, release_batch
from config.lib.errors import RefusedError
from config.lib.lifecycle import IllegalMoveError
from hostpay.callbacks import Failed, Settled, contexts_without_handler, handler_for
from hostpay.models import Context
from payouts.models import Accumulation, AccumulationStatus
from payouts.services.members import NothingToDivideError
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew

pytestmark = pytest.mark.django_db(transaction=True)

HANDLER = handler_for(Context.BATCH)


def swapping_batch(*net_usd: str | int) -> BatchConversion:
    factories.policy(20)
    factories.accumulations(*net_usd)
    batch = check_threshold(actor=ACTOR).batch
    assert batch is not None
    return batch


def settled(batch: BatchConversion, received_units: int, *, context: str = Context.BATCH) -> Settled:
    return Settled(
        payment_id=uuid.uuid4(),
        context=context,
        reference=str(batch.pk),
        received_units=received_units,
        tx_hash="0x" + "ab" * 32,
    )


def failed(batch: BatchConversion, reason: str) -> Failed:
    return Failed(payment_id=uuid.uuid4(), context=Context.BATCH, reference=str(batch.pk), reason=reason)


def shares() -> list[Decimal | None]:
    return list(Accumulation.objects.order_by("pk").values_list("converted_usdt_amount", flat=True))


def assert_untouched(batch: BatchConversion) -> None:
    batch.refresh_from_db()
    assert (batch.status, batch.received_units) == (BatchStatus.SWAPPING, None)
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.SWAPPING}
    assert set(shares()) == {None}


def test_every_accepted_context_has_a_handler() -> None:
    assert contexts_without_handler() == ()


def test_it_shares_what_arrived_and_completes_the_batch() -> None:
    batch = swapping_batch("19.40", "9.70", "29.10")

    HANDLER.on_settled(settled(batch, 57_000_000))

    batch.refresh_from_db()
    assert (batch.status, batch.received_units) == (BatchStatus.COMPLETED, 57_000_000)
    assert shares() == [Decimal(19), Decimal("9.5"), Decimal("28.5")]
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.COMPLETED}
    event = batch.status_changes.latest("pk")
    assert (event.from_status, event.to_status) == ("swapping", "completed")
    assert event.data == {
        "member_count": 3,
        "received_units": "57000000",
        "shared_units": "57000000",
        "tx_hash": "0x" + "ab" * 32,
    }


def test_it_leaves_the_claims_in_dollars_as_they_were() -> None:
    batch = swapping_batch("19.40", "9.70")

    HANDLER.on_settled(settled(batch, 28_000_001))

    pending = Accumulation.objects.order_by("pk").values_list("pending_usd_amount", flat=True)
    assert list(pending) == [Decimal("19.40"), Decimal("9.70")]
    assert sum(share for share in shares() if share is not None) == Decimal("28.000001")


def test_f60_being_told_twice_changes_nothing() -> None:
    batch = swapping_batch(10, 15)
    HANDLER.on_settled(settled(batch, 24_000_000))
    before = shares()

    HANDLER.on_settled(settled(batch, 24_000_000))

    assert shares() == before == [Decimal("9.6"), Decimal("14.4")]
    assert batch.status_changes.filter(to_status=BatchStatus.COMPLETED).count() == 1


def test_f60_being_told_another_amount_afterwards_is_refused() -> None:
    batch = swapping_batch(10, 15)
    HANDLER.on_settled(settled(batch, 24_000_000))

    with pytest.raises(RefusedError, match="completed already"):
        HANDLER.on_settled(settled(batch, 25_000_000))

    assert shares() == [Decimal("9.6"), Decimal("14.4")]


def test_f60_two_workers_at_once_share_once() -> None:
    batch = swapping_batch(10, 15)
    barrier = Barrier(4)

    def deliver() -> None:
        barrier.wait(PATIENCE_S)
        HANDLER.on_settled(settled(batch, 24_000_000))

    with crew(4) as workers:
        for one in [workers.start(deliver) for _ in range(4)]:
            one.result()

    assert shares() == [Decimal("9.6"), Decimal("14.4")]
    assert batch.status_changes.filter(to_status=BatchStatus.COMPLETED).count() == 1


@pytest.mark.parametrize("received", [0, -1])
def test_f59_it_refuses_to_share_nothing(received: int) -> None:
    batch = swapping_batch(25)

    with pytest.raises(NothingToDivideError):
        HANDLER.on_settled(settled(batch, received))

    assert_untouched(batch)


def test_it_rolls_back_when_a_member_is_missing() -> None:
    batch = swapping_batch(10, 15)
    stray = Accumulation.objects.earliest("pk")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payouts_accumulation SET status = 'pending', batch_conversion_id = NULL WHERE id = %s", [stray.pk]
        )

    with pytest.raises(DistributionError, match="1 shares sum to 24000000 units, but 2 members"):
        HANDLER.on_settled(settled(batch, 24_000_000))

    batch.refresh_from_db()
    assert batch.status == BatchStatus.SWAPPING
    assert set(shares()) == {None}


def test_a_failed_payment_gives_the_members_back() -> None:
    batch = swapping_batch(10, 15)

    HANDLER.on_failed(failed(batch, "refunded by the exchange"))

    batch.refresh_from_db()
    assert (batch.status, batch.failure_reason) == (BatchStatus.FAILED, "refunded by the exchange")
    members = Accumulation.objects.order_by("pk")
    assert {(row.status, row.batch_conversion_id) for row in members} == {(AccumulationStatus.PENDING, None)}
    for member in members:
        event = member.status_changes.get()
        assert (event.from_status, event.to_status) == ("swapping", "pending")
        assert (event.reason, event.data) == ("refunded by the exchange", {"batch": str(batch.pk)})
    assert batch.status_changes.latest("pk").data == {"members_returned": 2}


def test_members_given_back_go_into_the_next_batch() -> None:
    batch = swapping_batch(10, 15)
    HANDLER.on_failed(failed(batch, "order refused"))

    following = check_threshold(actor=ACTOR).batch

    assert following is not None
    assert following != batch
    assert (following.total_usd, following.member_count) == (Decimal(25), 2)
    batch.refresh_from_db()
    assert (batch.status, batch.total_usd, batch.member_count) == (BatchStatus.FAILED, Decimal(25), 2)


def test_a_failure_told_twice_or_after_a_release_changes_nothing() -> None:
    batch = swapping_batch(10, 15)
    release_batch(batch=batch, actor=ACTOR, reason="not today")
    events = batch.status_changes.count()

    HANDLER.on_failed(failed(batch, "cancelled"))

    batch.refresh_from_db()
    assert (batch.status, batch.failure_reason) == (BatchStatus.CANCELLED, "not today")
    assert batch.status_changes.count() == events


def test_a_completed_batch_cannot_fail() -> None:
    batch = swapping_batch(25)
    HANDLER.on_settled(settled(batch, 24_000_000))

    with pytest.raises(RefusedError, match="completed already"):
        HANDLER.on_failed(failed(batch, "refunded"))

    assert shares() == [Decimal(24)]


def test_proceeds_of_a_released_batch_are_not_shared() -> None:
    batch = swapping_batch(25)
    release_batch(batch=batch, actor=ACTOR, reason="not today")

    with pytest.raises(RefusedError, match="cancelled already"):
        HANDLER.on_settled(settled(batch, 24_000_000))

    assert shares() == [None]


def test_f64_a_payment_of_another_context_does_not_touch_the_batch() -> None:
    batch = swapping_batch(25)

    with pytest.raises(UnknownBatchError, match="is of context threshold, not batch"):
        HANDLER.on_settled(settled(batch, 24_000_000, context=Context.THRESHOLD))

    assert_untouched(batch)


@pytest.mark.parametrize("cut", [slice(None, 10), slice(None, -1), slice(0, 0)])
def test_f64_a_reference_cut_short_is_no_batch(cut: slice) -> None:
    batch = swapping_batch(25)
    event = Settled(
        payment_id=uuid.uuid4(),
        context=Context.BATCH,
        reference=str(batch.pk)[cut],
        received_units=24_000_000,
        tx_hash="",
    )

    with pytest.raises(UnknownBatchError, match="is no id of a batch"):
        HANDLER.on_settled(event)

    assert_untouched(batch)


def test_f64_an_id_written_another_way_is_no_batch() -> None:
    batch = swapping_batch(25)
    event = Settled(
        payment_id=uuid.uuid4(), context=Context.BATCH, reference=batch.pk.hex, received_units=1, tx_hash=""
    )

    with pytest.raises(UnknownBatchError, match="not how the id of a batch is written"):
        HANDLER.on_settled(event)

    assert_untouched(batch)


def test_f64_an_unknown_batch_is_named() -> None:
    event = Failed(payment_id=uuid.uuid4(), context=Context.BATCH, reference=str(uuid.uuid4()), reason="x")

    with pytest.raises(UnknownBatchError, match=f"there is no batch {event.reference}"):
        HANDLER.on_failed(event)


@pytest.mark.parametrize("status", [AccumulationStatus.HELD, AccumulationStatus.VOIDED])
def test_f61_a_claimed_member_can_be_neither_held_nor_voided(status: AccumulationStatus) -> None:
    batch = swapping_batch(25)
    member = batch.members.get()

    with pytest.raises(IllegalMoveError, match=f"cannot go from swapping to {status}"):
        member.move(status, actor=ACTOR, reason="refunded")

    assert_untouched(batch)
    assert batch.members.get().status_changes.count() == 0


@pytest.mark.parametrize("status", [AccumulationStatus.HELD, AccumulationStatus.VOIDED, AccumulationStatus.PENDING])
def test_f61_a_converted_member_stays_converted(status: AccumulationStatus) -> None:
    batch = swapping_batch(25)
    HANDLER.on_settled(settled(batch, 24_000_000))
    member = batch.members.get()

    with pytest.raises(IllegalMoveError, match=f"cannot go from completed to {status}"):
        member.move(status, actor=ACTOR, reason="refunded")

    assert shares() == [Decimal(24)]
