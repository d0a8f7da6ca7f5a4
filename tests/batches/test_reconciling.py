"""Each batch against its members, its host payment and what was received."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from batches.models import BatchConversion
from batches.services import check_threshold, distribute, reconcile_batches, release_batch
from config.lib.differences import Line, open_lines
from hostpay.models import HostPayment
from tests import factories
from tests.batches.test_operating import ROAD
from tests.factories import ACTOR
from tests.lib.settled import Settled, settled_batch

pytestmark = pytest.mark.django_db(transaction=True)


def make_batch() -> BatchConversion:
    factories.policy(20)
    factories.accumulations(10, 15)
    made = check_threshold(actor=ACTOR).batch
    assert made is not None
    return made


def by_row(lines: list[Line]) -> dict[str, Line]:
    return {line.row.partition(" of batch")[0]: line for line in lines}


def write(statement: str, *values: Any) -> None:
    """What nothing of ours does: a superuser's slip."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement, values)
        cursor.execute("SET session_replication_role = DEFAULT")


def test_a_settled_batch_agrees_and_shows_both_sides() -> None:
    settled: Settled = settled_batch()

    lines = reconcile_batches(batch=settled.batch)

    assert open_lines(lines) == []
    rows = by_row(lines)
    assert rows["members"].ours == rows["members"].theirs
    assert rows["members"].ours.startswith("3 with 58.2 USD")
    assert rows["shares"].theirs == rows["proceeds"].theirs == "57.900001 USDT"


def test_every_batch_is_compared_and_told_as_a_number_where_all_agree() -> None:
    settled_batch()
    make_batch()

    (line,) = reconcile_batches()

    assert (line.ours, line.theirs, line.verdict) == ("2", "2 agree with their members and payments", "agrees")


def test_a_share_too_many_is_told_with_both_sums() -> None:
    settled = settled_batch()
    write("UPDATE payouts_accumulation SET converted_usdt_amount = converted_usdt_amount + 0.000001 WHERE fee_usd >= 0")

    (line,) = open_lines(reconcile_batches(batch=settled.batch))

    assert (line.row, line.ours, line.theirs) == (
        f"shares of batch {settled.batch.pk}",
        "57.900001 USDT",
        "57.900004 USDT",
    )
    assert "check_invariants" in line.next_step


def test_a_member_that_left_is_told_with_both_totals() -> None:
    batch = make_batch()
    write("UPDATE payouts_accumulation SET batch_conversion_id = NULL, status = 'pending' WHERE gross_usd < 12")

    (line,) = open_lines(reconcile_batches())

    assert line.row == f"members of batch {batch.pk}"
    assert (line.ours.split(" with")[0], line.theirs.split(" with")[0]) == ("2", "1")


def test_what_was_shared_must_be_what_the_payment_received() -> None:
    settled = settled_batch()
    write("UPDATE hostpay_hostpayment SET received_units = received_units + 1")

    (line,) = open_lines(reconcile_batches(batch=settled.batch))

    assert (line.ours, line.theirs) == ("57.900001 USDT", "57.900002 USDT")


def test_a_batch_under_way_agrees_and_one_in_review_says_who_must_act() -> None:
    batch = make_batch()
    assert open_lines(reconcile_batches()) == []

    HostPayment.objects.update(review_reason="less arrived than expected", review_since=timezone.now())

    (line,) = open_lines(reconcile_batches())
    assert "requested: less arrived than expected" in line.theirs
    assert f"manage.py explain {batch.pk}" in line.next_step


def test_a_swapping_batch_without_a_live_payment_is_an_alarm() -> None:
    batch = make_batch()
    write("DELETE FROM hostpay_hostpayment")

    (line,) = open_lines(reconcile_batches())

    assert (line.row, line.theirs, line.verdict) == (f"payment of batch {batch.pk}", "none was requested", "alarm")


def test_a_settled_payment_that_nobody_delivered_is_told_after_a_while() -> None:
    batch = make_batch()
    payment = HostPayment.objects.get()
    for status in ROAD:
        payment.move(status, actor=ACTOR, reason="for a test")
    payment.move("settled", actor=ACTOR, reason="for a test", received_units=24_000_000)
    assert open_lines(reconcile_batches()) == []

    HostPayment.objects.update(status_changed_at=timezone.now() - timedelta(hours=1))

    (line,) = open_lines(reconcile_batches())
    assert "are beat and the worker running?" in line.next_step
    distribute(batch_id=batch.pk, received_units=24_000_000, actor=ACTOR)
    HostPayment.objects.update(delivered_at=timezone.now(), next_action_at=None)
    assert open_lines(reconcile_batches()) == []


def test_a_batch_whose_members_were_given_back_must_have_sent_nothing() -> None:
    batch = make_batch()
    release_batch(batch=batch, actor=ACTOR, reason="not now")
    assert open_lines(reconcile_batches(batch=batch)) == []

    write("UPDATE hostpay_hostpayment SET status = 'final', delivered_at = NULL, next_action_at = now()")

    (line,) = open_lines(reconcile_batches(batch=batch))
    assert (line.ours, line.verdict) == ("cancelled", "alarm")
    assert "is final" in line.theirs
    assert "Pause signing" in line.next_step


def test_the_next_stall_is_another_difference_than_the_one_that_was_signed_off() -> None:
    make_batch()
    keys = set()
    for hours in (3, 2):
        HostPayment.objects.update(next_action_at=timezone.now() - timedelta(hours=hours))
        (line,) = open_lines(reconcile_batches())
        keys.add(line.key)

    assert len(keys) == 2
