"""The rows of the batch measurements, and one round over them. Imported when Django is set up."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction

from batches.models import BatchConversion
from batches.services import check_threshold, current_policy, distribute
from config.lib.audit import command
from hostpay import gateways
from payouts.models import Client
from tests.lib.exchange_range import ExchangeRange

_ACTOR = command("bench")

# Amounts of some dollars, all different enough to leave remainders.
_INSERT = """
INSERT INTO payouts_accumulation (
    source, payment_id, client_id, user_id, subscription_id, status, gross_usd, fee_percent, fee_usd,
    pending_usd_amount, outcome_currency, outcome_amount, received_wei, fee_wei, net_wei, hold_reason,
    wallet_address, payout_currency, payout_network, content_sha256)
SELECT 'bench', 'payment-' || n, %(client)s, 'user-1', '', 'pending', net + 0.03, 3, 0.03,
       net, 'eth', '0.0005', net * 500000000000000 + 1000, 1000, net * 500000000000000, '',
       '0x70997970C51812dc3A010C7d01b50e0d17dc79C8', 'usdt', 'eth', repeat('0', 64)
  FROM generate_series(1, %(size)s) AS n, LATERAL (SELECT 0.5 + (n %% 99991) * 0.00010001 AS net) AS amounts
"""

_FORGET = """
TRUNCATE payouts_accumulation, payouts_accumulationstatuschange, payouts_inboundevent, batches_thresholdcheck,
         batches_batchconversion, batches_batchstatuschange, hostpay_hostpayment CASCADE
"""

_PLAIN_CLAIM = """
UPDATE payouts_accumulation SET status = 'swapping', status_changed_at = now(), batch_conversion_id = %s
 WHERE status = 'pending'
"""

_PLAIN_SHARE = """
UPDATE payouts_accumulation SET status = 'completed', status_changed_at = now(), converted_usdt_amount = 1.234567
 WHERE batch_conversion_id = %s AND status = 'swapping'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Seconds of one round at one size."""

    plain_claim_s: float
    plain_share_s: float
    check_s: float
    share_s: float


def prepare() -> None:
    """The tables, and the client whose payments they are."""
    call_command("migrate", verbosity=0)
    Client.objects.create(external_id="bench", wallet_address="0x0", payout_threshold_usd=Decimal(50))
    with connection.cursor() as cursor:
        # Its runs would fall into one measurement or the other; every round vacuums by itself.
        cursor.execute("ALTER TABLE payouts_accumulation SET (autovacuum_enabled = off)")
        cursor.execute("SET statement_timeout = 0")


def measure(size: int, *, ours_first: bool) -> Round:
    """One round: the plain statements and our services, each over `size` fresh rows."""
    if ours_first:
        ours, plain = _ours(size), _plain(size)
    else:
        plain, ours = _plain(size), _ours(size)
    return Round(plain_claim_s=plain[0], plain_share_s=plain[1], check_s=ours[0], share_s=ours[1])


def _plain(size: int) -> tuple[float, float]:
    _fill(size)
    batch_id = uuid.uuid4()

    def claim() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            BatchConversion.objects.create(
                id=batch_id,
                policy=current_policy(),
                threshold_usd=1,
                total_usd=1,
                member_count=size,
                net_wei=1,
                unreceipted_usd=0,
                created_by=str(_ACTOR),
            )
            cursor.execute(_PLAIN_CLAIM, [batch_id])
            _expect(cursor.rowcount, size)

    def share() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_PLAIN_SHARE, [batch_id])
            _expect(cursor.rowcount, size)

    return _seconds(claim), _seconds(share)


def _ours(size: int) -> tuple[float, float]:
    _fill(size)
    made: list[BatchConversion] = []

    def check() -> None:
        batch = check_threshold(actor=_ACTOR).batch
        if batch is None:
            message = "the check made no batch of rows far above the threshold"
            raise RuntimeError(message)
        _expect(batch.member_count, size)
        made.append(batch)

    def share() -> None:
        (batch,) = made
        # A little less than the members' USD, so that every share has a remainder.
        received_units = int(batch.total_usd * 997_000) + 1
        credited = distribute(batch_id=batch.pk, received_units=received_units, actor=_ACTOR)
        _expect(0 if credited is None else credited.total_units, received_units)

    # With a maximum, so that the form of the claim that costs more is the one that is measured.
    with ExchangeRange() as exchange:
        exchange.maximum = "100000000"
        settings.CHANGENOW_API_URL = exchange.url
        settings.MAX_SEND_ETH = Decimal(100_000_000)
        gateways.exchange.cache_clear()
        return _seconds(check), _seconds(share)


def _fill(size: int) -> None:
    """Fresh rows, as a running system has them: analysed, and on disk."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET)
        # Without the foreign keys' checks, which nobody measures here.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(_INSERT, {"size": size, "client": Client.objects.get().pk})
        cursor.execute("RESET session_replication_role")
        cursor.execute("VACUUM ANALYZE payouts_accumulation")
        cursor.execute("CHECKPOINT")


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _expect(found: int, expected: int) -> None:
    if found != expected:
        message = f"{found}, but {expected} were expected: this measurement measures nothing"
        raise RuntimeError(message)
