"""Threshold checks against each other and against everybody else, on connections of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from threading import Barrier, Event

import pytest
from django.db import OperationalError, connection, transaction

from batches.models import BatchConversion, Decision, ThresholdCheck
from batches.services import check_threshold, set_policy
from config.lib import locks
from config.lib.errors import RefusedError
from hostpay.models import HostPayment, Pause, Switch
from hostpay.services import pause
from payouts.models import Accumulation, AccumulationStatus
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew, wait_until_blocked
from tests.lib.exchange_range import ExchangeRange

pytestmark = pytest.mark.django_db(transaction=True)


def check() -> ThresholdCheck:
    return check_threshold(actor=ACTOR)


def holding(row: Accumulation, locked: Event, go_on: Event, then: Callable[[Accumulation], None]) -> Callable[[], None]:
    """Work that locks one accumulation, waits for a word, does something to it, and commits."""

    def work() -> None:
        with transaction.atomic():
            mine = Accumulation.objects.select_for_update().get(pk=row.pk)
            locked.set()
            assert go_on.wait(PATIENCE_S)
            then(mine)

    return work


def leave_alone(_row: Accumulation) -> None:
    """The lock was all."""


def void(row: Accumulation) -> None:
    row.move(AccumulationStatus.VOIDED, actor=ACTOR, reason="refunded")


def test_f18_eight_checks_at_one_instant_make_one_batch() -> None:
    factories.policy(20)
    factories.accumulations(*[5] * 10)
    barrier = Barrier(8)

    def at_the_barrier() -> ThresholdCheck:
        barrier.wait(PATIENCE_S)
        return check()

    with crew(8) as workers:
        checks = [one.result() for one in [workers.start(at_the_barrier) for _ in range(8)]]

    assert sorted(one.decision for one in checks) == [Decision.BELOW] * 7 + [Decision.CREATED]
    batch = BatchConversion.objects.get()
    assert (batch.total_usd, batch.member_count) == (Decimal(50), 10)
    assert set(Accumulation.objects.values_list("batch_conversion", flat=True)) == {batch.pk}
    assert HostPayment.objects.count() == 1
    assert ThresholdCheck.objects.count() == 8


def test_f19_a_payment_that_commits_while_the_claim_runs_is_in_neither_batch_nor_total() -> None:
    factories.policy(20)
    held, *_others = factories.accumulations(10, 15)
    locked, go_on = Event(), Event()

    with crew() as workers:
        holder = workers.start(holding(held, locked, go_on, leave_alone))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        late = factories.accumulation(7)
        go_on.set()
        holder.result()
        found = checking.result()

    assert found.batch is not None
    assert (found.batch.total_usd, found.batch.member_count) == (Decimal(25), 2)
    late.refresh_from_db()
    assert (late.status, late.batch_conversion) == (AccumulationStatus.PENDING, None)


def test_f19_a_payment_that_commits_between_sum_and_claim_is_in_batch_and_total() -> None:
    factories.policy(20)
    factories.accumulations(10, 15)
    locked, go_on = Event(), Event()

    def insert_under_a_table_lock() -> None:
        """Sums pass the lock, the claim's UPDATE does not, so the commit lies between the two."""
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE payouts_accumulation IN SHARE MODE")
            factories.accumulation(7)
            locked.set()
            assert go_on.wait(PATIENCE_S)

    with crew() as workers:
        holder = workers.start(insert_under_a_table_lock)
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        go_on.set()
        holder.result()
        found = checking.result()

    assert found.batch is not None
    assert (found.batch.total_usd, found.batch.member_count) == (Decimal(32), 3)
    assert found.total_usd == Decimal(32)
    assert set(Accumulation.objects.values_list("batch_conversion", flat=True)) == {found.batch.pk}


def holding_the_checks_lock(locked: Event, go_on: Event) -> Callable[[], None]:
    def work() -> None:
        with transaction.atomic():
            locks.hold(locks.Lock.THRESHOLD_CHECK)
            locked.set()
            assert go_on.wait(PATIENCE_S)

    return work


def test_payments_that_commit_before_the_lock_make_no_batch_without_limits(exchange_range: ExchangeRange) -> None:
    factories.policy(20)
    first, second = factories.accumulations(10, 5)
    exchange_range.maximum = "0.0101"  # 20.2 USD
    locked, go_on = Event(), Event()

    with crew() as workers:
        holder = workers.start(holding_the_checks_lock(locked, go_on))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        asked_before_the_lock = exchange_range.asked
        factories.accumulation(10)
        go_on.set()
        holder.result()
        found = checking.result()

    assert (asked_before_the_lock, exchange_range.asked) == (0, 1)
    assert found.batch is not None
    assert list(found.batch.members.order_by("pk")) == [first, second]
    assert ThresholdCheck.objects.count() == 1
    assert BatchConversion.objects.count() == 1


def test_a_check_and_a_pause_wait_longer_for_their_lock_than_others() -> None:
    factories.policy(20)
    factories.accumulation(25)
    locked, go_on = Event(), Event()

    def in_a_hurry(work: Callable[[], object]) -> Callable[[], object]:
        def hurried() -> object:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '50ms'")
            return work()

        return hurried

    def pause_batches() -> object:
        return pause(switch=Switch.BATCHES, actor=ACTOR, reason="look into it")

    with crew() as workers:
        holder = workers.start(holding_the_checks_lock(locked, go_on))
        assert locked.wait(PATIENCE_S)
        patient = [workers.start(in_a_hurry(work)) for work in (check, pause_batches)]
        wait_until_blocked(2)
        time.sleep(0.3)
        assert not any(one.done() for one in patient)
        go_on.set()
        holder.result()
        for one in patient:
            one.result()

    assert ThresholdCheck.objects.count() == 1
    assert Pause.objects.count() == 1


def test_a_payment_voided_while_the_claim_waits_for_it_is_not_claimed() -> None:
    factories.policy(20)
    voided, *_others = factories.accumulations(10, 15, 12)
    locked, go_on = Event(), Event()

    with crew() as workers:
        holder = workers.start(holding(voided, locked, go_on, void))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        go_on.set()
        holder.result()
        found = checking.result()

    assert found.batch is not None
    assert (found.batch.total_usd, found.batch.member_count) == (Decimal(27), 2)
    voided.refresh_from_db()
    assert (voided.status, voided.batch_conversion) == (AccumulationStatus.VOIDED, None)


def test_a_claim_that_falls_below_the_threshold_by_a_void_is_undone() -> None:
    factories.policy(20)
    voided, other = factories.accumulations(10, 15)
    locked, go_on = Event(), Event()

    with crew() as workers:
        holder = workers.start(holding(voided, locked, go_on, void))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        go_on.set()
        holder.result()
        found = checking.result()

    assert (found.decision, found.total_usd, found.member_count) == (Decision.BELOW, Decimal(15), 1)
    assert found.blockers == ["$15.00 are $5.00 below the threshold of $20.00"]
    other.refresh_from_db()
    assert (other.status, other.batch_conversion) == (AccumulationStatus.PENDING, None)
    assert not BatchConversion.objects.exists()
    assert not HostPayment.objects.exists()


def test_f21_a_policy_changed_during_a_check_counts_from_the_next_one() -> None:
    before = factories.policy(20)
    held, *_others = factories.accumulations(10, 15)
    locked, go_on = Event(), Event()

    with crew() as workers:
        holder = workers.start(holding(held, locked, go_on, leave_alone))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        after = set_policy(
            threshold_usd=Decimal(1000), converts_unreceipted=True, tolerance_bps=1000, actor=ACTOR, reason="fewer"
        )
        go_on.set()
        holder.result()
        found = checking.result()
    factories.accumulations(25)
    following = check()

    assert found.batch is not None
    assert (found.decision, found.policy, found.threshold_usd) == (Decision.CREATED, before, Decimal(20))
    assert (found.batch.policy, found.batch.threshold_usd) == (before, Decimal(20))
    assert (following.decision, following.policy, following.threshold_usd) == (Decision.BELOW, after, Decimal(1000))


def test_f26_a_pause_returns_only_when_no_batch_is_under_way_and_none_follows() -> None:
    factories.policy(20)
    held, *_others = factories.accumulations(10, 15)
    locked, go_on = Event(), Event()

    def pause_batches() -> int:
        pause(switch=Switch.BATCHES, actor=ACTOR, reason="look into it")
        return BatchConversion.objects.count()

    with crew() as workers:
        holder = workers.start(holding(held, locked, go_on, leave_alone))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        pausing = workers.start(pause_batches)
        wait_until_blocked(2)
        assert not pausing.done()
        go_on.set()
        holder.result()
        found, batches_when_paused = checking.result(), pausing.result()
    factories.accumulations(25)

    assert found.decision == Decision.CREATED
    assert batches_when_paused == 1
    assert check().decision == Decision.BLOCKED
    assert BatchConversion.objects.count() == 1


def test_f27_a_check_that_dies_before_its_commit_leaves_nothing() -> None:
    factories.policy(20)
    held, *_others = factories.accumulations(10, 15)
    locked, go_on = Event(), Event()

    with crew() as workers:
        holder = workers.start(holding(held, locked, go_on, leave_alone))
        assert locked.wait(PATIENCE_S)
        checking = workers.start(check)
        wait_until_blocked()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
            )
        with pytest.raises(OperationalError):
            checking.result()
        go_on.set()
        holder.result()

    assert not ThresholdCheck.objects.exists()
    assert not BatchConversion.objects.exists()
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.PENDING}
    assert check().decision == Decision.CREATED


def test_two_changes_of_policy_at_once_make_two_versions() -> None:
    factories.policy(20)
    barrier = Barrier(2)

    def change(threshold_usd: int) -> int:
        barrier.wait(PATIENCE_S)
        made = set_policy(
            threshold_usd=Decimal(threshold_usd),
            converts_unreceipted=True,
            tolerance_bps=1000,
            actor=ACTOR,
            reason="both at once",
        )
        return made.version

    first_version = factories.policy(20).version
    with crew(2) as workers:
        futures = [workers.start(lambda: change(30)), workers.start(lambda: change(40))]
        versions = sorted(one.result() for one in futures)

    assert versions == [first_version + 1, first_version + 2]


def test_the_second_of_two_equal_changes_is_refused() -> None:
    factories.policy(20)

    def change() -> str:
        try:
            set_policy(
                threshold_usd=Decimal(30), converts_unreceipted=True, tolerance_bps=1000, actor=ACTOR, reason="up"
            )
        except RefusedError:
            return "refused"
        return "made"

    with crew(2) as workers:
        outcomes = sorted(one.result() for one in [workers.start(change), workers.start(change)])

    assert outcomes == ["made", "refused"]
