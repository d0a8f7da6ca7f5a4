"""A chain in memory: blocks, a pool of transactions, reorganisations, and the JSON-RPC methods that our node client asks.

It keeps no more of Ethereum than money needs: plain transfers, one token's Transfer events, nonces, balances, base fees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

CHAIN_ID: Final = 31337
USDT: Final = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
_TRANSFER: Final = "0x" + keccak(b"Transfer(address,address,uint256)").hex()
_GAS: Final = 21_000
_GWEI: Final = 10**9
_BUMP: Final = (110, 100)
_NORMAL_BASE_FEE: Final = _GWEI


class RefusedCallError(Exception):
    """The node answers with an error, in geth's words."""


@dataclass(frozen=True, kw_only=True)
class Tx:
    """A transaction of ours (with `raw`), or of somebody in the simulated world (without)."""

    hash: str
    sender: str
    to: str
    value: int
    nonce: int = 0
    raw: bytes = b""
    max_fee: int = 10**15
    tip: int = 0
    usdt: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Block:
    number: int
    hash: str
    base_fee: int
    timestamp: int
    txs: tuple[Tx, ...]


@dataclass
class Chain:
    """`funds` is what each account has at the beginning, in wei."""

    random: Random
    funds: dict[str, int]
    base_fee: int = _NORMAL_BASE_FEE
    blocks: list[Block] = field(default_factory=list)
    pool: list[Tx] = field(default_factory=list)
    salt: int = 0

    def __post_init__(self) -> None:
        self.mine()

    # --- The world's hands -------------------------------------------------------------------------------------------

    def mine(self, *, empty: bool = False) -> Block:
        """One more block, with what fits into it; an empty one leaves the pool waiting."""
        self.salt += 1
        number = len(self.blocks)
        taken: list[Tx] = []
        for tx in [] if empty else sorted(self.pool, key=lambda tx: (tx.nonce, -tx.max_fee)):
            if self._fits(tx, taken):
                taken.append(tx)
        block = Block(
            number=number,
            hash=_hash_of("block", number, self.salt),
            base_fee=self.base_fee,
            timestamp=1_767_225_600 + 12 * self.salt,
            txs=tuple(taken),
        )
        self.blocks.append(block)
        used = {(tx.sender, tx.nonce) for tx in taken if tx.raw}
        hashes = {tx.hash for tx in taken}
        self.pool = [tx for tx in self.pool if tx.hash not in hashes and (tx.sender, tx.nonce) not in used]
        return block

    def reorganise(self, depth: int) -> None:
        """The last blocks are replaced by as many others and one more; what was in them waits again, or is lost."""
        depth = min(depth, len(self.blocks) - 1)
        gone = [tx for block in self.blocks[len(self.blocks) - depth :] for tx in block.txs]
        del self.blocks[len(self.blocks) - depth :]
        # A node may lose what it un-mines; what the provider sent, the provider sends again.
        self.pool += [tx for tx in gone if not tx.raw or self.random.random() < 0.6]
        for _ in range(depth + 1):
            self.mine(empty=self.random.random() < 0.5)

    def drop(self) -> bool:
        """The pool forgets a transaction of ours."""
        ours = [tx for tx in self.pool if tx.raw]
        self.pool = [tx for tx in self.pool if not tx.raw]
        return bool(ours)

    def pay(self, *, sender: str, to: str, value: int = 0, usdt: tuple[tuple[str, int], ...] = ()) -> str:
        """Somebody of the world sends ether, or USDT to some; returns the transaction's hash."""
        self.salt += 1
        tx = Tx(hash=_hash_of("tx", self.salt, to), sender=sender.lower(), to=to.lower(), value=value, usdt=usdt)
        self.pool.append(tx)
        return tx.hash

    def found(self, tx_hash: str) -> tuple[Block, Tx] | None:
        """Where the transaction is mined."""
        for block in reversed(self.blocks):
            for tx in block.txs:
                if tx.hash == tx_hash:
                    return block, tx
        return None

    def mined_to(self, address: str) -> list[tuple[Block, Tx]]:
        return [(block, tx) for block in self.blocks for tx in block.txs if tx.to == address.lower()]

    def mined_from(self, address: str) -> list[Tx]:
        return [tx for block in self.blocks for tx in block.txs if tx.raw and tx.sender == address.lower()]

    def confirmations(self, block: Block) -> int:
        return len(self.blocks) - block.number

    # --- What a node is asked ----------------------------------------------------------------------------------------

    def answer(self, method: str, params: list[Any]) -> Any:
        """The result of a JSON-RPC call. Raises RefusedCallError."""
        return _METHODS[method](self, *params)

    def balance(self, address: str) -> int:
        owner = address.lower()
        wei = self.funds.get(owner, 0)
        for block in self.blocks:
            for tx in block.txs:
                wei += tx.value if tx.to == owner else 0
                if tx.raw and tx.sender == owner:
                    wei -= tx.value + _GAS * min(tx.max_fee, block.base_fee + tx.tip)
        return wei

    def usdt_balance(self, address: str) -> int:
        owner = address.lower()
        return sum(u for block in self.blocks for tx in block.txs for to, u in tx.usdt if to.lower() == owner)

    def nonce(self, address: str, tag: str = "latest") -> int:
        mined = len(self.mined_from(address))
        if tag == "pending":
            waiting = {tx.nonce for tx in self.pool if tx.raw and tx.sender == address.lower()}
            while mined in waiting:
                mined += 1
        elif tag.startswith("0x"):
            return sum(
                1
                for block in self.blocks[: int(tag, 16) + 1]
                for tx in block.txs
                if tx.raw and tx.sender == address.lower()
            )
        return mined

    def send(self, text: str) -> str:
        raw = bytes.fromhex(text[2:])
        said = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        tx = Tx(
            hash="0x" + keccak(raw).hex(),
            sender=Account.recover_transaction(raw).lower(),
            to="0x" + bytes(said["to"]).hex(),
            value=said["value"],
            nonce=said["nonce"],
            raw=raw,
            max_fee=said["maxFeePerGas"],
            tip=said["maxPriorityFeePerGas"],
        )
        if any(tx.hash == known.hash for known in self.pool):
            raise RefusedCallError("already known")
        if tx.nonce < self.nonce(tx.sender):
            raise RefusedCallError("nonce too low")
        if self.balance(tx.sender) < tx.value + _GAS * tx.max_fee:
            raise RefusedCallError("insufficient funds for gas * price + value")
        self._replace(tx)
        self.pool.append(tx)
        return tx.hash

    def _replace(self, tx: Tx) -> None:
        for rival in [
            other for other in self.pool if other.raw and (other.sender, other.nonce) == (tx.sender, tx.nonce)
        ]:
            if tx.max_fee * _BUMP[1] < rival.max_fee * _BUMP[0] or tx.tip * _BUMP[1] < rival.tip * _BUMP[0]:
                raise RefusedCallError("replacement transaction underpriced")
            self.pool.remove(rival)

    def _fits(self, tx: Tx, taken: list[Tx]) -> bool:
        if not tx.raw:
            return True
        before = self.nonce(tx.sender) + sum(1 for other in taken if other.raw and other.sender == tx.sender)
        return tx.nonce == before and tx.max_fee >= self.base_fee

    def _block(self, which: str, _full: object) -> dict[str, str] | None:
        heights = {"latest": len(self.blocks) - 1, "pending": len(self.blocks) - 1}
        final = max(0, len(self.blocks) - 4)
        number = heights.get(which, final) if not which.startswith("0x") else int(which, 16)
        if number >= len(self.blocks):
            return None
        block = self.blocks[number]
        return {
            "number": hex(block.number),
            "hash": block.hash,
            "timestamp": hex(block.timestamp),
            "baseFeePerGas": hex(block.base_fee),
        }

    def _fee_history(self, count: str, _newest: str, _percentiles: list[int]) -> dict[str, Any]:
        last = self.blocks[-int(count, 16) :]
        return {
            "oldestBlock": hex(last[0].number),
            "baseFeePerGas": [*(hex(block.base_fee) for block in last), hex(self.base_fee)],
            "reward": [[hex(_GWEI)] for _ in last],
            "gasUsedRatio": [0.5 for _ in last],
        }

    def _estimate(self, asked: dict[str, str]) -> str:
        if self.balance(asked["from"]) < int(asked["value"], 16):
            raise RefusedCallError("insufficient funds for transfer")
        return hex(_GAS)

    def _transaction(self, tx_hash: str) -> dict[str, Any] | None:
        mined = self.found(tx_hash)
        tx = mined[1] if mined else next((tx for tx in self.pool if tx.hash == tx_hash), None)
        if tx is None:
            return None
        return {
            "hash": tx.hash,
            "nonce": hex(tx.nonce),
            "from": to_checksum_address(tx.sender),
            "to": to_checksum_address(tx.to),
            "value": hex(tx.value),
            "blockNumber": hex(mined[0].number) if mined else None,
            "blockHash": mined[0].hash if mined else None,
        }

    def _receipt(self, tx_hash: str) -> dict[str, Any] | None:
        mined = self.found(tx_hash)
        if mined is None:
            return None
        block, tx = mined
        return {
            "transactionHash": tx.hash,
            "blockNumber": hex(block.number),
            "blockHash": block.hash,
            "status": "0x1",
            "gasUsed": hex(_GAS),
            "effectiveGasPrice": hex(min(tx.max_fee, block.base_fee + tx.tip)),
            "from": to_checksum_address(tx.sender),
            "to": to_checksum_address(tx.to),
            "logs": _logs(block, tx),
        }

    def _get_logs(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
        topics = asked["topics"]
        return [
            log
            for block in self.blocks[first : last + 1]
            for tx in block.txs
            for log in _logs(block, tx)
            if all(wanted is None or wanted == said for wanted, said in zip(topics, log["topics"], strict=False))
        ]

    def _trace(self, _tx_hash: str, _how: object) -> None:
        raise RefusedCallError("the method debug_traceTransaction does not exist")

    def _call(self, asked: dict[str, str], _tag: str) -> str:
        return "0x" + f"{self.usdt_balance('0x' + asked['data'][-40:]):064x}"


def address_of(*what: object) -> str:
    """An address of nobody's, always the same for the same words."""
    return str(to_checksum_address(_hash_of("address", *what)[-40:]))


def _hash_of(*what: object) -> str:
    return "0x" + keccak(":".join(map(str, what)).encode()).hex()


def _logs(block: Block, tx: Tx) -> list[dict[str, Any]]:
    return [
        {
            "address": USDT,
            "topics": [_TRANSFER, *("0x" + "0" * 24 + party[2:].lower() for party in (tx.sender, to))],
            "data": f"0x{units:064x}",
            "transactionHash": tx.hash,
            "logIndex": hex(index),
            "blockNumber": hex(block.number),
            "blockHash": block.hash,
        }
        for index, (to, units) in enumerate(tx.usdt)
    ]


_METHODS: dict[str, Callable[..., Any]] = {
    "eth_chainId": lambda _chain: hex(CHAIN_ID),
    "eth_blockNumber": lambda chain: hex(len(chain.blocks) - 1),
    "eth_getBlockByNumber": Chain._block,
    "eth_getTransactionCount": lambda chain, address, tag: hex(chain.nonce(address, tag)),
    "eth_getBalance": lambda chain, address, _tag: hex(chain.balance(address)),
    "eth_getCode": lambda _chain, address, _tag: "0x60" if address.lower() == USDT.lower() else "0x",
    "eth_feeHistory": Chain._fee_history,
    "eth_estimateGas": Chain._estimate,
    "eth_sendRawTransaction": Chain.send,
    "eth_getTransactionByHash": Chain._transaction,
    "eth_getTransactionReceipt": Chain._receipt,
    "eth_getLogs": Chain._get_logs,
    "eth_call": Chain._call,
    "debug_traceTransaction": Chain._trace,
}
