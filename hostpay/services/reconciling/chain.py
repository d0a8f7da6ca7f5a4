"""`reconcile --chain`: the host wallet on chain against the books, at the latest final block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db.models import Min, Q

from config.lib.differences import Line, Verdict, left_out
from hostpay import gateways
from hostpay.models import Receipt, Reconciliation, Scope, Transaction, TransactionStatus, Wallet
from hostpay.services.reconciling.arrivals import MOST_BLOCKS_READ, arrived, compare_arrivals
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


def reconcile_chain(*, since_block: int | None = None, is_whole: bool = False) -> ChainReport:
    """Compare nonces, transactions, USDT that came and balances with the books, since the last run that was settled.

    Args:
        since_block: look for transfers and transactions back to there, if that is further.
        is_whole: without the bounds that keep a worker's run short.

    Raises:
        PrunedError: the node does not keep the states that were asked for.
        ProviderError: the node did not answer.
    """
    wallet = our_wallet()
    block = settled_block()
    before = latest_settled(Scope.ALL, Scope.CHAIN)
    start = min(_start(wallet, before, block), block + 1 if since_block is None else since_block)
    known_up_to = before.block_number if before else None
    line = examine_line(wallet, settled_block=block, known_up_to=known_up_to, is_whole=is_whole)
    now = read_balances(wallet, block)
    read_to = block if is_whole else min(block, start + MOST_BLOCKS_READ - 1)
    logs = arrived(wallet, from_block=start, to_block=read_to)
    arrivals = compare_arrivals(wallet, logs, from_block=start, to_block=read_to, is_whole=is_whole)
    lines = [
        *line.lines,
        *_final_ones(wallet, before, start, block, is_whole=is_whole),
        *arrivals.lines,
        *explain_eth(wallet, now, before, line.sent, knows_all=not line.costs_unknown),
        *(explain_usdt(wallet, now, before, logs) if read_to == block else [_read_on(before, read_to, block)]),
    ]
    return ChainReport(lines=lines, balances=replace(now, judged_block=arrivals.judged_block))


def _start(wallet: Wallet, before: Reconciliation | None, block: int) -> int:
    if before is not None and before.block_number is not None:
        judged = before.block_number if before.judged_block is None else before.judged_block
        return min(judged + 1, block + 1)
    first_sent = Transaction.objects.filter(slot__wallet=wallet).aggregate(block=Min("block_number"))["block"]
    first_received = Receipt.objects.filter(chain_id=wallet.chain_id).aggregate(block=Min("block_number"))["block"]
    known = [number for number in (first_sent, first_received) if number is not None]
    return min(known, default=max(block - _FIRST_LOOK_BACK, 0))


def _read_on(before: Reconciliation | None, read_to: int, block: int) -> Line:
    """Where the books begin the next run reads on. Between two balances, all must be known."""
    if before is not None:
        return left_out("blocks whose transfers of USDT were not read", block - read_to)
    return Line(
        row="USDT of the wallet",
        ours="no earlier run to compare with",
        theirs=f"transfers read to block {read_to} of {block}",
        verdict=Verdict.NOTED,
        next_step="The next run reads on from there; manage.py reconcile at a shell reads all.",
    )


def _final_ones(
    wallet: Wallet, before: Reconciliation | None, from_block: int, to_block: int, *, is_whole: bool
) -> list[Line]:
    """What the books call final must be in the chain, in that block; also what was not final yet at the last run."""
    new = Q(block_number__gte=from_block)
    if before is not None:
        new |= Q(status_changed_at__gte=before.started_at)
    ours = (
        Transaction.objects.filter(new, slot__wallet=wallet, status__in=_FINAL, block_number__lte=to_block)
        .select_related("slot")
        .order_by("block_number")
    )
    checked = list(ours if is_whole else ours[:_MOST_CHECKED])
    rest = ours.count() - len(checked)
    wrong = [line for each in checked if (line := _is_there(each)) is not None]
    summary = Line(
        row=f"our transactions in blocks {from_block} to {to_block}",
        ours=f"{len(checked)} of them final",
        theirs=f"{len(checked) - len(wrong)} of them there",
        verdict=Verdict.NOTED if wrong else Verdict.AGREES,
    )
    more = [left_out("further transactions of ours that are final", rest)] if rest else []
    return [summary, *wrong, *more]


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
