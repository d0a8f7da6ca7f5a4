"""A batch at its good end, made by the models' own moves: nothing was asked outside, and every invariant holds."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.utils import timezone
from eth_account import Account

from batches.models import BatchConversion, Decision, ThresholdCheck
from batches.services import distribute
from hostpay.models import (
    Context,
    ExchangeOrder,
    HostPayment,
    NonceSlot,
    Receipt,
    Transaction,
    Wallet,
)
from payouts.services.members import claim_pending
from tests import factories
from tests.factories import ACTOR

PAYIN = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
PAYER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
RECEIVED_UNITS = 57_900_001
_KEY = "0x" + "11" * 32
_GWEI = 10**9


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The rows of one batch, each at its end."""

    batch: BatchConversion
    payment: HostPayment
    order: ExchangeOrder
    transaction: Transaction
    receipt: Receipt


@transaction.atomic
def settled_batch() -> Settled:
    """Three accumulations, claimed, paid for with a real signature, received for and shared out."""
    policy = factories.policy("20")
    factories.accumulations("19.40", "9.70", "29.10")
    batch = BatchConversion(policy=policy, threshold_usd=policy.threshold_usd, created_by=str(ACTOR))
    claimed = claim_pending(batch_id=batch.pk, converts_unreceipted=True, max_wei=None)
    batch.total_usd, batch.member_count = claimed.total_usd, claimed.member_count
    batch.net_wei, batch.unreceipted_usd = Decimal(claimed.net_wei), claimed.unreceipted_usd
    batch.save(force_insert=True)
    batch.record_birth(actor=ACTOR, reason="threshold reached")
    ThresholdCheck.objects.create(
        policy=policy,
        threshold_usd=policy.threshold_usd,
        total_usd=batch.total_usd,
        member_count=batch.member_count,
        decision=Decision.CREATED,
        batch=batch,
        actor=str(ACTOR),
    )
    batch.move("swapping", actor=ACTOR, reason="host payment requested")
    wallet = Wallet.objects.create(chain_id=31337, address=Account.from_key(_KEY).address, next_nonce=8)
    payment = _paid(batch, wallet)
    order = payment.orders.get()
    receipt = Receipt.objects.create(
        order=order,
        chain_id=wallet.chain_id,
        tx_hash="0x" + "ab" * 32,
        log_index=3,
        block_number=12,
        block_hash="0x" + "12" * 32,
        from_address=PAYER,
        units=RECEIVED_UNITS,
    )
    order.move("finished", actor=ACTOR, reason="proceeds received")
    payment.move("settled", actor=ACTOR, reason="received", received_units=Decimal(RECEIVED_UNITS))
    distribute(batch_id=batch.pk, received_units=RECEIVED_UNITS, actor=ACTOR)
    HostPayment.objects.filter(pk=payment.pk).update(delivered_at=timezone.now(), next_action_at=None)
    return Settled(
        batch=batch, payment=payment, order=order, transaction=payment.nonce_slot.transactions.get(), receipt=receipt
    )


def _paid(batch: BatchConversion, wallet: Wallet) -> HostPayment:
    payment = HostPayment.objects.create(
        context=Context.BATCH,
        reference=str(batch.pk),
        wallet=wallet,
        amount_units=batch.net_wei,
        expected_usd=batch.total_usd,
        payout_address=wallet.address,
        requested_by=str(ACTOR),
        next_action_at=timezone.now(),
    )
    payment.record_birth(actor=ACTOR, reason="requested")
    order = ExchangeOrder.objects.create(
        payment=payment,
        send_units=payment.amount_units,
        payout_address=wallet.address,
        refund_address=wallet.address,
        provider_order_id="0123456789abcd",
        payin_address=PAYIN,
    )
    order.record_birth(actor=ACTOR, reason="about to be ordered")
    order.move("open", actor=ACTOR, reason="ordered")
    payment.move("ordered", actor=ACTOR, reason="ordered")
    paying = _signed(payment, order)
    payment.move("signed", actor=ACTOR, reason="signed")
    paying.move("broadcast", actor=ACTOR, reason="sent")
    payment.move("broadcast", actor=ACTOR, reason="sent")
    paying.move("mined", actor=ACTOR, reason="mined", block_number=9, block_hash="0x" + "09" * 32)
    payment.move("mined", actor=ACTOR, reason="mined")
    paying.move("final", actor=ACTOR, reason="final")
    payment.move("final", actor=ACTOR, reason="final")
    return payment


def _signed(payment: HostPayment, order: ExchangeOrder) -> Transaction:
    fields = {
        "type": 2,
        "chainId": payment.wallet.chain_id,
        "nonce": 7,
        "to": order.payin_address,
        "value": int(order.send_units),
        "gas": 21_000,
        "maxFeePerGas": 3 * _GWEI,
        "maxPriorityFeePerGas": _GWEI,
        "data": b"",
    }
    signed = Account.from_key(_KEY).sign_transaction(fields)
    slot = NonceSlot.objects.create(wallet=payment.wallet, nonce=7, payment=payment)
    signed_row = Transaction.objects.create(
        slot=slot,
        to_address=order.payin_address or "",
        value_units=order.send_units,
        gas_limit=21_000,
        max_fee_per_gas_wei=3 * _GWEI,
        max_priority_fee_per_gas_wei=_GWEI,
        raw=bytes(signed.raw_transaction),
        tx_hash=f"0x{bytes(signed.hash).hex()}",
    )
    signed_row.record_birth(actor=ACTOR, reason="signed")
    return signed_row
