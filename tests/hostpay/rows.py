"""Rows of hostpay in whatever state a test needs; each is legal by every constraint."""

from decimal import Decimal
from typing import Any

from django.utils import timezone

from hostpay.models import Context, ExchangeOrder, HostPayment, NonceSlot, Transaction, Wallet

WALLET = "0x00000000000000000000000000000000000000A1"
PAYIN = "0x00000000000000000000000000000000000000B2"


def wallet(**columns: Any) -> Wallet:
    return Wallet.objects.get_or_create(chain_id=31337, address=WALLET, defaults=columns)[0]


def payment(**columns: Any) -> HostPayment:
    columns.setdefault("wallet", wallet())
    return HostPayment.objects.create(
        **{
            "context": Context.BATCH,
            "reference": "reference-1",
            "amount_units": 10**16,
            "expected_usd": Decimal(30),
            "payout_address": WALLET,
            "requested_by": "test:rows",
            "next_action_at": timezone.now(),
            **columns,
        }
    )


def order(of: HostPayment, **columns: Any) -> ExchangeOrder:
    return ExchangeOrder.objects.create(
        **{
            "payment": of,
            "status": "open",
            "provider_order_id": "0123456789abcd",
            "payin_address": PAYIN,
            "send_units": of.amount_units,
            "payout_address": of.payout_address,
            "refund_address": of.wallet.address,
            **columns,
        }
    )


def transaction(of: HostPayment, *, nonce: int = 0, **columns: Any) -> Transaction:
    slot, _ = NonceSlot.objects.get_or_create(payment=of, defaults={"wallet": of.wallet, "nonce": nonce})
    return Transaction.objects.create(
        **{
            "slot": slot,
            "to_address": PAYIN,
            "value_units": of.amount_units,
            "gas_limit": 21_000,
            "max_fee_per_gas_wei": 3 * 10**9,
            "max_priority_fee_per_gas_wei": 10**9,
            "raw": b"\x02raw",
            "tx_hash": f"0x{nonce:064x}",
            **columns,
        }
    )
