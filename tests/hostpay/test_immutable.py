"""F63: what was signed, received, decided or told is refused a change by the database itself, whoever asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from config.lib import clock
from config.lib.audit import admin
from hostpay import services
from hostpay.models import (
    Approval,
    Breaker,
    BreakerCause,
    ExchangeOrder,
    HostPayment,
    LateReturn,
    NonceSlot,
    Pause,
    Receipt,
    Refund,
    Switch,
    Transaction,
    Wallet,
)
from tests.hostpay import rows

pytestmark = pytest.mark.django_db

ALICE, BOB = admin("alice"), admin("bob")
OTHER = "0x" + "ee" * 20
LATER = "now() + interval '1 day'"

# Table and column, and another value for it.
CHANGES = (
    ("hostpayment", "context", "'instant'"),
    ("hostpayment", "reference", "'another'"),
    ("hostpayment", "amount_units", "amount_units + 1"),
    ("hostpayment", "expected_usd", "NULL"),
    ("hostpayment", "tolerance_bps", "10000"),
    ("hostpayment", "payout_address", f"'{OTHER}'"),
    ("hostpayment", "received_units", "received_units + 1"),
    ("hostpayment", "delivered_at", LATER),
    ("exchangeorder", "send_units", "send_units + 1"),
    ("exchangeorder", "payin_address", f"'{OTHER}'"),
    ("exchangeorder", "payout_address", f"'{OTHER}'"),
    ("exchangeorder", "refund_address", f"'{OTHER}'"),
    ("exchangeorder", "provider_order_id", "'another'"),
    ("exchangeorder", "expected_units", "1"),
    ("exchangeorder", "valid_until", LATER),
    ("exchangeorder", "placed_answer", "'{}'"),
    ("transaction", "raw", "'\\x02'"),
    ("transaction", "tx_hash", "'0x' || repeat('cd', 32)"),
    ("transaction", "to_address", f"'{OTHER}'"),
    ("transaction", "value_units", "value_units + 1"),
    ("transaction", "gas_limit", "gas_limit + 1"),
    ("transaction", "max_fee_per_gas_wei", "max_fee_per_gas_wei + 1"),
    ("transaction", "created_at", LATER),
    ("nonceslot", "nonce", "nonce + 1"),
    ("receipt", "units", "units + 1"),
    ("receipt", "log_index", "log_index + 1"),
    ("refund", "units", "units + 1"),
    ("refund", "lost_units", "lost_units + 1"),
    ("refund", "brought_units", "brought_units + 1"),
    ("latereturn", "units", "units - 1"),
    ("wallet", "address", f"'{OTHER}'"),
    ("wallet", "next_nonce", "next_nonce - 1"),
    ("wallet", "next_nonce", "NULL"),
    ("approval", "payload", "'{}'"),
    ("approval", "payload_sha256", "repeat('0', 64)"),
    ("approval", "proposed_by", "'admin:mallory'"),
    ("approval", "expires_at", LATER),
    ("approval", "decision", "'rejected'"),
    ("approval", "decided_by", "'admin:mallory'"),
    ("breaker", "detail", "'nothing happened'"),
    ("breaker", "closed_by", "'admin:mallory'"),
    ("pause", "expires_at", LATER),
    ("pause", "resumed_by", "'admin:mallory'"),
    ("hostpaymentstatuschange", "reason", "'another'"),
    ("exchangeorderstatuschange", "reason", "'another'"),
    ("transactionstatuschange", "actor", "'admin:mallory'"),
)


@pytest.fixture(autouse=True)
def books() -> HostPayment:
    """A payment with everything that can hang on one, told and settled."""
    rows.wallet(next_nonce=8)
    payment = rows.payment(status="settled", received_units=5, delivered_at=clock.now(), next_action_at=None)
    order = rows.order(payment, expected_units=5, valid_until=clock.now() + timedelta(hours=1), placed_answer={"id": 1})
    variant = rows.transaction(payment, nonce=7, status="broadcast")
    for subject in (payment, order, variant):
        subject.record_birth(actor=ALICE, reason="made by a test")
    facts: dict[str, Any] = {
        "order": order,
        "chain_id": 31337,
        "tx_hash": "0x" + "ab" * 32,
        "block_number": 1,
        "block_hash": "0x" + "bb" * 32,
        "from_address": OTHER,
        "units": 5,
    }
    Receipt.objects.create(**facts, log_index=0)
    Refund.objects.create(**facts, brought_units=10, lost_units=0)
    LateReturn.objects.create(**facts, brought_units=10)
    Approval.objects.create(
        action="cancel_payment",
        payment=payment,
        payload={"nonce": "7"},
        payload_sha256="f" * 64,
        reason="it is stuck",
        proposed_by=str(ALICE),
        expires_at=clock.now() + timedelta(hours=1),
        decision="approved",
        decided_by=str(BOB),
        decided_at=clock.now(),
    )
    opened = services.open_breaker(cause=BreakerCause.CHAIN, detail="a surprise", actor=ALICE)
    services.close_breaker(breaker=opened, actor=BOB, reason="looked at")
    services.pause(switch=Switch.BATCHES, actor=ALICE, reason="a drill")
    services.resume(switch=Switch.BATCHES, actor=BOB)
    return payment


def refused(statement: str) -> str:
    with (
        pytest.raises(IntegrityError, match="is refused") as error,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    return str(error.value)


def every_row(table: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM hostpay_{table} ORDER BY id")  # noqa: S608 (a name of the test's)
        return list(cursor.fetchall())


@pytest.mark.parametrize(("table", "column", "value"), CHANGES, ids=lambda part: part[:24])
def test_f63_no_statement_rewrites_it(table: str, column: str, value: str) -> None:
    before = every_row(table)
    assert before

    error = refused(f"UPDATE hostpay_{table} SET {column} = {value}")  # noqa: S608 (names of the test's)

    assert f"UPDATE of hostpay_{table} is refused: what was recorded is never changed" in error
    assert every_row(table) == before


@pytest.mark.parametrize("table", sorted({table for table, _, _ in CHANGES}))
def test_f63_no_row_is_deleted(table: str) -> None:
    before = every_row(table)

    refused(f"DELETE FROM hostpay_{table}")  # noqa: S608 (a name of the test's)

    assert every_row(table) == before


def test_f63_an_order_that_was_given_up_is_never_the_one_to_be_paid_again(books: HostPayment) -> None:
    order = books.orders.get()
    ExchangeOrder.objects.filter(pk=order.pk).update(is_current=False)

    refused("UPDATE hostpay_exchangeorder SET is_current = true")

    order.refresh_from_db()
    assert not order.is_current


@pytest.mark.parametrize(
    "model",
    [HostPayment, ExchangeOrder, Transaction, Wallet, Approval, Breaker, Pause],
    ids=lambda model: model.__name__,
)
def test_f63_a_row_may_be_saved_as_it_was_and_lives_on(model: Any) -> None:
    row = model.objects.get()

    row.save()

    if isinstance(row, Transaction):
        row.move("mined", actor=ALICE, reason="found", block_number=3, block_hash="0x" + "cc" * 32)
    if isinstance(row, Wallet):
        Wallet.objects.update(next_nonce=9, halted_reason="looked odd", halted_at=clock.now())
    assert NonceSlot.objects.get().nonce == 7


def test_f63_no_step_of_a_payment_pays_for_it() -> None:
    """The triggers are of recorded columns, none of which a lease, a poll or a move sets."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_trigger CROSS JOIN LATERAL unnest(tgattr::int2[]) AS watched(attnum)"
            " JOIN pg_attribute ON attrelid = tgrelid AND pg_attribute.attnum = watched.attnum"
            " WHERE tgrelid = 'hostpay_hostpayment'::regclass AND NOT tgisinternal"
        )
        watched = {name for (name,) in cursor.fetchall()}

    assert "amount_units" in watched
    assert not watched & {"status", "status_changed_at", "next_action_at", "attempts", "waiting_reason", "signer_task"}
