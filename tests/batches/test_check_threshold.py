"""One threshold check at a time."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from batches.models import BatchConversion, BatchStatus, Decision, ThresholdCheck
from batches.services import check_threshold, explain_threshold
from batches.tasks import check_threshold as check_threshold_task
from config.lib.errors import RefusedError
from hostpay.models import Context, Heartbeat, HostPayment, PaymentStatus, Switch
from hostpay.services import due_payments, pause
from payouts.models import Accumulation, AccumulationStatus
from tests import factories
from tests.factories import ACTOR, WEI_PER_USD
from tests.lib.exchange_range import ExchangeRange

pytestmark = pytest.mark.django_db(transaction=True)


def statuses() -> dict[str, int]:
    found: dict[str, int] = {}
    for status in Accumulation.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def assert_nothing_happened() -> None:
    assert not BatchConversion.objects.exists()
    assert not HostPayment.objects.exists()
    assert set(statuses()) <= {AccumulationStatus.PENDING}


def test_f20_it_makes_no_batch_a_hundred_millionth_below_the_threshold() -> None:
    factories.policy(20)
    factories.accumulations("4.85", "15.14999999")

    check = check_threshold(actor=ACTOR)

    assert check.decision == Decision.BELOW
    assert (check.total_usd, check.member_count, check.threshold_usd) == (Decimal("19.99999999"), 2, Decimal(20))
    assert check.batch is None
    assert check.blockers == ["$19.99999999 are $0.00000001 below the threshold of $20.00"]
    assert_nothing_happened()


def test_f20_it_makes_a_batch_at_exactly_the_threshold() -> None:
    factories.policy(20)
    factories.accumulations("4.85", "14.55")
    assert check_threshold(actor=ACTOR).decision == Decision.BELOW
    factories.accumulation("0.60")

    check = check_threshold(actor=ACTOR)

    batch = BatchConversion.objects.get()
    assert (check.decision, check.batch, check.blockers) == (Decision.CREATED, batch, [])
    assert (check.total_usd, check.member_count) == (Decimal(20), 3)
    assert (batch.status, batch.total_usd, batch.threshold_usd) == (BatchStatus.SWAPPING, Decimal(20), Decimal(20))
    assert (batch.member_count, batch.net_wei, batch.unreceipted_usd) == (3, 20 * WEI_PER_USD, 0)
    assert statuses() == {AccumulationStatus.SWAPPING: 3}
    assert {member.batch_conversion for member in Accumulation.objects.all()} == {batch}


def test_it_requests_one_host_payment_for_exactly_the_members_eth() -> None:
    factories.policy(20, tolerance_bps=700)
    factories.accumulation(15)
    factories.accumulation(10, net_wei=None)

    batch = check_threshold(actor=ACTOR).batch

    assert batch is not None
    payment = HostPayment.objects.get()
    assert (payment.context, payment.reference) == (Context.BATCH, str(batch.pk))
    assert (payment.amount_units, payment.unpriced_usd) == (15 * WEI_PER_USD, Decimal(10))
    assert (payment.expected_usd, payment.tolerance_bps) == (Decimal(25), 700)
    assert payment.status == PaymentStatus.REQUESTED


def test_it_leaves_one_event_for_the_claim_and_one_for_the_request() -> None:
    factories.policy(20)
    factories.accumulation(20)

    batch = check_threshold(actor=ACTOR).batch

    assert batch is not None
    born, moved = batch.status_changes.order_by("pk")
    assert (born.from_status, born.to_status, born.reason) == ("", "created", "threshold reached")
    assert born.data["total_usd"] == "20.00000000"
    assert (moved.from_status, moved.to_status) == ("created", "swapping")
    assert moved.data == {"host_payment": str(HostPayment.objects.get().pk)}
    assert Accumulation.objects.get().status_changes.count() == 0


def test_it_takes_only_pending_payments() -> None:
    factories.policy(20)
    factories.accumulation(100, status=AccumulationStatus.HELD, hold_reason="too big")
    factories.accumulation(100, status=AccumulationStatus.VOIDED)
    factories.accumulation(19)

    check = check_threshold(actor=ACTOR)

    assert (check.decision, check.total_usd, check.member_count) == (Decision.BELOW, Decimal(19), 1)
    assert not BatchConversion.objects.exists()


def test_it_finds_nothing_pending_below_the_threshold_and_asks_nobody(exchange_range: ExchangeRange) -> None:
    factories.policy(20)

    check = check_threshold(actor=ACTOR)

    assert (check.decision, check.total_usd, check.member_count) == (Decision.BELOW, Decimal(0), 0)
    assert check.oldest_pending_at is None
    assert check.blockers == ["nothing is pending", "$0.00 are $20.00 below the threshold of $20.00"]
    assert exchange_range.asked == 0


def test_it_goes_by_the_newest_policy_and_each_batch_keeps_the_one_it_met() -> None:
    factories.policy(20)
    factories.policy(100)
    factories.accumulation(57)
    assert check_threshold(actor=ACTOR).decision == Decision.BELOW
    factories.accumulation(43)

    check = check_threshold(actor=ACTOR)
    newest = factories.policy(500)

    assert check.batch is not None
    assert (check.batch.threshold_usd, check.batch.policy.threshold_usd) == (Decimal(100), Decimal(100))
    assert check.policy != newest
    assert check.batch.policy == check.policy


def test_it_rehearses_without_touching_anything() -> None:
    factories.policy(20)
    factories.accumulation(25)

    check = check_threshold(actor=ACTOR, dry_run=True)

    assert (check.decision, check.total_usd, check.member_count) == (Decision.REHEARSED, Decimal(25), 1)
    assert ThresholdCheck.objects.count() == 1
    assert_nothing_happened()


def test_it_does_not_make_a_batch_while_batches_are_paused() -> None:
    factories.policy(20)
    factories.accumulation(25)
    pause(switch=Switch.BATCHES, actor=ACTOR, reason="the provider moves house")

    check = check_threshold(actor=ACTOR)
    forced = check_threshold(actor=ACTOR, force=True, reason="now")

    assert (check.decision, forced.decision) == (Decision.BLOCKED, Decision.BLOCKED)
    assert "the provider moves house" in check.blockers[0]
    assert_nothing_happened()


def test_a_pause_of_something_else_does_not_stop_it() -> None:
    factories.policy(20)
    factories.accumulation(25)
    pause(switch=Switch.INTAKE, actor=ACTOR, reason="maintenance")

    assert check_threshold(actor=ACTOR).decision == Decision.CREATED


def test_it_makes_a_forced_batch_below_the_threshold_and_keeps_the_reason() -> None:
    factories.policy(20)
    factories.accumulation(3)

    check = check_threshold(actor=ACTOR, force=True, reason="end of the month")

    assert (check.decision, check.is_forced, check.total_usd) == (Decision.CREATED, True, Decimal(3))
    assert check.batch is not None
    assert check.batch.status_changes.earliest("pk").reason == "forced: end of the month"
    assert check.batch.threshold_usd == Decimal(20)


def test_it_refuses_to_be_forced_without_a_reason() -> None:
    factories.accumulation(3)

    with pytest.raises(RefusedError, match="needs a reason"):
        check_threshold(actor=ACTOR, force=True, reason="  ")

    assert not ThresholdCheck.objects.exists()
    assert_nothing_happened()


def test_it_cannot_be_forced_to_make_a_batch_of_nothing() -> None:
    factories.policy(20)

    check = check_threshold(actor=ACTOR, force=True, reason="now")

    assert (check.decision, check.blockers) == (Decision.BLOCKED, ["nothing is pending"])
    assert_nothing_happened()


def test_it_leaves_payments_without_receipt_alone_if_the_policy_says_so() -> None:
    factories.policy(20, converts_unreceipted=False)
    factories.accumulation(15)
    unreceipted = factories.accumulation(10, net_wei=None)

    below = check_threshold(actor=ACTOR)
    factories.accumulation(5)
    check = check_threshold(actor=ACTOR)

    sentence = (
        "1 payments worth $10.00 have no recorded ETH receipt, and policy version"
        f" {check.policy.version} does not convert such"
    )
    assert (below.decision, below.total_usd) == (Decision.BELOW, Decimal(15))
    assert below.blockers == ["$15.00 are $5.00 below the threshold of $20.00", sentence]
    assert check.batch is not None
    assert (check.batch.total_usd, check.batch.unreceipted_usd, check.batch.member_count) == (Decimal(20), 0, 2)
    assert check.blockers == [sentence]
    unreceipted.refresh_from_db()
    assert (unreceipted.status, unreceipted.batch_conversion) == (AccumulationStatus.PENDING, None)


def test_f22_a_query_that_fails_is_never_below_the_threshold() -> None:
    factories.policy(20)
    factories.accumulation(25)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_accumulation RENAME COLUMN pending_usd_amount TO misplaced")
    try:
        with pytest.raises(ProgrammingError, match="pending_usd_amount"):
            check_threshold_task()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE payouts_accumulation RENAME COLUMN misplaced TO pending_usd_amount")

    assert not ThresholdCheck.objects.exists()
    assert_nothing_happened()
    beat = Heartbeat.objects.get(pk="check_threshold")
    assert beat.failed_at is not None
    assert beat.succeeded_at is None
    assert "pending_usd_amount" in beat.last_error


def test_f23_it_converts_once_after_hours_without_a_check() -> None:
    factories.policy(20)
    long_ago = timezone.now() - timedelta(hours=6)
    factories.accumulations(*[20] * 24, created_at=long_ago)

    first, *others = [check_threshold(actor=ACTOR) for _ in range(4)]

    assert (first.decision, first.member_count, first.oldest_pending_at) == (Decision.CREATED, 24, long_ago)
    assert {check.decision for check in others} == {Decision.BELOW}
    assert BatchConversion.objects.count() == 1
    assert HostPayment.objects.count() == 1


@pytest.mark.parametrize("column", ["pending_usd_amount", "gross_usd", "net_wei", "received_wei"])
def test_f24_the_database_refuses_a_poisoned_row_and_the_rest_is_batched(column: str) -> None:
    factories.policy(20)
    poisoned, *_others = factories.accumulations(10, 15)

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE payouts_accumulation SET {column} = 'NaN' WHERE id = %s", [poisoned.pk])  # noqa: S608
    # The foreign key is checked when the transaction ends.
    with pytest.raises(IntegrityError), transaction.atomic():
        Accumulation.objects.filter(pk=poisoned.pk).update(client_id=0)

    assert check_threshold(actor=ACTOR).total_usd == Decimal(25)
    assert statuses() == {AccumulationStatus.SWAPPING: 2}


def test_f25_it_waits_below_the_providers_minimum(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    factories.accumulation(25)  # 0.0125 ETH
    exchange_range.minimum = "0.02"

    check = check_threshold(actor=ACTOR)

    assert check.decision == Decision.BLOCKED
    assert check.blockers == ["0.0125 ETH are below the provider's minimum of 0.02 ETH"]
    assert_nothing_happened()
    exchange_range.minimum = "0.0125"
    assert check_threshold(actor=ACTOR).decision == Decision.CREATED


def test_f25_it_splits_above_the_providers_maximum_by_the_first_ids(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    first, second, third = factories.accumulations(10, 20, 30)
    exchange_range.maximum = "0.0151"  # 30.2 USD

    check = check_threshold(actor=ACTOR)

    assert check.batch is not None
    assert list(check.batch.members.order_by("pk")) == [first, second]
    assert (check.batch.total_usd, check.batch.net_wei) == (Decimal(30), 30 * WEI_PER_USD)
    assert check.blockers == ["only the first payments that fit into 0.0151 ETH are converted; the rest waits its turn"]
    again = check_threshold(actor=ACTOR)
    assert again.batch is not None
    assert list(again.batch.members.all()) == [third]


def test_f25_what_fits_is_converted_even_if_it_is_below_the_threshold(exchange_range: ExchangeRange) -> None:
    factories.policy(100)
    factories.accumulations(40, 40, 40)
    exchange_range.maximum = "0.025"  # 50 USD

    check = check_threshold(actor=ACTOR)

    assert check.batch is not None
    assert (check.batch.total_usd, check.batch.threshold_usd) == (Decimal(40), Decimal(100))
    assert check.batch.status_changes.earliest("pk").data["eligible_usd"] == "120.00000000"
    assert statuses() == {AccumulationStatus.SWAPPING: 1, AccumulationStatus.PENDING: 2}


def test_f24_a_payment_too_large_for_the_provider_does_not_hold_up_the_others(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    too_large, *_others = factories.accumulations(1000, 15, 10)
    exchange_range.maximum = "0.1"  # 200 USD

    check = check_threshold(actor=ACTOR)

    assert (check.decision, check.total_usd, check.member_count) == (Decision.CREATED, Decimal(25), 2)
    assert check.blockers == [
        "1 payments worth $1,000.00 are each too large for one conversion of at most 0.1 ETH: they stay pending until a"
        " person holds them or the limit is raised"
    ]
    too_large.refresh_from_db()
    assert too_large.status == AccumulationStatus.PENDING


def test_a_payment_too_large_for_any_batch_does_not_stand_in_for_the_threshold(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    factories.accumulations(1000, 5)
    exchange_range.maximum = "0.1"  # 200 USD

    below = check_threshold(actor=ACTOR)
    factories.accumulation(15)
    check = check_threshold(actor=ACTOR)

    assert (below.decision, below.total_usd, below.member_count) == (Decision.BELOW, Decimal(5), 1)
    assert below.blockers[0] == "$5.00 are $15.00 below the threshold of $20.00"
    assert "1 payments worth $1,000.00 are each too large" in below.blockers[1]
    assert (check.decision, check.total_usd, check.member_count) == (Decision.CREATED, Decimal(20), 2)


@pytest.mark.parametrize("maximum", [None, "0.1"])
@pytest.mark.parametrize("is_down", [False, True])
def test_a_batch_is_never_larger_than_one_payment_may_be(
    exchange_range: ExchangeRange, settings: Settings, maximum: str | None, *, is_down: bool
) -> None:
    settings.MAX_SEND_ETH = Decimal("0.0151")  # 30.2 USD
    factories.policy(20)
    first, second, third = factories.accumulations(10, 20, 30)
    exchange_range.maximum, exchange_range.is_down = maximum, is_down

    check = check_threshold(actor=ACTOR)

    assert check.batch is not None
    assert list(check.batch.members.order_by("pk")) == [first, second]
    assert HostPayment.objects.get().amount_units == 30 * WEI_PER_USD
    third.refresh_from_db()
    assert third.status == AccumulationStatus.PENDING


def test_payments_without_a_receipt_take_their_room_of_the_maximum(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    first, second = factories.accumulations(10, 12, net_wei=None)
    third, fourth = factories.accumulations(10, 10)
    exchange_range.maximum = "0.0166"  # 33.2 USD; with the room for the price, the first three take 33.1

    check = check_threshold(actor=ACTOR)

    assert check.batch is not None
    assert list(check.batch.members.order_by("pk")) == [first, second, third]
    assert (check.batch.net_wei, check.batch.unreceipted_usd) == (10 * WEI_PER_USD, Decimal(22))
    assert check.blockers == ["only the first payments that fit into 0.0166 ETH are converted; the rest waits its turn"]
    assert (exchange_range.asked, exchange_range.priced) == (1, 1)
    fourth.refresh_from_db()
    assert fourth.status == AccumulationStatus.PENDING


def test_a_payment_without_a_receipt_can_be_too_large_by_its_price(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    too_large = factories.accumulation(199, net_wei=None)  # 208.95 with the room for the price
    factories.accumulations(25)
    exchange_range.maximum = "0.1"  # 200 USD

    check = check_threshold(actor=ACTOR)

    assert (check.decision, check.total_usd, check.member_count) == (Decision.CREATED, Decimal(25), 1)
    assert "1 payments worth $199.00 are each too large" in check.blockers[0]
    too_large.refresh_from_db()
    assert too_large.status == AccumulationStatus.PENDING


def test_without_a_price_only_payments_with_a_receipt_are_claimed(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    unreceipted = factories.accumulation(15, net_wei=None)
    factories.accumulation(10)
    exchange_range.has_no_price = True

    blocked = check_threshold(actor=ACTOR)
    assert set(statuses()) == {AccumulationStatus.PENDING}
    factories.accumulation(10)
    check = check_threshold(actor=ACTOR)

    sentence = (
        "1 payments worth $15.00 have no recorded ETH receipt, and the provider's price could not be read;"
        " the next check reads it"
    )
    assert (blocked.decision, blocked.total_usd) == (Decision.BLOCKED, Decimal(10))
    assert blocked.blockers == ["$10.00 are $10.00 below the threshold of $20.00", sentence]
    assert (check.decision, check.total_usd, check.blockers) == (Decision.CREATED, Decimal(20), [sentence])
    unreceipted.refresh_from_db()
    assert unreceipted.status == AccumulationStatus.PENDING


def test_it_says_so_when_no_payment_fits_the_provider(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    factories.accumulation(1000)
    exchange_range.maximum = "0.1"

    check = check_threshold(actor=ACTOR)

    assert check.decision == Decision.BLOCKED
    assert check.blockers[0] == "none of the pending payments fits into one conversion of at most 0.1 ETH"
    assert_nothing_happened()


def test_a_provider_that_does_not_answer_does_not_stop_it(
    exchange_range: ExchangeRange, caplog: pytest.LogCaptureFixture
) -> None:
    factories.policy(20)
    factories.accumulation(25)
    exchange_range.is_down = True

    check = check_threshold(actor=ACTOR)

    assert check.decision == Decision.CREATED
    assert exchange_range.asked == 1
    assert "provider range not read" in caplog.text


def test_f27_what_a_crash_after_the_claim_leaves_is_found_by_the_sweep() -> None:
    factories.policy(20)
    factories.accumulation(25)

    check_threshold(actor=ACTOR)  # and nobody sends a message

    payment = HostPayment.objects.get()
    assert due_payments(now=timezone.now(), limit=10) == [(payment.pk, PaymentStatus.REQUESTED)]


def test_it_explains_every_rule_with_its_figures() -> None:
    factories.policy(20)
    factories.accumulations(5, 7)

    rules = {rule.name: rule for rule in explain_threshold()}

    assert rules["new batches are not paused"].ok
    assert rules["the threshold is reached"].ok is False
    assert rules["the threshold is reached"].detail == "$12.00 are $8.00 below the threshold of $20.00"
    assert rules["payments are pending"].detail == "2 payments are pending"
    assert rules["payments are pending"].since == Accumulation.objects.earliest("pk").created_at
    assert rules["the provider's minimum is reached"].detail == (
        "0.006 ETH reach the provider's minimum of 0.000001 ETH"
    )
    assert rules["checks are running"].detail == "no check has run yet; one is due every 900 s"
    assert not ThresholdCheck.objects.exists()


def test_it_does_not_ask_the_provider_to_explain_if_told_not_to(exchange_range: ExchangeRange) -> None:
    factories.accumulation(5)

    rules = {rule.name: rule for rule in explain_threshold(asks_provider=False)}

    assert exchange_range.asked == 0
    assert (
        rules["the provider's minimum is reached"].detail
        == "the provider's limits could not be read; its order will say"
    )
