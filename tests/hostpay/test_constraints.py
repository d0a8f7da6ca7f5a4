"""What the database itself refuses, whoever asks."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, PaymentStatus, Receipt, Transaction
from tests.hostpay import rows

pytestmark = pytest.mark.django_db


def refused_by(constraint: str, **columns: Any) -> None:
    """Assert that a host payment with these columns is refused, and by which constraint."""
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        rows.payment(**columns)


def test_it_refuses_a_second_live_payment_of_the_same_purpose() -> None:
    rows.payment(reference="batch-7")

    refused_by("host_payment_is_live_once_per_purpose", reference="batch-7")

    assert HostPayment.objects.count() == 1


@pytest.mark.parametrize("status", ["failed", "refunded", "cancelled"])
def test_it_takes_a_new_payment_once_the_end_of_the_unpaid_one_was_told(status: str) -> None:
    refunded = 1 if status == "refunded" else None
    rows.payment(reference="batch-7", status=status, refunded_units=refunded, delivered_at=timezone.now())

    rows.payment(reference="batch-7")

    assert HostPayment.objects.live().count() == 1


@pytest.mark.parametrize("status", ["failed", "refunded", "cancelled"])
def test_it_refuses_a_second_payment_while_the_end_of_the_unpaid_one_is_untold(status: str) -> None:
    rows.payment(reference="batch-7", status=status, refunded_units=1 if status == "refunded" else None)

    refused_by("host_payment_is_live_once_per_purpose", reference="batch-7")

    assert HostPayment.objects.live().get().status == status


def test_it_refuses_a_second_payment_of_a_purpose_that_is_settled() -> None:
    rows.payment(reference="batch-7", status="settled", received_units=1)

    refused_by("host_payment_is_live_once_per_purpose", reference="batch-7")


@pytest.mark.parametrize("first", ["signed", "broadcast", "mined"])
@pytest.mark.parametrize("second", ["signed", "broadcast", "mined"])
def test_it_refuses_two_payments_of_a_wallet_on_the_wire(first: str, second: str) -> None:
    rows.payment(reference="one", status=first)

    refused_by("wallet_has_one_payment_on_the_wire", reference="two", status=second)


def test_a_payment_that_waits_at_the_exchange_leaves_the_wallet_free() -> None:
    rows.payment(reference="one", status="final")

    rows.payment(reference="two", status="signed")

    assert HostPayment.objects.on_the_wire().get().reference == "two"


@pytest.mark.parametrize("status", [status for status in PaymentStatus.values if status != "settled"])
def test_it_refuses_received_units_before_the_settlement(status: str) -> None:
    refused_by("host_payment_received_only_when_settled", status=status, received_units=1)


def test_it_refuses_a_settlement_without_received_units() -> None:
    refused_by("host_payment_received_only_when_settled", status="settled")


def test_it_refuses_a_payment_that_waits_for_nobody() -> None:
    refused_by("host_payment_waits_for_somebody", next_action_at=None)


def test_it_takes_a_payment_that_waits_for_a_person() -> None:
    in_review = rows.payment(next_action_at=None, review_reason="why?", review_since=timezone.now())

    assert in_review.needs_review


def test_it_refuses_a_payment_of_nothing() -> None:
    refused_by("host_payment_sends_something", amount_units=0)


def test_it_refuses_a_delivery_before_the_end() -> None:
    refused_by("host_payment_is_delivered_after_its_end", status="final", delivered_at=timezone.now())


@pytest.mark.parametrize("column", ["amount_units", "unpriced_usd", "expected_usd", "priced_units", "received_units"])
def test_f7_raw_sql_cannot_store_nan(column: str) -> None:
    """NaN sorts above every number, so a plain `> 0` would let it in."""
    paid = rows.payment(unpriced_usd=Decimal(1), status="settled", received_units=1)

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE hostpay_hostpayment SET {column} = 'NaN' WHERE id = %s", [paid.pk])  # noqa: S608


def test_it_refuses_two_current_orders_of_a_payment() -> None:
    paid = rows.payment()
    rows.order(paid)

    with pytest.raises(IntegrityError, match="payment_has_one_current_order"), transaction.atomic():
        rows.order(paid, provider_order_id="another", payin_address="0x00000000000000000000000000000000000000C3")


def test_f31_it_refuses_a_pay_in_address_used_before() -> None:
    rows.order(rows.payment(reference="one"))

    with pytest.raises(IntegrityError, match="payin_address_is_new"), transaction.atomic():
        rows.order(rows.payment(reference="two"), provider_order_id="another")


def test_it_refuses_one_provider_order_for_two_of_ours() -> None:
    rows.order(rows.payment(reference="one"))

    with pytest.raises(IntegrityError, match="provider_order_belongs_to_one_order"), transaction.atomic():
        rows.order(rows.payment(reference="two"), payin_address="0x00000000000000000000000000000000000000C3")


def test_it_refuses_an_open_order_without_id_or_address() -> None:
    with pytest.raises(IntegrityError, match="placed_order_has_id_and_address"), transaction.atomic():
        rows.order(rows.payment(), provider_order_id=None)


def test_it_refuses_one_nonce_for_two_payments() -> None:
    rows.transaction(rows.payment(reference="one", status="final"), nonce=5)
    second = rows.payment(reference="two")

    with pytest.raises(IntegrityError, match="nonce_is_given_to_one_payment"), transaction.atomic():
        NonceSlot.objects.create(wallet=second.wallet, nonce=5, payment=second)


def test_it_refuses_two_nonces_for_one_payment() -> None:
    paid = rows.payment()
    rows.transaction(paid, nonce=5)

    with pytest.raises(IntegrityError), transaction.atomic():
        NonceSlot.objects.create(wallet=paid.wallet, nonce=6, payment=paid)


def test_it_refuses_two_mined_variants_of_a_nonce() -> None:
    paid = rows.payment()
    rows.transaction(paid, status="mined", block_number=1, block_hash="0x01")

    with pytest.raises(IntegrityError, match="nonce_slot_has_one_mined_transaction"), transaction.atomic():
        rows.transaction(paid, tx_hash="0xother", status="final", block_number=1, block_hash="0x01")

    assert Transaction.objects.count() == 1


def test_it_refuses_a_mined_transaction_without_its_block() -> None:
    with pytest.raises(IntegrityError, match="mined_transaction_names_its_block"), transaction.atomic():
        rows.transaction(rows.payment(), status="mined")


def test_it_credits_a_transfer_log_once() -> None:
    first = rows.order(rows.payment(reference="one"))
    second = rows.order(
        rows.payment(reference="two"),
        provider_order_id="another",
        payin_address="0x00000000000000000000000000000000000000C3",
    )
    log: dict[str, Any] = {
        "chain_id": 1,
        "tx_hash": "0xaa",
        "log_index": 3,
        "block_number": 9,
        "block_hash": "0x09",
        "from_address": rows.PAYIN,
        "units": 1,
    }
    Receipt.objects.create(order=first, **log)

    with pytest.raises(IntegrityError, match="transfer_log_is_credited_once"), transaction.atomic():
        Receipt.objects.create(order=second, **log)

    assert ExchangeOrder.objects.get(pk=second.pk).receipts.count() == 0


@pytest.mark.parametrize("status", ["requested", "ordered"])
def test_a_payment_under_review_is_not_due_before_it_is_signed(status: str) -> None:
    rows.payment(status=status, review_reason="worth?", review_since=timezone.now(), next_action_at=timezone.now())

    assert not HostPayment.objects.due(timezone.now()).exists()
