"""A system in the middle of its work: at least one row of everything that the admin shows."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from batches.models import BatchConversion, BatchStatus, Decision, ThresholdCheck
from config.lib.audit import admin
from config.lib.differences import Line
from config.lib.differences import Verdict as Compared
from config.lib.money import USDT, to_units
from hostpay import services as hostpay
from hostpay.models import (
    Approval,
    Breaker,
    Context,
    ExchangeOrder,
    Heartbeat,
    HostPayment,
    LateReturn,
    Pause,
    PaymentStatus,
    Receipt,
    Refund,
    Scope,
    ServiceHealth,
    Switch,
    Transaction,
    UsedToken,
    WriteOff,
)
from hostpay.services.reconciling import record_run, sign_off
from hostpay.services.reconciling.runs import Balances
from payouts import services as payouts
from payouts.models import (
    Accumulation,
    InboundEvent,
    NowPayment,
    Outcome,
    RequestKey,
    Verdict,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from payouts.services import webhooks
from payouts.services.members import claim_pending, credit_shares
from tests.factories import ACTOR, accumulations, policy
from tests.hostpay import rows


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The rows that tests name."""

    done: BatchConversion
    waiting: BatchConversion
    stuck: HostPayment
    pending: list[Accumulation]
    held: Accumulation
    pause: Pause
    endpoint: WebhookEndpoint
    given_up: WebhookDelivery


def batch_of(*net_usd: str) -> tuple[BatchConversion, HostPayment]:
    """A batch of these claims, its host payment just requested."""
    rules = policy(100)
    accumulations(*net_usd)
    with transaction.atomic():
        batch_id = uuid.uuid4()
        totals = claim_pending(batch_id=batch_id, converts_unreceipted=True, max_wei=None)
        batch = BatchConversion.objects.create(
            id=batch_id,
            policy=rules,
            threshold_usd=rules.threshold_usd,
            total_usd=totals.total_usd,
            member_count=totals.member_count,
            net_wei=totals.net_wei,
            unreceipted_usd=totals.unreceipted_usd,
            created_by=str(ACTOR),
        )
        batch.record_birth(actor=ACTOR, reason="claimed")
        payment = hostpay.request_payment(
            context=Context.BATCH,
            reference=str(batch.pk),
            amount_units=totals.net_wei,
            expected_usd=totals.total_usd,
            actor=ACTOR,
        )
        batch.move(BatchStatus.SWAPPING, actor=ACTOR, reason="payment requested")
        ThresholdCheck.objects.create(
            policy=rules,
            threshold_usd=rules.threshold_usd,
            total_usd=totals.total_usd,
            member_count=totals.member_count,
            decision=Decision.CREATED,
            batch=batch,
            actor=str(ACTOR),
        )
    return batch, payment


def send(payment: HostPayment, *, nonce: int) -> tuple[ExchangeOrder, Transaction]:
    """Take a payment to `final`, with its order and its transaction."""
    order = rows.order(
        payment,
        provider_order_id=f"order-{nonce}",
        payin_address=f"0x{nonce:040x}",
        expected_units=150_000_000,
        latest_answer={"status": "exchanging"},
    )
    payment.move(PaymentStatus.ORDERED, actor=ACTOR, reason="ordered")
    sent = rows.transaction(payment, nonce=nonce)
    payment.move(PaymentStatus.SIGNED, actor=ACTOR, reason="signed")
    facts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("broadcast", {"broadcast_at": timezone.now(), "broadcasts": 1}),
        ("mined", {"block_number": 7, "block_hash": "0xb", "gas_used": 21_000, "effective_gas_price_wei": 10**9}),
        ("final", {}),
    )
    for status, columns in facts:
        sent.move(status, actor=ACTOR, reason=status, **columns)
        payment.move(status, actor=ACTOR, reason=status)
    return order, sent


def receive(order: ExchangeOrder, units: int, *, log_index: int = 0) -> Receipt:
    """One finalised transfer to us."""
    return Receipt.objects.create(
        order=order,
        chain_id=31337,
        tx_hash=f"0x{order.provider_order_id}",
        log_index=log_index,
        block_number=9,
        block_hash="0xc",
        from_address=rows.PAYIN,
        units=units,
    )


def play() -> Scene:
    """Everything at once."""
    endpoint, _ = webhooks.create_endpoint(
        name="shop", url="http://127.0.0.1:9/hooks?key=abc", events=["payment.batched", "payment.held"], actor=ACTOR
    )
    done, paid = batch_of("100.10", "50.05", "12.345678")
    order, _ = send(paid, nonce=1)
    received = to_units(Decimal("159.123457"), USDT)
    receive(order, received)
    order.move("finished", actor=ACTOR, reason="received")
    paid.move(
        PaymentStatus.SETTLED,
        actor=ACTOR,
        reason="received",
        received_units=received,
        delivered_at=timezone.now(),
        next_action_at=None,
    )
    credit_shares(batch_id=done.pk, received_units=received)
    done.move(BatchStatus.COMPLETED, actor=ACTOR, reason="shared", received_units=received)

    _, stuck = batch_of("140", "20")
    order, _ = send(stuck, nonce=2)
    receive(order, 92_411_482)
    HostPayment.objects.filter(pk=stuck.pk).update(
        review_reason="less arrived than the policy allows", review_since=timezone.now()
    )
    stuck.refresh_from_db()

    waiting, _ = batch_of("120", "30", "7")
    returned = rows.payment(reference="instant-1", context=Context.INSTANT)
    came_back = rows.order(returned, provider_order_id="order-9", payin_address=f"0x{9:040x}")
    Refund.objects.create(
        order=came_back,
        chain_id=31337,
        tx_hash="0xrefund",
        block_number=3,
        block_hash="0xd",
        from_address=rows.PAYIN,
        units=10**15,
        brought_units=10**15,
        lost_units=10**12,
    )
    LateReturn.objects.create(
        order=came_back,
        chain_id=31337,
        tx_hash="0xlate",
        block_number=4,
        block_hash="0xe",
        from_address=rows.PAYIN,
        units=10**12,
        brought_units=10**12,
    )
    came_back.move("refunded", actor=ACTOR, reason="sent back")
    pending = accumulations("10.50", "5", "3.25", "1")
    held = payouts.hold_accumulation(accumulation=pending.pop(), actor=ACTOR, reason="paid twice?")
    _others(returned, pending[0])
    given_up = _tell(endpoint)
    return Scene(
        done=done,
        waiting=waiting,
        stuck=stuck,
        pending=pending,
        held=held,
        pause=hostpay.pause(switch=Switch.SIGNING, actor=ACTOR, reason="keystore rotation"),
        endpoint=endpoint,
        given_up=given_up,
    )


def _tell(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Some events taken, one given up, the next one failing; and an endpoint that is gone."""
    now = timezone.now()
    events = list(endpoint.deliveries.order_by("pk"))
    for position, event in enumerate(events[:6]):
        taken = position != 4
        WebhookAttempt.objects.create(
            endpoint=endpoint,
            delivery=event,
            ended_at=now,
            duration_ms=40 + position,
            status_code=200 if taken else 422,
            error="" if taken else "HTTP 422",
            response_body='{"ok": true}' if taken else '{"error": "<b>unknown field</b>"}',
        )
        column = "delivered_at" if taken else "given_up_at"
        WebhookDelivery.objects.filter(pk=event.pk).update(attempts=1, **{column: now})
    WebhookAttempt.objects.create(endpoint=endpoint, delivery=events[6])
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        failures=3, failing_since=now - timedelta(hours=1), last_error="HTTP 503", last_success_at=now
    )
    gone, _ = webhooks.create_endpoint(
        name="old shop", url="http://127.0.0.1:9/old", events=["payment.voided"], actor=ACTOR
    )
    webhooks.disable_endpoint(endpoint=gone, actor=ACTOR, reason="The shop has moved.")
    return WebhookDelivery.objects.get(pk=events[4].pk)


def _others(payment: HostPayment, accumulation: Accumulation) -> None:
    now = timezone.now()
    for outcome in (Outcome.RECORDED, Outcome.FAILED):
        InboundEvent.objects.create(
            source="tests",
            event_id=f"msg-{outcome}",
            body=b'{"amount_usd": "1.10"}',
            verdict=Verdict.VALID,
            outcome=outcome,
            error="the database went away" if outcome == Outcome.FAILED else "",
            accumulation=accumulation if outcome == Outcome.RECORDED else None,
        )
    wrong = InboundEvent.objects.create(
        source="api",
        event_id="msg-refused",
        body=b'{"payment_id": "never", "amount_usd": 1e1}',
        verdict=Verdict.VALID,
        outcome=Outcome.REFUSED,
        error="amount_usd: must be a plain decimal number",
    )
    payouts.acknowledge_event(event_id=wrong.pk, actor=ACTOR, reason="a test of theirs")
    told = InboundEvent.objects.create(
        source="nowpayments", event_id="5524759814", body=b"{}", verdict=Verdict.VALID, outcome=Outcome.NOTED
    )
    asked = NowPayment.objects.create(
        payment_id="5524759814",
        status="finished",
        order_id="client-1:user-1",
        event=told,
        review_reason="No client has the id client-1.",
        review_cause="refused",
        review_since=now,
    )
    asked.record_birth(actor=ACTOR, reason="NOWPayments told of it")
    payouts.change_client(
        client_id=accumulation.client.pk,
        changes={"payout_threshold_usd": Decimal(75)},
        actor=ACTOR,
        reason="Asked for it.",
    )
    payouts.request_destination_change(
        client_id=accumulation.client.pk,
        wallet_address="0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        payout_currency="usdt",
        payout_network="eth",
        actor=ACTOR,
        reason="The client moved.",
    )
    RequestKey.objects.create(
        caller="api:sk_0000", key="key-1", fingerprint="0" * 64, locked_until=timezone.now(), status=201, body=b"{}"
    )
    payouts.void_payment(source="api", payment_id="not-yet-here", actor=ACTOR, reason="cancelled by the shop")
    payouts.turn_away(
        source="api", event_id="", headers={}, body=b"{}", why="signature", sentence="No valid signature.",
        address="192.0.2.7",
    )  # fmt: skip
    payouts.create_api_key(name="grafana", scopes=["read"], actor=ACTOR)
    Heartbeat.objects.create(name="sweep_payments", started_at=now, succeeded_at=now)
    UsedToken.objects.create(nonce="n", purpose="tests")
    Breaker.objects.create(cause="chain", detail="an unknown nonce", opened_by=str(ACTOR))
    ServiceHealth.objects.create(name="exchange", failures=2, last_error="503")
    approval = Approval.objects.create(
        action="cancel_payment",
        payment=payment,
        payload={"nonce": 3},
        payload_sha256="0" * 64,
        reason="stuck",
        proposed_by="admin:anna",
        expires_at=now + timedelta(hours=1),
    )
    WriteOff.objects.create(order=ExchangeOrder.objects.get(payment=payment), approval=approval, lost_units=10**15)
    payouts.record_export(
        subject="payouts.client", filters={}, columns=["client_id"], row_count=1, sha256="0" * 64, actor=admin("anna")
    )
    _reconciled()
    every, _ = IntervalSchedule.objects.get_or_create(every=900, period="seconds")
    PeriodicTask.objects.create(
        name="check the threshold", task="batches.tasks.check_threshold", interval=every, last_run_at=now
    )
    CrontabSchedule.objects.create()


def _reconciled() -> None:
    """One run with every verdict, and signed off."""
    lines = [
        Line(row="nonces used on chain", ours="3 given to payments", theirs="3"),
        Line(
            row="nonce 4",
            ours="not known",
            theirs=f"0.5 ETH to {rows.PAYIN} by 0x{'ab' * 32} in block 21",
            verdict=Compared.ALARM,
            next_step="Keep the wallet halted until you know who sent it.",
        ),
        Line(row="order 4b1", ours="not known", theirs="waiting, no deposit", verdict=Compared.NOTED),
    ]
    run = record_run(
        scope=Scope.ALL,
        subject="",
        parts={"chain": lines[:2], "provider": lines[2:], "batches": []},
        failures={},
        balances=Balances(block_number=40, eth_wei=10**18, usdt_units=12_004_118_220, judged_block=40),
        started_at=timezone.now(),
        actor=ACTOR,
    )
    sign_off(run=run, actor=admin("anna"), reason="it was my own sweep")
