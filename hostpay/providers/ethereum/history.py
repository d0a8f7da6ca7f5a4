"""Which transaction used a nonce, found without an index: nodes only answer by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from config.lib.errors import PermanentError, TransientError
from hostpay.providers.ethereum.blocks import read_block
from hostpay.providers.ethereum.rpc import NodeAnswerError, address, data, hash_text, quantity, record, sequence

# About three hours of blocks, which every node keeps: what a node without old states is read for instead.
_MOST_BLOCKS_READ: Final = 1_000
# EIP-1559: the only kind that we sign.
_DYNAMIC_FEE: Final = 2


class PrunedError(PermanentError):
    """The node does not keep the state after a block this old. It is no answer, and nothing follows from it."""

    code = "node_pruned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What makes the bytes whole, and the kind of transaction that we sign; fees are wei per unit of gas."""

    chain_id: int
    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int
    parity: int
    r: int
    s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTransaction:
    """A mined transaction with all that was signed. `signature` is None if it is of a kind that we do not sign."""

    tx_hash: str
    nonce: int
    from_address: str
    to_address: str | None
    value_wei: int
    data: bytes
    gas_limit: int
    block_number: int
    block_hash: str
    mined_at: datetime
    signature: Signature | None


class CountsAndShows(Protocol):
    """A node, or several as one."""

    def nonce(self, address: str, which: int) -> int: ...

    def transactions_from(self, address: str, block_number: int) -> tuple[SentTransaction, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembering:
    """A node whose blocks are read once, however many nonces are looked for."""

    node: CountsAndShows
    seen: dict[tuple[str, int], tuple[SentTransaction, ...]] = field(default_factory=dict)

    def nonce(self, address: str, which: int) -> int:
        """As the node's own."""
        return self.node.nonce(address, which)

    def transactions_from(self, address: str, block_number: int) -> tuple[SentTransaction, ...]:
        """As the node's own, of a block that was read before without asking."""
        key = address, block_number
        if key not in self.seen:
            self.seen[key] = self.node.transactions_from(address, block_number)
        return self.seen[key]


def find_by_nonce(
    node: CountsAndShows, *, sender: str, nonce: int, lowest: int, highest: int
) -> SentTransaction | None:
    """The transaction of `sender` with that nonce, mined in a block from `lowest` to `highest`.

    It steps back from the highest block, twice as far each time, and then halves what is left: some forty questions at
    most, and none about a state much older than the transaction. Where the node has pruned a state that is asked for, the
    blocks themselves are read back, so far as is bearable. None if the block in which the count passed the nonce
    has no such transaction: an authorisation signed by the sender (EIP-7702) uses up a nonce in another's transaction.

    Raises:
        TransientError: the nonce is not used up to `highest`.
        PrunedError: the node does not keep the states that were asked for, and it is in none of the blocks read instead.
        NodeAnswerError: it was used before `lowest`.
    """
    of = f"nonce {nonce} of {sender}"
    if node.nonce(sender, highest) <= nonce:
        raise TransientError(f"{of}: it is not used up to block {highest}")
    block = _block_that_used(node, sender, nonce, lowest, highest)
    if block is None:
        raise NodeAnswerError(f"{of}: it was used before block {lowest}")
    return next((sent for sent in node.transactions_from(sender, block) if sent.nonce == nonce), None)


def read_sent(value: object, *, sender: str, block_number: int) -> tuple[SentTransaction, ...]:
    """The transactions of `sender` in a block that is given in full.

    Raises:
        NodeAnswerError: it is another block, or a transaction of it is malformed.
    """
    of = f"block {block_number}"
    found = record(value, of=of)
    if read_block(found, of=of).number != block_number:
        raise NodeAnswerError(f"{of}: the answer is about another block")
    rows = [record(row, of=of) for row in sequence(found.get("transactions"), of=of)]
    ours = [row for row in rows if address(row.get("from"), of=f"{of}, from") == sender]
    mined_at = datetime.fromtimestamp(quantity(found.get("timestamp"), of=f"{of}, timestamp"), UTC)
    block_hash = hash_text(found.get("hash"), of=f"{of}, hash")
    return tuple(_sent(row, sender, block_number, block_hash, mined_at) for row in ours)


def _block_that_used(node: CountsAndShows, sender: str, nonce: int, lowest: int, highest: int) -> int | None:
    """The first block after which more than `nonce` transactions are counted; None if that is before `lowest`."""
    used, step = highest, 1
    try:
        while used > lowest and node.nonce(sender, probe := max(used - step, lowest)) > nonce:
            used, step = probe, step * 2
        if used == lowest and lowest > 0 and node.nonce(sender, lowest - 1) > nonce:
            return None
    except PrunedError as pruned:
        return _block_by_reading(node, sender=sender, nonce=nonce, lowest=lowest, used=used, pruned=pruned)
    # After `unused` it was still free. Where the steps came down to the lowest block, that one has it.
    unused = max(used - step, lowest) if used > lowest else lowest - 1
    while used - unused > 1:
        middle = (used + unused) // 2
        used, unused = (middle, unused) if node.nonce(sender, middle) > nonce else (used, middle)
    return used


def _block_by_reading(
    node: CountsAndShows, *, sender: str, nonce: int, lowest: int, used: int, pruned: PrunedError
) -> int:
    """The block with the transaction, of which only is known that it is not after `used`."""
    last = max(used - _MOST_BLOCKS_READ + 1, lowest)
    for number in range(used, last - 1, -1):
        if any(sent.nonce == nonce for sent in node.transactions_from(sender, number)):
            return number
    raise PrunedError(f"{pruned}; it is in none of the blocks {last} to {used}, which were read instead")


def _sent(
    row: Mapping[str, Any], sender: str, block_number: int, block_hash: str, mined_at: datetime
) -> SentTransaction:
    of = f"transaction {row.get('hash')}"
    to = row.get("to")
    return SentTransaction(
        tx_hash=hash_text(row.get("hash"), of=of),
        nonce=quantity(row.get("nonce"), of=f"{of}, nonce"),
        from_address=sender,
        to_address=None if to is None else address(to, of=f"{of}, to"),
        value_wei=quantity(row.get("value"), of=f"{of}, value"),
        data=data(row.get("input"), of=f"{of}, input"),
        gas_limit=quantity(row.get("gas"), of=f"{of}, gas"),
        block_number=block_number,
        block_hash=block_hash,
        mined_at=mined_at,
        signature=_signature(row, of=of),
    )


def _signature(row: Mapping[str, Any], *, of: str) -> Signature | None:
    if quantity(row.get("type"), of=f"{of}, type") != _DYNAMIC_FEE or row.get("accessList"):
        return None
    # Older nodes say only `v`, which is the parity here.
    parity = row["yParity"] if "yParity" in row else row.get("v")
    return Signature(
        chain_id=quantity(row.get("chainId"), of=f"{of}, chainId"),
        max_fee_per_gas_wei=quantity(row.get("maxFeePerGas"), of=f"{of}, maxFeePerGas"),
        max_priority_fee_per_gas_wei=quantity(row.get("maxPriorityFeePerGas"), of=f"{of}, maxPriorityFeePerGas"),
        parity=quantity(parity, of=f"{of}, yParity"),
        r=quantity(row.get("r"), of=f"{of}, r"),
        s=quantity(row.get("s"), of=f"{of}, s"),
    )
