"""The wallet's balances between two final blocks, and whether the books explain the way from one to the other."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db.models import F, Q, Sum

from config.lib.differences import Line, Verdict
from config.lib.errors import TransientError
from config.lib.money import ETH, USDT, format_units
from hostpay import gateways
from hostpay.models import LateReturn, Receipt, Reconciliation, Refund, Transaction, TransactionStatus, Wallet
from hostpay.providers.ethereum import SentTransaction, TransferLog
from hostpay.services.reconciling.runs import Balances

_IN_THE_CHAIN = (TransactionStatus.MINED, TransactionStatus.FINAL, TransactionStatus.REVERTED)
_LOOK = "Run it again with the breaker open, and compare with a block explorer; then sign the run off."


def read_balances(wallet: Wallet, block_number: int) -> Balances:
    """What the wallet has after the block.

    Raises:
        ProviderError: the node did not answer, or does not keep that state.
    """
    node = gateways.node()
    return Balances(
        block_number=block_number,
        eth_wei=node.balance_wei(wallet.address, block_number),
        usdt_units=node.usdt_balance(settings.USDT_CONTRACT_ADDRESS, wallet.address, block_number),
        judged_block=block_number,
    )


def explain_eth(
    wallet: Wallet, now: Balances, before: Reconciliation | None, sent: Sequence[SentTransaction], *, knows_all: bool
) -> list[Line]:
    """Ether: what was there, less what we sent and its gas. What came in beside is not booked one by one.

    Raises:
        ProviderError: the node did not answer.
    """
    row = f"ETH of the wallet at block {now.block_number}"
    if before is None or before.block_number is None or before.eth_wei is None:
        return [Line(row=row, ours="no earlier run to compare with", theirs=_eth(now.eth_wei), verdict=Verdict.NOTED)]
    span = Q(block_number__gt=before.block_number, block_number__lte=now.block_number)
    booked = _booked_costs(wallet, span)
    forgotten = _forgotten_costs(wallet, sent, before.block_number, now.block_number)
    back, late = (
        int(model.objects.filter(span, chain_id=wallet.chain_id).aggregate(units=Sum("units"))["units"] or 0)
        for model in (Refund, LateReturn)
    )
    expected = int(before.eth_wei) - booked - forgotten + back + late
    came_in = now.eth_wei - expected
    ours = (
        f"{_eth(expected)}: {_eth(int(before.eth_wei))} at block {before.block_number}, less"
        f" {_eth(booked + forgotten)} sent with gas, plus {_eth(back)} refunded"
        f"{f', and {_eth(late)} come back late' if late else ''}"
    )
    theirs = f"{_eth(now.eth_wei)}, {_eth(abs(came_in))} {'more' if came_in >= 0 else 'less'}"
    if not knows_all:
        return [
            Line(
                row=row,
                ours=ours,
                theirs=theirs,
                verdict=Verdict.NOTED,
                next_step="It proves nothing while transactions of the wallet are not known.",
            )
        ]
    if came_in < 0:
        return [Line(row=row, ours=ours, theirs=theirs, verdict=Verdict.ALARM, next_step=f"Ether is missing. {_LOOK}")]
    more = f"{theirs}, which customers' payments may be" if came_in else _eth(now.eth_wei)
    return [Line(row=row, ours=ours, theirs=more)]


def explain_usdt(
    wallet: Wallet, now: Balances, before: Reconciliation | None, logs: Sequence[TransferLog]
) -> list[Line]:
    """USDT: nothing of ours takes it out yet, so the balance is what was there and what came."""
    row = f"USDT of the wallet at block {now.block_number}"
    if before is None or before.block_number is None or before.usdt_units is None:
        credited = _credited(wallet)
        theirs = _usdt(now.usdt_units)
        if now.usdt_units >= credited:
            return [Line(row=row, ours=f"{_usdt(credited)} credited as received", theirs=theirs)]
        return [
            Line(
                row=row,
                ours=f"{_usdt(credited)} credited as received",
                theirs=theirs,
                verdict=Verdict.DIFFERS,
                next_step="USDT was taken out by other means; if that was you, sign the run off.",
            )
        ]
    came_units = sum(log.units for log in logs if log.block_number > before.block_number)
    expected = int(before.usdt_units) + came_units
    ours = f"{_usdt(expected)}: {_usdt(int(before.usdt_units))} at block {before.block_number} and {_usdt(came_units)} since"
    if now.usdt_units == expected:
        return [Line(row=row, ours=ours, theirs=_usdt(now.usdt_units))]
    return [
        Line(
            row=row,
            ours=ours,
            theirs=f"{_usdt(now.usdt_units)}, {_usdt(abs(expected - now.usdt_units))} apart",
            verdict=Verdict.DIFFERS,
            next_step=f"It was taken out by other means than Sluice; if that was you, sign the run off. Else: {_LOOK}",
        )
    ]


def _booked_costs(wallet: Wallet, span: Q) -> int:
    """Value and gas of our transactions in these blocks; of a reverted one the gas."""
    mined = Transaction.objects.filter(span, slot__wallet=wallet, status__in=_IN_THE_CHAIN)
    gas = mined.aggregate(wei=Sum(F("gas_used") * F("effective_gas_price_wei")))["wei"]
    value = mined.exclude(status=TransactionStatus.REVERTED).aggregate(wei=Sum("value_units"))["wei"]
    return int(gas or 0) + int(value or 0)


def _forgotten_costs(wallet: Wallet, sent: Sequence[SentTransaction], after: int, up_to: int) -> int:
    """The same of transactions that are in these blocks and not, or not yet, in the books."""
    total, node = 0, gateways.node()
    for each in sent:
        if not after < each.block_number <= up_to:
            continue
        receipt = node.receipt(each.tx_hash)
        if receipt is None:
            raise TransientError(f"{each.tx_hash} is in block {each.block_number}, and the node has no receipt of it")
        total += receipt.gas_used * receipt.effective_gas_price_wei
        total += each.value_wei if receipt.ok and each.to_address != wallet.address else 0
    return total


def _credited(wallet: Wallet) -> int:
    receipts = Receipt.objects.filter(chain_id=wallet.chain_id, order__payout_address__iexact=wallet.address)
    return int(receipts.aggregate(units=Sum("units"))["units"] or 0)


def _eth(wei: int) -> str:
    return format_units(wei, ETH)


def _usdt(units: int) -> str:
    return format_units(units, USDT)
