"""The review's testing checklist, one test a point."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.test import Client as HttpClient
from standardwebhooks import Webhook

from batches.models import BatchConversion, Decision, ThresholdCheck
from batches.services import check_threshold
from hostpay.models import Context, ExchangeOrder, HostPayment, Transaction
from hostpay.services import live_payment
from payouts.models import Accumulation
from tests import factories
from tests.factories import ACTOR
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def post_payment(http: HttpClient, **fields: str) -> Any:
    """One payment as a payment system sends it, signed."""
    body = json.dumps(
        {
            "payment_id": f"pay-{uuid.uuid4().hex}",
            "user_id": "user-1",
            "outcome_currency": "eth",
            **fields,
        }
    )
    delivery, now = f"msg_{uuid.uuid4().hex}", datetime.now(UTC)
    signature = Webhook(settings.INGEST_SIGNING_SECRETS[0]).sign(msg_id=delivery, timestamp=now, data=body)
    return http.post(
        "/api/v1/payments/",
        data=body,
        content_type="application/json",
        headers={
            "webhook-id": delivery,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature,
        },
    )


def pay_usd(http: HttpClient, client_id: str, amount_usd: str) -> Any:
    """A payment whose ETH is worth its dollars at the sandbox's price of $2000."""
    return post_payment(
        http, client_id=client_id, amount_usd=amount_usd, outcome_amount=f"{Decimal(amount_usd) / 2000:f}"
    )


def test_a_payment_accumulates_and_no_swap_is_made(client: HttpClient) -> None:
    factories.policy("20")
    whom = factories.client(external_id="shop", fee_percent=Decimal(3))

    answer = pay_usd(client, "shop", "2.50")

    assert answer.status_code == 201, answer.content
    assert answer.json() | {"id": 0, "payment_id": ""} == {
        "id": 0,
        "payment_id": "",
        "conversion_status": "pending",
        "gross_usd": "2.50000000",
        "fee_usd": "0.07500000",
        "pending_usd_amount": "2.42500000",
        "hold_reason": "",
    }
    row = Accumulation.objects.get()
    assert (row.client, row.received_wei, row.fee_wei, row.net_wei) == (
        whom,
        1_250_000_000_000_000,
        37_500_000_000_000,
        1_212_500_000_000_000,
    )
    assert row.converted_usdt_amount is None
    assert not BatchConversion.objects.exists()
    assert not HostPayment.objects.exists()
    assert not ExchangeOrder.objects.exists()


def test_below_the_threshold_nothing_happens() -> None:
    factories.policy("20")
    factories.accumulations("4.85", "14.55")

    check = check_threshold(actor=ACTOR)

    assert (check.decision, check.total_usd, check.member_count) == (Decision.BELOW, Decimal("19.40"), 2)
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert not Accumulation.objects.filter(batch_conversion__isnull=False).exists()
    assert not BatchConversion.objects.exists()
    assert not HostPayment.objects.exists()


def test_above_the_threshold_a_batch_is_made_its_rows_swap_and_one_exchange_is_paid(world: World) -> None:
    factories.policy("20")
    rows = factories.accumulations("19.40", "9.70", "29.10")
    sent_before = world.sent_transactions()

    check = check_threshold(actor=ACTOR)

    batch = BatchConversion.objects.get()
    assert check.decision == Decision.CREATED
    assert (batch.status, batch.total_usd, batch.member_count, batch.threshold_usd) == (
        "swapping",
        Decimal("58.20"),
        3,
        Decimal(20),
    )
    assert set(Accumulation.objects.values_list("status", "batch_conversion")) == {("swapping", batch.pk)}
    payment = live_payment(context=Context.BATCH, reference=str(batch.pk))
    assert payment is not None
    assert payment.send_units == sum(int(row.net_wei or 0) for row in rows)

    payment = world.drive_to(payment, "broadcast", "mined", "final")

    order = payment.orders.get()
    (exchange,) = [e for e in world.exchange.exchanges() if e["id"] == order.provider_order_id]
    assert exchange["payin_address"].lower() == str(order.payin_address).lower()
    sent = Transaction.objects.get()
    assert (sent.to_address, int(sent.value_units)) == (order.payin_address, payment.send_units)
    assert world.sent_transactions() == sent_before + 1


def test_an_executed_swap_is_distributed_and_the_shares_sum_to_what_was_received(world: World) -> None:
    factories.policy("20")
    factories.accumulations("19.40", "9.70", "29.10", "0.00000001")
    sent_before = world.sent_transactions()
    check_threshold(actor=ACTOR)
    payment = HostPayment.objects.get()

    world.drive(lambda: BatchConversion.objects.filter(status="completed").exists())

    batch = BatchConversion.objects.get()
    payment.refresh_from_db()
    assert batch.received_units == payment.received_units
    assert payment.delivered_at is not None
    shares = [row.converted_usdt_amount or Decimal(0) for row in Accumulation.objects.all()]
    assert sum(shares) * 10**6 == batch.received_units
    assert sum(int(receipt.units) for receipt in payment.orders.get().receipts.all()) == batch.received_units
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"completed"}
    assert set(Accumulation.objects.values_list("pending_usd_amount", flat=True)) == {
        Decimal("19.40"),
        Decimal("9.70"),
        Decimal("29.10"),
        Decimal("0.00000001"),
    }
    assert world.sent_transactions() == sent_before + 1


def test_a_threshold_raised_from_20_to_100_rules_at_the_next_check() -> None:
    factories.policy("20")
    factories.accumulations("57")
    factories.policy("100")

    below = check_threshold(actor=ACTOR)
    factories.accumulations("43")
    created = check_threshold(actor=ACTOR)

    assert (below.decision, below.threshold_usd) == (Decision.BELOW, Decimal(100))
    assert (created.decision, created.threshold_usd, created.total_usd) == (
        Decision.CREATED,
        Decimal(100),
        Decimal(100),
    )
    assert BatchConversion.objects.get().threshold_usd == Decimal(100)
    assert ThresholdCheck.objects.count() == 2


def test_the_members_are_frozen_from_the_claim_on(world: World) -> None:
    """What is paid in after the claim is in neither the batch nor its total."""
    factories.policy("20")
    first = factories.accumulations("30")
    check_threshold(actor=ACTOR)
    late = factories.accumulations("5")

    world.drive(lambda: BatchConversion.objects.filter(status="completed").exists())

    assert [row.status for row in Accumulation.objects.filter(pk__in=[r.pk for r in first])] == ["completed"]
    assert [row.status for row in Accumulation.objects.filter(pk__in=[r.pk for r in late])] == ["pending"]
    assert BatchConversion.objects.get().total_usd == Decimal(30)
