"""`reconcile --chain`: the host wallet on chain against the books, at the latest final block."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Min

from config.lib.differences import Line, Verdict
from hostpay import gateways
from hostpay.models import Receipt, Reconciliation, Scope, Transaction, TransactionStatus, Wallet
from hostpay.services.reconciling.arrivals import arrived, compare_arrivals
from hostpay.services.reconciling.balances import explain_eth, explain_usdt, read_balances
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import examine_line
from hostpay.services.reconciling.runs import Balances, latest_settled
from hostpay.services.wallets import our_wallet

# Where books without a transaction begin to look for transfers: about a week.
_FIRST_LOOK_BACK = 50_000
_MOST_CHECKED = 200
_FINAL = (TransactionStatus.FINAL, TransactionStatus.REVERTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What was compared, and the balances from which the next run goes on."""

    lines: list[Line]
    balances: Balances


def reconcile_chain(*, since_block: int | None = None) -> ChainReport:
    """Compare nonces, transactions, USDT that came and balances with the books, since the last run that was settled.

    Args:
        since_block: look for transfers and transactions back to there, if that is further.

    Raises:
        PrunedError: the node does not keep the states that were asked for.
        ProviderError: the node did not answer.
    """
    wallet = our_wallet()
    block = settled_block()
    before = latest_settled(Scope.ALL, Scope.CHAIN)
    start = min(_start(wallet, before, block), block + 1 if since_block is None else since_block)
    line = examine_line(wallet, settled_block=block, known_up_to=before.block_number if before else None)
    now = read_balances(wallet, block)
    logs = arrived(wallet, from_block=start, to_block=block)
    lines = [
        *line.lines,
        *_final_ones(wallet, start, block),
        *compare_arrivals(wallet, logs, from_block=start, to_block=block),
        *explain_eth(wallet, now, before, line.sent, knows_all=not line.costs_unknown),
        *explain_usdt(wallet, now, before, logs),
    ]
    return ChainReport(lines=lines, balances=now)


def _start(wallet: Wallet, before: Reconciliation | None, block: int) -> int:
    if before is not None and before.block_number is not None:
        return min(before.block_number + 1, block + 1)
    first_sent = Transaction.objects.filter(slot__wallet=wallet).aggregate(block=Min("block_number"))["block"]
    first_received = Receipt.objects.filter(chain_id=wallet.chain_id).aggregate(block=Min("block_number"))["block"]
    known = [number for number in (first_sent, first_received) if number is not None]
    return min(known, default=max(block - _FIRST_LOOK_BACK, 0))


def _final_ones(wallet: Wallet, from_block: int, to_block: int) -> list[Line]:
    """What the books call final must be in the chain, in that block."""
    ours = Transaction.objects.filter(
        slot__wallet=wallet, status__in=_FINAL, block_number__gte=from_block, block_number__lte=to_block
    ).select_related("slot")
    checked = list(ours.order_by("-block_number")[:_MOST_CHECKED])
    wrong = [line for each in checked if (line := _is_there(each)) is not None]
    summary = Line(
        row=f"our transactions in blocks {from_block} to {to_block}",
        ours=f"the newest {len(checked)} of them final",
        theirs=f"{len(checked) - len(wrong)} of them there",
        verdict=Verdict.NOTED if wrong else Verdict.AGREES,
    )
    return [summary, *wrong]


def _is_there(ours: Transaction) -> Line | None:
    receipt = gateways.node().receipt(ours.tx_hash)
    is_ok = ours.status == TransactionStatus.FINAL
    if receipt is not None and (receipt.block_hash, receipt.ok) == (ours.block_hash, is_ok):
        return None
    theirs = "in no block" if receipt is None else f"in block {receipt.block_hash}, {'' if receipt.ok else 'not '}ok"
    return Line(
        row=f"transaction {ours.tx_hash}",
        ours=f"{ours.status} in block {ours.block_hash}",
        theirs=theirs,
        verdict=Verdict.ALARM,
        next_step=f"A reorganisation deeper than we call final, or a node that forgets: look at nonce {ours.slot.nonce}"
        " in a block explorer before anything more is signed.",
    )
