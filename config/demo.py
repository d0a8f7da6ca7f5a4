"""One whole cycle against the running sandbox, as its users would see it: signed payments in over HTTP, USDT out.

Everything is read back from the books and the chain; nothing is believed because it was sent.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import TypeVar

import httpx
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Sum
from standardwebhooks import Webhook

from batches import services as batches
from batches.models import BatchConversion, BatchStatus
from config.lib.audit import command
from config.lib.errors import SluiceError, TransientError
from config.lib.money import ETH, USDT, from_units
from hostpay import gateways
from hostpay.models import Context, HostPayment, Transaction, TransactionStatus
from hostpay.services import latest_payment
from payouts.models import Accumulation, AccumulationStatus, Client
from payouts.services import ClientExistsError, create_client

_Read = TypeVar("_Read")
_CLIENTS = ("demo-bakery", "demo-bookshop", "demo-radio")
_DEMO_WALLET = "0x00000000000000000000000000000000000De300"
# Small, uneven sums, as they come in.
_AMOUNTS_USD = tuple(map(Decimal, ("1.35", "4.85", "2.50", "9.70", "0.60", "7.77", "3.33", "12.01", "5.05", "2.01")))
_PATIENCE_S = 30
_STEPS = ("requested", "ordered", "signed", "broadcast", "mined", "final", "settled")


class DemoError(SluiceError):
    """The cycle did not come to its end, or its sums do not agree."""

    code = "demo_failed"


@dataclass(kw_only=True)
class MemberLine:
    """One payment in the demo's table."""

    payment_id: str
    client: str
    gross_usd: str
    fee_usd: str
    net_usd: str
    share_usdt: str


@dataclass(kw_only=True)
class BatchReport:
    """What one batch did."""

    batch_id: str
    exchange_id: str
    total_usd: str
    eth_sent: str
    payin_tx: str
    usdt_received: str
    payout_tx: str
    members: list[MemberLine]
    seconds: dict[str, str]


@dataclass(kw_only=True)
class Report:
    """The whole demo: batches, and the checks of their sums."""

    payments: int
    batches: list[BatchReport] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    seconds_total: str = ""

    @property
    def agrees(self) -> bool:
        """Whether every sum agreed."""
        return bool(self.checks) and all(self.checks.values())

    def as_json(self) -> str:
        return json.dumps(asdict(self) | {"agrees": self.agrees}, indent=2)


def run(*, base_url: str, payments: int, timeout_s: int, eth_usd: Decimal, say: Callable[[str], None]) -> Report:
    """Send `payments` payments, wait until all are converted, and check every sum.

    Raises:
        DemoError: a payment was refused, or the cycle did not end in time.
    """
    started = time.monotonic()
    clients = _patiently(make_clients)
    run_id = uuid.uuid4().hex[:8]
    say(f"sending {payments} signed payments to {base_url}")
    with httpx.Client(base_url=base_url, timeout=10, trust_env=False) as http:
        ids = [
            _send(http, f"demo-{run_id}-{number}", clients[number % len(clients)], amount, eth_usd)
            for number, amount in enumerate(_amounts(payments))
        ]
        say(f"{len(ids)} accumulations recorded, none of them swapped; waiting for the threshold check")
        _wait(http, ids, run_id=run_id, client=clients[0], eth_usd=eth_usd, timeout_s=timeout_s, say=say)
    report = _patiently(partial(_report, ids))
    report.seconds_total = f"{time.monotonic() - started:.1f}"
    return report


def make_clients() -> list[Client]:
    """The clients whose customers pay in the sandbox, as they are or as new."""
    return [_client(external_id) for external_id in _CLIENTS]


def _client(external_id: str) -> Client:
    with suppress(ClientExistsError):
        create_client(
            external_id=external_id,
            name=external_id.replace("-", " ").title(),
            wallet_address=_DEMO_WALLET,
            payout_threshold_usd=Decimal(100),
            actor=command("demo"),
            reason="a shop of the sandbox",
        )
    return Client.objects.get(external_id=external_id)


def _amounts(count: int) -> Iterator[Decimal]:
    for number in range(count):
        yield _AMOUNTS_USD[number % len(_AMOUNTS_USD)]


def _send(http: httpx.Client, payment_id: str, client: Client, amount: Decimal, eth_usd: Decimal) -> int:
    """Post one payment, signed as Standard Webhooks say; returns the accumulation's id."""
    body = json.dumps(
        {
            "payment_id": payment_id,
            "client_id": client.external_id,
            "user_id": "demo-customer",
            "amount_usd": f"{amount:f}",
            "outcome_amount": f"{(amount / eth_usd).quantize(Decimal('1e-18'), rounding=ROUND_DOWN):f}",
            "outcome_currency": "eth",
            "paid_at": datetime.now(UTC).isoformat(),
        }
    )
    answer = _post_until_answered(http, payment_id, body)
    if answer.status_code not in {httpx.codes.CREATED, httpx.codes.OK}:
        raise DemoError(f"payment {payment_id} was answered {answer.status_code}: {answer.text[:500]}")
    return int(answer.json()["id"])


def _post_until_answered(http: httpx.Client, payment_id: str, body: str) -> httpx.Response:
    """As a payment system does: no answer, or a 5xx, and the same payment is sent again. It is recorded once."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            answer = http.post("/api/v1/payments/", content=body, headers=_signed(body))
        except httpx.TransportError as error:
            trouble = f"{type(error).__name__}: {error}"
        else:
            if not answer.is_server_error:
                return answer
            trouble = f"{answer.status_code}: {answer.text[:200]}"
        if time.monotonic() > deadline:
            raise DemoError(f"payment {payment_id} got no answer in {_PATIENCE_S} s; last: {trouble}")
        time.sleep(0.2)


def _signed(body: str) -> dict[str, str]:
    """The headers of one delivery, by Standard Webhooks."""
    delivery_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(UTC)
    signature = Webhook(settings.INGEST_SIGNING_SECRETS[0]).sign(msg_id=delivery_id, timestamp=now, data=body)
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


def _wait(
    http: httpx.Client,
    ids: list[int],
    *,
    run_id: str,
    client: Client,
    eth_usd: Decimal,
    timeout_s: int,
    say: Callable[[str], None],
) -> None:
    """Until all are completed. What a check left behind, because it came in the middle, gets a payment to go with."""
    deadline = time.monotonic() + timeout_s
    told: set[str] = set()
    topped_up = False
    while time.monotonic() < deadline:
        counts = _patiently(partial(_look, ids, told, say))
        if counts.get(AccumulationStatus.COMPLETED, 0) == len(ids):
            return
        stuck = counts.get(AccumulationStatus.PENDING, 0)
        if stuck and not counts.get(AccumulationStatus.SWAPPING, 0) and not topped_up:
            missing = _patiently(_missing_to_threshold)
            if missing > 0:
                say(f"{stuck} payments wait below the threshold; one more of ${missing} joins them")
                ids.append(_send(http, f"demo-{run_id}-top-up", client, missing, eth_usd))
                topped_up = True
        time.sleep(0.25)
    counts = _patiently(partial(_count_by_status, ids))
    raise DemoError(f"not converted within {timeout_s} s: {counts}; {_patiently(partial(_why_not, ids))}")


def _look(ids: list[int], told: set[str], say: Callable[[str], None]) -> dict[str, int]:
    _tell_progress(ids, told, say)
    return _count_by_status(ids)


def _patiently(read: Callable[[], _Read]) -> _Read:
    """A database, node or exchange that starts again is worth a moment; whatever is read is read from its beginning."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return read()
        except (OperationalError, InterfaceError, TransientError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _count_by_status(ids: list[int]) -> dict[str, int]:
    statuses = Accumulation.objects.filter(pk__in=ids).values_list("status", flat=True)
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status] = counts.get(status, 0) + 1
    return counts


def _missing_to_threshold() -> Decimal:
    """Gross dollars that lift the pending total to the threshold, fee included; zero if it is there."""
    policy = batches.current_policy()
    pending = Accumulation.objects.pending().aggregate(total=Sum("pending_usd_amount"))["total"] or Decimal(0)
    missing: Decimal = policy.threshold_usd - pending
    if missing <= 0:
        return Decimal(0)
    return (missing * 100 / (100 - settings.PLATFORM_FEE_PERCENT) + Decimal("0.01")).quantize(Decimal("0.01"))


def _tell_progress(ids: list[int], told: set[str], say: Callable[[str], None]) -> None:
    for batch in _batches_of(ids):
        payment = latest_payment(context=Context.BATCH, reference=str(batch.pk))
        if payment is None:
            continue
        for change in payment.status_changes.order_by("pk"):
            line = f"batch {str(batch.pk)[:8]}: {change}"
            if line not in told:
                told.add(line)
                say(line)


def _batches_of(ids: list[int]) -> list[BatchConversion]:
    return list(BatchConversion.objects.filter(members__in=ids).distinct().order_by("created_at"))


def _why_not(ids: list[int]) -> str:
    reasons = [
        f"{payment.status}: {payment.review_reason or payment.waiting_reason or payment.unknown_reason or payment.last_error}"
        for batch in _batches_of(ids)
        if (payment := latest_payment(context=Context.BATCH, reference=str(batch.pk)))
    ]
    return "; ".join(reasons) or "no batch was made"


def _report(ids: list[int]) -> Report:
    report = Report(payments=len(ids))
    for batch in _batches_of(ids):
        if batch.status != BatchStatus.COMPLETED:
            raise DemoError(f"batch {batch.pk} is {batch.status}")
        payment = latest_payment(context=Context.BATCH, reference=str(batch.pk))
        if payment is None:
            raise DemoError(f"batch {batch.pk} has no host payment")
        _add_batch(report, batch, payment)
    return report


def _add_batch(report: Report, batch: BatchConversion, payment: HostPayment) -> None:
    order = payment.orders.get(is_current=True)
    # A stuck one may have been signed again; one of them was mined.
    variant = Transaction.objects.get(slot__payment=payment, status=TransactionStatus.FINAL)
    members = list(Accumulation.objects.filter(batch_conversion=batch).select_related("client").order_by("pk"))
    shares = [member.converted_usdt_amount or Decimal(0) for member in members]
    receipts = list(order.receipts.order_by("pk"))
    received = from_units(int(batch.received_units or 0), USDT)
    node = gateways.node()
    sent, chain_receipt = node.transaction(variant.tx_hash), node.receipt(variant.tx_hash)
    short = str(batch.pk)[:8]
    report.checks |= {
        f"{short}: every gross is fee plus net": all(m.gross_usd == m.fee_usd + m.pending_usd_amount for m in members),
        f"{short}: batch total is the sum of its members": batch.total_usd
        == sum(m.pending_usd_amount for m in members),
        f"{short}: ETH sent, as the chain has it, is the sum of the members' net ETH": sent is not None
        and sent.value_wei == sum(int(m.net_wei or 0) for m in members),
        f"{short}: one transaction paid, and the chain has it": chain_receipt is not None and chain_receipt.ok,
        f"{short}: USDT received is what the Transfer logs on chain say": int(batch.received_units or 0)
        == _proven_units({r.tx_hash for r in receipts}, payment),
        f"{short}: shares add up to what was received": sum(shares, start=Decimal(0)) == received,
    }
    report.batches.append(
        BatchReport(
            batch_id=str(batch.pk),
            exchange_id=order.provider_order_id or "",
            total_usd=f"{batch.total_usd:f}",
            eth_sent=f"{from_units(int(variant.value_units), ETH):f}",
            payin_tx=variant.tx_hash,
            usdt_received=f"{received:f}",
            payout_tx=", ".join(r.tx_hash for r in receipts),
            members=[
                MemberLine(
                    payment_id=member.payment_id,
                    client=str(member.client),
                    gross_usd=f"{member.gross_usd:f}",
                    fee_usd=f"{member.fee_usd:f}",
                    net_usd=f"{member.pending_usd_amount:f}",
                    share_usdt=f"{share:f}",
                )
                for member, share in zip(members, shares, strict=True)
            ],
            seconds=_seconds(batch, payment),
        )
    )


def _proven_units(payouts: set[str], payment: HostPayment) -> int:
    """What these transactions brought to the payment's address, read from their receipts on chain and nowhere else."""
    node = gateways.node()
    found = [node.receipt(tx_hash) for tx_hash in payouts]
    logs = (node.transfers_in(each, settings.USDT_CONTRACT_ADDRESS, payment.payout_address) for each in found if each)
    return sum(log.units for of_one in logs for log in of_one)


def _seconds(batch: BatchConversion, payment: HostPayment) -> dict[str, str]:
    """How long each step took, from the times of the moves."""
    times = {
        change.to_status: change.created_at
        for change in payment.status_changes.order_by("pk")
        if change.to_status != change.from_status
    }
    seconds: dict[str, str] = {}
    before = batch.created_at
    for step in _STEPS:
        if step in times:
            seconds[step] = f"{(times[step] - before).total_seconds():.2f}"
            before = times[step]
    seconds["distributed"] = f"{(batch.status_changed_at - before).total_seconds():.2f}"
    return seconds


def table(report: Report) -> list[str]:
    """The report as lines for a terminal."""
    lines: list[str] = []
    for batch in report.batches:
        lines += _batch_lines(batch)
    lines += ["", "sums"]
    lines += [f"  {'ok ' if ok else 'NOT'}  {name}" for name, ok in report.checks.items()]
    lines += ["", f"{report.payments} payments, {len(report.batches)} batch(es), {report.seconds_total} s"]
    return lines


def _batch_lines(batch: BatchReport) -> list[str]:
    rows: list[tuple[str, ...]] = [("payment", "client", "gross USD", "fee USD", "net USD", "share USDT")]
    rows += [(m.payment_id, m.client, m.gross_usd, m.fee_usd, m.net_usd, m.share_usdt) for m in batch.members]
    rows.append(
        ("total", "", _total(batch, "gross_usd"), _total(batch, "fee_usd"), batch.total_usd, batch.usdt_received)
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "",
        f"batch          {batch.batch_id}",
        f"exchange       {batch.exchange_id}",
        f"ETH sent       {batch.eth_sent}  {batch.payin_tx}",
        f"USDT received  {batch.usdt_received}  {batch.payout_tx}",
        "",
    ]
    for number, row in enumerate(rows):
        if number in {1, len(rows) - 1}:
            lines.append("  ".join("-" * width for width in widths))
        lines.append("  ".join(_cell(row[c], widths[c], is_text=c < 2) for c in range(len(row))))
    lines.append("")
    lines.append("seconds        " + "  ".join(f"{step} {taken}" for step, taken in batch.seconds.items()))
    return lines


def _cell(text: str, width: int, *, is_text: bool) -> str:
    return text.ljust(width) if is_text else text.rjust(width)


def _total(batch: BatchReport, column: str) -> str:
    return f"{sum((Decimal(getattr(member, column)) for member in batch.members), start=Decimal(0)):f}"


def read_price() -> Decimal:
    """The exchange's ETH price in USDT, so that the payments' ETH is worth their dollars.

    Raises:
        ProviderError: the exchange gave no answer for half a minute.
    """
    return _patiently(_price)


def _price() -> Decimal:
    return gateways.exchange().estimate(from_asset=ETH, to_asset=USDT, from_amount=Decimal(1)).to_amount
