"""What a node says of blocks, transactions, receipts and fees, as frozen values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from config.lib.errors import TransientError
from hostpay.providers.ethereum.rpc import NodeAnswerError, address, data, hash_text, quantity, record, sequence

_GWEI: Final = 10**9
# Below this no validator has a reason to take a transaction; a chain without traffic reports tips of 0.
_LEAST_TIP_WEI: Final = _GWEI // 10
# Beyond these a fee is a fault of the node and no market.
_MOST_BASE_FEE_WEI: Final = 10_000 * _GWEI
_MOST_TIP_WEI: Final = 1_000 * _GWEI


# The other kinds of calls show a value that stays where it is.
_MOVES_VALUE: Final = frozenset({"CALL", "SELFDESTRUCT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRef:
    """A block; `timestamp` is seconds since 1970, `base_fee_wei` per unit of gas."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeQuote:
    """Wei per unit of gas: the next block's base fee, and a usual tip."""

    base_fee_wei: int
    priority_fee_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTransaction:
    """A transaction the node knows; without a block it is still waiting in the pool."""

    tx_hash: str
    nonce: int
    from_address: str
    to_address: str | None
    value_wei: int
    block_number: int | None
    block_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One event that a contract wrote in a transaction."""

    contract: str
    topics: tuple[str, ...]
    data: bytes
    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A mined transaction. `ok` False: it reverted, its value stayed and its gas is gone."""

    tx_hash: str
    block_number: int
    block_hash: str
    ok: bool
    gas_used: int
    effective_gas_price_wei: int
    from_address: str
    to_address: str | None
    logs: tuple[Log, ...]


def read_block(value: object, *, of: str) -> BlockRef:
    """Raises NodeAnswerError if it is none."""
    found = record(value, of=of)
    return BlockRef(
        number=quantity(found.get("number"), of=f"{of}, number"),
        hash=hash_text(found.get("hash"), of=f"{of}, hash"),
        timestamp=quantity(found.get("timestamp"), of=f"{of}, timestamp"),
        base_fee_wei=quantity(found.get("baseFeePerGas"), of=f"{of}, baseFeePerGas"),
    )


def read_fee_history(value: object, *, blocks: int) -> FeeQuote:
    """The quote in `eth_feeHistory(blocks, "latest", [50])`: the median of the blocks' median tips.

    Raises:
        NodeAnswerError: not the lists that were asked for.
        TransientError: a base fee of 0, or figures beyond any market.
    """
    of = "eth_feeHistory"
    found = record(value, of=of)
    bases = [quantity(fee, of=of) for fee in sequence(found.get("baseFeePerGas"), of=of)]
    rewards = [sequence(row, of=of) for row in sequence(found.get("reward"), of=of)]
    # One more base fee than blocks: the last is the next block's. A young chain has fewer blocks than were asked for.
    if not 1 <= len(rewards) <= blocks or len(bases) != len(rewards) + 1 or any(len(row) != 1 for row in rewards):
        raise NodeAnswerError(f"{of}: {len(bases)} base fees and {len(rewards)} tips for {blocks} blocks")
    base_fee_wei = bases[-1]
    tip_wei = max(statistics.median_high([quantity(row[0], of=of) for row in rewards]), _LEAST_TIP_WEI)
    if not 0 < base_fee_wei <= _MOST_BASE_FEE_WEI or tip_wei > _MOST_TIP_WEI:
        raise TransientError(f"{of}: a base fee of {base_fee_wei} wei and a tip of {tip_wei} wei are no market's")
    return FeeQuote(base_fee_wei=base_fee_wei, priority_fee_wei=tip_wei)


def read_transaction(value: object, *, tx_hash: str) -> ChainTransaction:
    """Raises NodeAnswerError if it is not the transaction that was asked for."""
    of = f"transaction {tx_hash}"
    found = record(value, of=of)
    mined = found.get("blockNumber") is not None
    return ChainTransaction(
        tx_hash=_the_one(found.get("hash"), tx_hash, of=of),
        nonce=quantity(found.get("nonce"), of=f"{of}, nonce"),
        from_address=address(found.get("from"), of=f"{of}, from"),
        to_address=_address_or_none(found.get("to"), of=f"{of}, to"),
        value_wei=quantity(found.get("value"), of=f"{of}, value"),
        block_number=quantity(found.get("blockNumber"), of=f"{of}, blockNumber") if mined else None,
        block_hash=hash_text(found.get("blockHash"), of=f"{of}, blockHash") if mined else None,
    )


def read_receipt(value: object, *, tx_hash: str) -> Receipt:
    """Raises NodeAnswerError if it is not the receipt that was asked for."""
    of = f"receipt {tx_hash}"
    found = record(value, of=of)
    status = quantity(found.get("status"), of=f"{of}, status")
    if status not in {0, 1}:
        raise NodeAnswerError(f"{of}: status {status} is neither 0 nor 1")
    receipt = Receipt(
        tx_hash=_the_one(found.get("transactionHash"), tx_hash, of=of),
        block_number=quantity(found.get("blockNumber"), of=f"{of}, blockNumber"),
        block_hash=hash_text(found.get("blockHash"), of=f"{of}, blockHash"),
        ok=status == 1,
        gas_used=quantity(found.get("gasUsed"), of=f"{of}, gasUsed"),
        effective_gas_price_wei=quantity(found.get("effectiveGasPrice"), of=f"{of}, effectiveGasPrice"),
        from_address=address(found.get("from"), of=f"{of}, from"),
        to_address=_address_or_none(found.get("to"), of=f"{of}, to"),
        logs=read_logs(found.get("logs"), of=of),
    )
    for log in receipt.logs:
        if (log.tx_hash, log.block_hash) != (receipt.tx_hash, receipt.block_hash):
            raise NodeAnswerError(f"{of}: log {log.log_index} belongs to another transaction or block")
    return receipt


def read_traced_wei(value: object, *, to: str, of: str) -> int:
    """What the calls in a trace (of geth's callTracer) moved to `to`; a call that failed moved nothing, nor did its own.

    Raises:
        NodeAnswerError: it is no such trace.
    """
    wei, frames = 0, [record(value, of=of)]
    while frames:
        frame = frames.pop()
        if frame.get("error"):
            continue
        if frame.get("type") in _MOVES_VALUE and address(frame.get("to"), of=f"{of}, to").lower() == to.lower():
            wei += quantity(frame.get("value") or "0x0", of=f"{of}, value")
        frames += [record(call, of=of) for call in sequence(frame.get("calls") or [], of=of)]
    return wei


def read_logs(value: object, *, of: str) -> tuple[Log, ...]:
    """The logs in a list, without those that a reorganisation removed.

    Raises:
        NodeAnswerError: one is malformed, or still without a block.
    """
    rows = [record(row, of=f"{of}, log") for row in sequence(value, of=f"{of}, logs")]
    return tuple(_log(row, of=f"{of}, log") for row in rows if row.get("removed") is not True)


def _log(found: Mapping[str, Any], *, of: str) -> Log:
    return Log(
        contract=address(found.get("address"), of=f"{of}, address"),
        topics=tuple(hash_text(topic, of=f"{of}, topic") for topic in sequence(found.get("topics"), of=of)),
        data=data(found.get("data"), of=f"{of}, data"),
        tx_hash=hash_text(found.get("transactionHash"), of=f"{of}, transactionHash"),
        log_index=quantity(found.get("logIndex"), of=f"{of}, logIndex"),
        block_number=quantity(found.get("blockNumber"), of=f"{of}, blockNumber"),
        block_hash=hash_text(found.get("blockHash"), of=f"{of}, blockHash"),
    )


def _the_one(value: object, tx_hash: str, *, of: str) -> str:
    found = hash_text(value, of=of)
    if found != tx_hash.lower():
        raise NodeAnswerError(f"{of}: the answer is about {found}")
    return found


def _address_or_none(value: object, *, of: str) -> str | None:
    return None if value is None else address(value, of=of)
