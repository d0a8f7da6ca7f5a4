"""F63: what was recorded is refused a change by the database itself, whoever asks."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from payouts.models import Accumulation, AccumulationStatus, AccumulationStatusChange
from payouts.services import hold_accumulation
from tests import factories
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db

CHANGES = {
    "source": "'elsewhere'",
    "payment_id": "'another'",
    "client_id": "%s",
    "gross_usd": "gross_usd + 1, fee_usd = fee_usd + 1",
    "fee_usd": "fee_usd + 1, gross_usd = gross_usd + 1",
    "fee_percent": "5",
    "pending_usd_amount": "pending_usd_amount + 1, gross_usd = gross_usd + 1",
    "received_wei": "received_wei + 1, fee_wei = fee_wei + 1",
    "net_wei": "net_wei + 1, received_wei = received_wei + 1",
    "outcome_currency": "''",
    "outcome_amount": "'7'",
}


def refused(sql: str, *parameters: int) -> str:
    with (
        pytest.raises(IntegrityError, match="is refused") as error,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql, parameters or None)
    return str(error.value)


@pytest.mark.parametrize("column", CHANGES)
def test_f63_what_a_payment_was_recorded_as_never_changes(column: str) -> None:
    row = factories.accumulation(5)
    other = (factories.client().pk,) if "%s" in CHANGES[column] else ()
    before = Accumulation.objects.values().get(pk=row.pk)

    error = refused(f"UPDATE payouts_accumulation SET {column} = {CHANGES[column]}", *other)  # noqa: S608

    assert f"UPDATE of payouts_accumulation is refused: what was recorded is never changed (row {row.pk})" in error
    assert Accumulation.objects.values().get(pk=row.pk) == before


def test_f63_what_may_change_still_does_and_a_row_may_be_saved_as_it_was() -> None:
    row = factories.accumulation(5)

    row.save()
    hold_accumulation(accumulation=row, actor=ACTOR, reason="looks odd")

    row.refresh_from_db()
    assert row.status == AccumulationStatus.HELD


@pytest.mark.parametrize("change", ["UPDATE {} SET reason = 'another'", "DELETE FROM {}"])
def test_f63_the_history_is_neither_changed_nor_deleted(change: str) -> None:
    row = factories.accumulation(5)
    hold_accumulation(accumulation=row, actor=ACTOR, reason="looks odd")

    refused(change.format("payouts_accumulationstatuschange"))

    assert AccumulationStatusChange.objects.get().reason == "looks odd"


def test_f63_no_statement_that_moves_a_batch_pays_for_it() -> None:
    """The trigger is of the recorded columns, none of which claim, distribution or release set."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_trigger CROSS JOIN LATERAL unnest(tgattr::int2[]) AS watched(attnum)"
            " JOIN pg_attribute ON attrelid = tgrelid AND pg_attribute.attnum = watched.attnum"
            " WHERE tgrelid = 'payouts_accumulation'::regclass AND NOT tgisinternal"
        )
        watched = {name for (name,) in cursor.fetchall()}

    assert "pending_usd_amount" in watched
    assert not watched & {"status", "status_changed_at", "batch_conversion_id", "converted_usdt_amount", "hold_reason"}
