"""USDT that came to the wallet, log by log: each belongs to a receipt of ours, and each receipt to a log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from config.lib import clock
from config.lib.differences import Line, Verdict, left_out
from config.lib.money import USDT, format_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, PaymentStatus, Receipt, Wallet
from hostpay.providers.ethereum import TransferLog

# Nodes refuse wider questions.
_BLOCKS_AT_ONCE = 2_000
# A payout that nobody has named yet may be one that the exchange is about to name.
_NAMED_WITHIN = timedelta(hours=1)
_MOST_TOLD = 100
# A worker's run; where the books begin, the next runs go on from there.
MOST_BLOCKS_READ = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What was compared, and the block up to which no transfer waits to be named."""

    lines: list[Line]
    judged_block: int


def arrived(wallet: Wallet, *, from_block: int, to_block: int) -> list[TransferLog]:
    """The transfers of USDT to the wallet in these blocks.

    Raises:
        ProviderError: the node did not answer; nothing is taken for not there.
    """
    node = gateways.node()
    found: list[TransferLog] = []
    for start in range(from_block, to_block + 1, _BLOCKS_AT_ONCE):
        end = min(start + _BLOCKS_AT_ONCE - 1, to_block)
        found += node.transfer_logs(
            contract=settings.USDT_CONTRACT_ADDRESS, to=wallet.address, from_block=start, to_block=end
        )
    # Anybody can write a transfer of nothing into the log of another's address.
    return [log for log in found if log.units]


def compare_arrivals(
    wallet: Wallet, logs: list[TransferLog], *, from_block: int, to_block: int, is_whole: bool
) -> Arrivals:
    """The transfers against the receipts of the same blocks."""
    ours = {
        (receipt.tx_hash, receipt.log_index): receipt
        for receipt in Receipt.objects.filter(
            chain_id=wallet.chain_id,
            order__payout_address__iexact=wallet.address,
            block_number__gte=from_block,
            block_number__lte=to_block,
        )
    }
    there = {(log.tx_hash, log.log_index): log for log in logs}
    lines = [_summary(list(ours.values()), logs, from_block, to_block)]
    unassigned = {
        name: _unassigned(log) for name, log in there.items() if name not in ours and _is_elsewhere(log) is None
    }
    lines += unassigned.values()
    lines += [
        _wrong(there[name], receipt)
        for name, receipt in ours.items()
        if name in there and _differs(there[name], receipt)
    ]
    lines += [_missing(receipt) for name, receipt in ours.items() if name not in there]
    waiting = [there[name].block_number for name, line in unassigned.items() if line.verdict is Verdict.NOTED]
    return Arrivals(lines=lines if is_whole else _bounded(lines), judged_block=min(waiting, default=to_block + 1) - 1)


def _summary(ours: list[Receipt], logs: list[TransferLog], from_block: int, to_block: int) -> Line:
    credited, came = sum(int(receipt.units) for receipt in ours), sum(log.units for log in logs)
    return Line(
        row=f"USDT that came in blocks {from_block} to {to_block}",
        ours=f"{_usdt(credited)} in {len(ours)} receipts",
        theirs=f"{_usdt(came)} in {len(logs)} transfers",
        # What is missing on either side is told transfer by transfer.
        verdict=Verdict.AGREES if credited == came else Verdict.NOTED,
    )


def _is_elsewhere(log: TransferLog) -> Receipt | None:
    """A receipt of the log that names another block, as after a reorganisation; it is told by the one who follows it."""
    return Receipt.objects.filter(tx_hash=log.tx_hash, log_index=log.log_index).first()


def _unassigned(log: TransferLog) -> Line:
    row, theirs = (
        _row(log.tx_hash, log.log_index),
        f"{_usdt(log.units)} from {log.from_address} in block {log.block_number}",
    )
    named = ExchangeOrder.objects.filter(
        payout_hash__iexact=log.tx_hash, is_current=True, payment__status=PaymentStatus.FINAL
    ).first()
    if named is not None:
        return Line(
            row=row,
            ours=f"payout of order {named}, not credited yet",
            theirs=theirs,
            verdict=Verdict.NOTED,
            next_step=f"Payment {named.payment_id} is followed; see what it waits for.",
        )
    waiting = HostPayment.objects.filter(
        status=PaymentStatus.FINAL,
        status_changed_at__gt=clock.now() - _NAMED_WITHIN,
        payout_address__iexact=log.to_address,
    ).first()
    if waiting is not None:
        return Line(
            row=row,
            ours=f"not assigned; payment {waiting.pk} waits for its proceeds",
            theirs=theirs,
            verdict=Verdict.NOTED,
            next_step="The exchange names its payout within minutes; look again then.",
        )
    return Line(
        row=row,
        ours="not assigned to any order",
        theirs=theirs,
        verdict=Verdict.DIFFERS,
        next_step="Find out whose it is: a payout that the exchange did not name, or somebody's gift. It is shared with nobody."
        " If it is no proceeds of ours, sign the run off.",
    )


def _differs(log: TransferLog, receipt: Receipt) -> bool:
    return (log.units, log.block_hash) != (int(receipt.units), receipt.block_hash)


def _wrong(log: TransferLog, receipt: Receipt) -> Line:
    return Line(
        row=_row(log.tx_hash, log.log_index),
        ours=f"{_usdt(int(receipt.units))} in block {receipt.block_hash}",
        theirs=f"{_usdt(log.units)} in block {log.block_hash}",
        verdict=Verdict.ALARM,
        next_step=f"Open the breaker and look at order {receipt.order_id}: the chain was reorganised below our receipt.",
    )


def _missing(receipt: Receipt) -> Line:
    return Line(
        row=_row(receipt.tx_hash, receipt.log_index),
        ours=f"{_usdt(int(receipt.units))} credited to order {receipt.order_id}",
        theirs=f"no such transfer in block {receipt.block_number}",
        verdict=Verdict.ALARM,
        next_step="Open the breaker (manage.py breaker open): what was shared out may never have arrived.",
    )


def _bounded(lines: list[Line]) -> list[Line]:
    if len(lines) <= _MOST_TOLD:
        return lines
    return [*lines[:_MOST_TOLD], left_out("further transfers that do not match", len(lines) - _MOST_TOLD)]


def _row(tx_hash: str, log_index: int) -> str:
    return f"transfer {tx_hash} log {log_index}"


def _usdt(units: int) -> str:
    return format_units(units, USDT)
