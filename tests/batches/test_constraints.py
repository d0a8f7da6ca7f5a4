"""What the database itself refuses of batches, policies and checks (F63)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from batches.models import BatchConversion, BatchStatusChange, ConversionPolicy, ThresholdCheck
from batches.services import check_threshold
from tests import factories
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def batch() -> BatchConversion:
    factories.policy(20)
    factories.accumulation(25)
    made = check_threshold(actor=ACTOR).batch
    assert made is not None
    return made


def refused(sql: str, *, why: str) -> None:
    with pytest.raises(IntegrityError, match=why), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("batches_batchstatuschange", "reason = 'another'"),
        ("batches_conversionpolicy", "threshold_usd = 1"),
        ("batches_thresholdcheck", "total_usd = 1"),
    ],
)
def test_f63_history_rules_and_checks_are_neither_changed_nor_deleted(
    batch: BatchConversion, table: str, column: str
) -> None:
    tables = (BatchStatusChange, ConversionPolicy, ThresholdCheck)
    before = [list(one.objects.values()) for one in tables]

    refused(f"UPDATE {table} SET {column}", why=f"UPDATE of {table} is refused")  # noqa: S608
    refused(f"DELETE FROM {table}", why=f"DELETE of {table} is refused")  # noqa: S608

    assert [list(one.objects.values()) for one in tables] == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("net_wei = 0", "batch_has_something_to_send"),
        ("unreceipted_usd = total_usd + 0.00000001", "batch_unreceipted_is_part_of_the_total"),
        ("status = 'failed'", "batch_says_why_exactly_when_it_failed"),
        ("status = 'cancelled'", "batch_says_why_exactly_when_it_failed"),
        ("failure_reason = 'none'", "batch_says_why_exactly_when_it_failed"),
    ],
)
def test_f63_a_batch_that_cannot_be_is_refused(batch: BatchConversion, change: str, why: str) -> None:
    refused(f"UPDATE batches_batchconversion SET {change}", why=why)  # noqa: S608

    batch.refresh_from_db()
    assert (batch.status, batch.failure_reason, batch.unreceipted_usd) == ("swapping", "", 0)
