"""What an operator may do to a batch, and what is refused."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest

from batches.models import BatchConversion, BatchStatus
from batches.services import (
    check_threshold,
    distribute,
    explain_batch,
    fail_batch,
    release_batch,
    retry_batch,
    timeline,
)
from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from hostpay.models import HostPayment, PaymentStatus
from payouts.models import Accumulation, AccumulationStatus
from tests import factories
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)

# The way of a payment from its request to its end.
ROAD = (
    PaymentStatus.ORDERED,
    PaymentStatus.SIGNED,
    PaymentStatus.BROADCAST,
    PaymentStatus.MINED,
    PaymentStatus.FINAL,
)


@pytest.fixture
def batch() -> BatchConversion:
    factories.policy(20)
    factories.accumulations(10, 15)
    made = check_threshold(actor=ACTOR).batch
    assert made is not None
    return made


def payment_at(status: PaymentStatus) -> HostPayment:
    """The batch's payment, moved along its road to `status`."""
    payment = HostPayment.objects.get()
    for step in ROAD[: ROAD.index(status) + 1]:
        payment.move(step, actor=ACTOR, reason="for a test")
    return payment


def test_a_release_gives_every_member_back_with_an_event_of_its_own(batch: BatchConversion) -> None:
    returned = release_batch(batch=batch, actor=ACTOR, reason="the provider is down")

    assert returned == 2
    batch.refresh_from_db()
    assert (batch.status, batch.failure_reason) == (BatchStatus.CANCELLED, "the provider is down")
    assert HostPayment.objects.get().status == PaymentStatus.CANCELLED
    for member in Accumulation.objects.all():
        assert (member.status, member.batch_conversion_id) == (AccumulationStatus.PENDING, None)
        event = member.status_changes.get()
        assert (event.from_status, event.to_status, event.actor) == ("swapping", "pending", str(ACTOR))
        assert (event.reason, event.data) == ("the provider is down", {"batch": str(batch.pk)})


def test_what_was_released_is_pending_again_and_can_be_batched_again(batch: BatchConversion) -> None:
    release_batch(batch=batch, actor=ACTOR, reason="not today")

    again = check_threshold(actor=ACTOR).batch

    assert again is not None
    assert (again.total_usd, again.member_count) == (Decimal(25), 2)
    assert HostPayment.objects.live().get().reference == str(again.pk)


def test_an_ordered_payment_can_still_be_released(batch: BatchConversion) -> None:
    payment_at(PaymentStatus.ORDERED)

    assert release_batch(batch=batch, actor=ACTOR, reason="wrong day") == 2


@pytest.mark.parametrize("status", ROAD[1:])
def test_a_release_is_refused_once_bytes_are_signed(batch: BatchConversion, status: PaymentStatus) -> None:
    payment_at(status)

    with pytest.raises(RefusedError) as refused:
        release_batch(batch=batch, actor=ACTOR, reason="too late")

    assert f"The host payment is {status}" in refused.value.why
    assert refused.value.next_step
    batch.refresh_from_db()
    assert batch.status == BatchStatus.SWAPPING
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.SWAPPING}
    assert HostPayment.objects.get().status == status


def test_a_completed_batch_can_be_neither_released_nor_retried(batch: BatchConversion) -> None:
    distribute(batch_id=batch.pk, received_units=24_000_000, actor=ACTOR)
    batch.refresh_from_db()

    for act in (release_batch, retry_batch):
        with pytest.raises(RefusedError, match="completed: its USDT is shared among the members"):
            act(batch=batch, actor=ACTOR, reason="again")

    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.COMPLETED}


def test_an_act_on_a_stale_page_is_refused(batch: BatchConversion) -> None:
    as_seen = BatchConversion.objects.get(pk=batch.pk)
    release_batch(batch=batch, actor=ACTOR, reason="first")

    with pytest.raises((StaleRowError, RefusedError)):
        release_batch(batch=as_seen, actor=ACTOR, reason="second")

    assert batch.status_changes.filter(to_status=BatchStatus.CANCELLED).count() == 1
    assert all(row.status_changes.count() == 1 for row in Accumulation.objects.all())


@pytest.mark.parametrize("reason", ["", "   "])
def test_both_need_a_reason(batch: BatchConversion, reason: str) -> None:
    for act in (release_batch, retry_batch):
        with pytest.raises(RefusedError, match="needs a reason"):
            act(batch=batch, actor=ACTOR, reason=reason)

    batch.refresh_from_db()
    assert batch.status == BatchStatus.SWAPPING


def test_a_retry_ends_the_review_and_makes_the_payment_due(batch: BatchConversion) -> None:
    HostPayment.objects.update(
        review_reason="value outside of the band", review_since=batch.created_at, next_action_at=None, attempts=7
    )

    payment = retry_batch(batch=batch, actor=ACTOR, reason="looked into it")

    payment.refresh_from_db()
    assert (payment.review_reason, payment.review_since, payment.attempts) == ("", None, 0)
    assert payment.next_action_at is not None
    event = batch.status_changes.latest("pk")
    assert (event.from_status, event.to_status, event.reason) == ("swapping", "swapping", "retry: looked into it")


def test_a_retry_is_refused_while_signed_bytes_may_be_mined(batch: BatchConversion) -> None:
    payment_at(PaymentStatus.BROADCAST)

    with pytest.raises(RefusedError, match="may still be mined"):
        retry_batch(batch=batch, actor=ACTOR, reason="hurry")

    assert not batch.status_changes.filter(reason__startswith="retry").exists()


def test_it_explains_a_batch_under_way_by_its_payment(batch: BatchConversion) -> None:
    rules = {rule.name: rule for rule in explain_batch(batch)}

    assert rules["the threshold was reached"].ok
    assert rules["the threshold was reached"].detail == "2 payments of $25.00; the threshold in force was $20.00"
    assert not rules["converted"].ok
    assert rules["converted"].detail == "its money is under way"
    assert len(rules) > 2


def test_it_explains_an_ended_batch(batch: BatchConversion) -> None:
    distribute(batch_id=batch.pk, received_units=24_100_000, actor=ACTOR)
    batch.refresh_from_db()

    rules = {rule.name: rule for rule in explain_batch(batch)}

    assert rules["converted"].ok
    assert rules["converted"].detail == "24.1 USDT received and shared"


def test_it_explains_a_failed_batch(batch: BatchConversion) -> None:
    fail_batch(batch_id=batch.pk, reason="order refused", actor=ACTOR)
    batch.refresh_from_db()

    rules = {rule.name: rule for rule in explain_batch(batch)}

    assert rules["converted"].detail == "failed, its members are pending again: order refused"


def test_the_timeline_tells_batch_and_payment_in_one_order(batch: BatchConversion) -> None:
    payment_at(PaymentStatus.SIGNED)

    entries = timeline(batch)

    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    told = [(entry.subject, entry.from_status, entry.to_status) for entry in entries]
    assert told == [
        ("batch", "", "created"),
        ("host payment", "", "requested"),
        ("batch", "created", "swapping"),
        ("host payment", "requested", "ordered"),
        ("host payment", "ordered", "signed"),
    ]
    assert {entry.actor for entry in entries} == {str(ACTOR)}


def test_a_timeline_holds_nothing_of_other_batches(batch: BatchConversion) -> None:
    factories.accumulation(100)
    other = check_threshold(actor=ACTOR).batch
    assert other is not None
    assert uuid.UUID(str(other.pk)) != batch.pk

    assert len(timeline(batch)) == 3
    assert len(timeline(other)) == 3
