"""Rows to test with. Plain functions: what a test does not name gets a value that makes no difference to it."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

from batches.models import ConversionPolicy
from batches.services import current_policy, set_policy
from config.lib.audit import Actor, command
from payouts.models import Accumulation, AccumulationStatus, Client, Strategy

ACTOR: Actor = command("tester")
WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
# What one dollar of ETH is in the factories, so that receipts and dollars agree with each other.
WEI_PER_USD = 5 * 10**14

_numbers = itertools.count(1)


def client(**columns: Any) -> Client:
    """A client that accumulates, with a unique external id."""
    values: dict[str, Any] = {
        "external_id": f"client-{next(_numbers)}",
        "strategy": Strategy.THRESHOLD,
        "wallet_address": WALLET,
        "payout_threshold_usd": Decimal(50),
    }
    return Client.objects.create(**{**values, **columns})


def policy(threshold_usd: Decimal | str | int, **rules: Any) -> ConversionPolicy:
    """The policy in force, made so by the service."""
    values: dict[str, Any] = {
        "threshold_usd": Decimal(threshold_usd),
        "converts_unreceipted": True,
        "tolerance_bps": 1000,
        "actor": ACTOR,
        "reason": "for a test",
    }
    wanted = {**values, **rules}
    current = current_policy()
    if all(
        getattr(current, name) == wanted[name] for name in ("threshold_usd", "converts_unreceipted", "tolerance_bps")
    ):
        return current
    return set_policy(**wanted)


def accumulation(net_usd: Decimal | str | int = 1, **columns: Any) -> Accumulation:
    """A pending claim of `net_usd` without fee, received in ETH unless `net_wei=None` says otherwise."""
    row = unsaved_accumulation(net_usd, **columns)
    row.save(force_insert=True)
    return row


def accumulations(*net_usd: Decimal | str | int, **columns: Any) -> list[Accumulation]:
    """One pending claim for each amount, of one client, in one insert."""
    of = columns.pop("client", None) or client()
    return Accumulation.objects.bulk_create(
        [unsaved_accumulation(net, client=of, **columns) for net in net_usd], batch_size=5000
    )


def unsaved_accumulation(net_usd: Decimal | str | int = 1, **columns: Any) -> Accumulation:
    """The row of `accumulation`, not yet inserted."""
    net = Decimal(net_usd)
    wei: int | None = columns.pop("net_wei", max(int(net * WEI_PER_USD), 1))
    values: dict[str, Any] = {
        "source": "tests",
        "payment_id": f"payment-{next(_numbers)}",
        "user_id": "user-1",
        "status": AccumulationStatus.PENDING,
        "gross_usd": net,
        "fee_percent": Decimal(0),
        "fee_usd": Decimal(0),
        "pending_usd_amount": net,
        "received_wei": wei,
        "fee_wei": None if wei is None else 0,
        "net_wei": wei,
        "outcome_currency": "" if wei is None else "eth",
        "wallet_address": WALLET,
        "payout_currency": "usdt",
        "payout_network": "eth",
        "content_sha256": "0" * 64,
    }
    if "client" not in columns:
        columns["client"] = client()
    return Accumulation(**{**values, **columns})
