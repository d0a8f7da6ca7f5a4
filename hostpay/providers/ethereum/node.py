"""An Ethereum node: what we ask it, and the one thing we tell it. A failed question never becomes 0, None or False."""

from __future__ import annotations

from typing import Any, Final, Literal

from eth_utils.crypto import keccak

from config.lib.errors import OutcomeUnknownError, PermanentError, RateLimitedError, TransientError
from hostpay.providers.addresses import is_hash
from hostpay.providers.ethereum.blocks import (
    BlockRef,
    ChainTransaction,
    FeeQuote,
    Receipt,
    read_block,
    read_fee_history,
    read_logs,
    read_receipt,
    read_traced_wei,
    read_transaction,
)
from hostpay.providers.ethereum.broadcasts import BroadcastOutcome, BroadcastResult, outcome_of
from hostpay.providers.ethereum.history import PrunedError, SentTransaction, read_sent
from hostpay.providers.ethereum.rpc import NodeAnswerError, Rpc, RpcRefusal, data, error_of, quantity
from hostpay.providers.ethereum.transfers import TRANSFER_TOPIC, TransferLog, topic_of, transfers_among

BlockTag = Literal["latest", "safe", "finalized", "pending"]

_FEE_BLOCKS: Final = 5
# Of a block's transactions.
_HASHES_ONLY: Final = False
_IN_FULL: Final = True
# How nodes say that they do not keep the state after an old block: geth, Erigon, Nethermind, Besu, Reth, anvil.
_PRUNED: Final = (
    "missing trie node",
    "historical state",
    "state is not available",
    "state not available",
    "state unavailable",
    "no state available",
    "world state",
    "pruned",
    "blockoutofrange",
    "required data unavailable",
)
_BALANCE_OF: Final = "0x70a08231"
"""First four bytes of keccak of `balanceOf(address)`."""
_DECIMALS: Final = "0x313ce567"
"""The same of `decimals()`."""


class InsufficientFundsError(TransientError):
    """The sender has too little for value and gas; it works once the wallet is topped up."""

    code = "insufficient_funds"


class WouldRevertError(PermanentError):
    """The receiver is a contract that refuses the transfer."""

    code = "would_revert"


class EthereumNode:
    """A node behind its RPC address.

    Raises (by every method): TransientError when asking later may work, PermanentError when it will not.
    """

    def __init__(self, *, rpc_url: str, timeout_s: int) -> None:
        self._rpc = Rpc(rpc_url=rpc_url, timeout_s=timeout_s)

    def chain_id(self) -> int:
        return quantity(self._rpc.ask("eth_chainId"), of="eth_chainId")

    def block_number(self) -> int:
        """Of the latest block."""
        return quantity(self._rpc.ask("eth_blockNumber"), of="eth_blockNumber")

    def finalized_block_number(self) -> int:
        """Of the latest block the chain's own consensus has made final."""
        return self.block("finalized").number

    def block(self, which: int | BlockTag) -> BlockRef:
        """The block of that number or tag in the chain as the node sees it now.

        Raises:
            TransientError: the node has no such block, or not yet.
        """
        of = f"block {which}"
        found = self._rpc.ask("eth_getBlockByNumber", hex(which) if isinstance(which, int) else which, _HASHES_ONLY)
        if found is None:
            raise TransientError(f"{of}: the node does not have it")
        block = read_block(found, of=of)
        if isinstance(which, int) and block.number != which:
            raise NodeAnswerError(f"{of}: the answer is about block {block.number}")
        return block

    def nonce(self, address: str, which: int | BlockTag = "latest") -> int:
        """How many transactions of the address are in the chain up to that block; with `pending`, in the pool as well.

        Raises:
            PrunedError: the block is older than what the node keeps.
        """
        of = f"nonce of {address}"
        return quantity(self._ask_at(which, "eth_getTransactionCount", address, of=of), of=of)

    def balance_wei(self, address: str, which: int | BlockTag = "latest") -> int:
        """What the address has after that block.

        Raises:
            PrunedError: the block is older than what the node keeps.
        """
        of = f"balance of {address}"
        return quantity(self._ask_at(which, "eth_getBalance", address, of=of), of=of)

    def transactions_from(self, address: str, block_number: int) -> tuple[SentTransaction, ...]:
        """The transactions of the address in that block.

        Raises:
            TransientError: the node has no such block, or not yet.
        """
        of = f"transactions of block {block_number}"
        found = self._rpc.ask("eth_getBlockByNumber", hex(block_number), _IN_FULL)
        if found is None:
            raise TransientError(f"{of}: the node does not have it")
        return read_sent(found, sender=address, block_number=block_number)

    def balance_at(self, address: str, number: int) -> int | None:
        """The balance after that block; None if the node does not keep it any more."""
        try:
            found = self._rpc.call("eth_getBalance", address, hex(number), has_effect=False)
        except RpcRefusal as refusal:
            _raise_if_overrun("eth_getBalance", refusal)
            return None
        return quantity(found, of=f"balance of {address} after block {number}")

    def traced_wei(self, tx_hash: str, to: str) -> int | None:
        """What a mined transaction brought to `to` in ether, from inside of contracts as well; None if it is not traced."""
        method = "debug_traceTransaction"
        try:
            found = self._rpc.call(method, _hash(tx_hash), {"tracer": "callTracer"}, has_effect=False)
        except RpcRefusal as refusal:
            _raise_if_overrun(method, refusal)
            return None
        return read_traced_wei(found, to=to, of=f"trace of {tx_hash}")

    def code(self, address: str) -> bytes:
        """The contract at the address; empty for an account."""
        return data(self._rpc.ask("eth_getCode", address, "latest"), of=f"code at {address}")

    def fee_quote(self) -> FeeQuote:
        """What a unit of gas costs now, within sane bounds.

        Raises:
            TransientError: the figures are those of no market.
        """
        return read_fee_history(self._rpc.ask("eth_feeHistory", hex(_FEE_BLOCKS), "latest", [50]), blocks=_FEE_BLOCKS)

    def estimate_gas(self, *, from_address: str, to_address: str, value_wei: int, data: bytes = b"") -> int:
        """Units of gas the transfer takes.

        Raises:
            InsufficientFundsError: the sender does not have the value and the gas.
            WouldRevertError: the receiver refuses it.
        """
        asked = {"from": from_address, "to": to_address, "value": hex(value_wei), "data": f"0x{data.hex()}"}
        try:
            return quantity(self._rpc.call("eth_estimateGas", asked, has_effect=False), of="eth_estimateGas")
        except RpcRefusal as refusal:
            message = f"gas of {value_wei} wei to {to_address}: the node answers {refusal.words}"
            if outcome_of(refusal.words) is BroadcastOutcome.INSUFFICIENT_FUNDS:
                raise InsufficientFundsError(message) from None
            if "revert" in refusal.words.lower():
                raise WouldRevertError(message) from None
            raise error_of("eth_estimateGas", refusal) from None

    def send_raw(self, raw: bytes) -> BroadcastResult:
        """Hand signed bytes to the node, once. The same bytes again cannot pay twice.

        Raises:
            OutcomeUnknownError: no answer, or one that does not tell whether the node took them.
            TransientError, PermanentError: they were surely not taken.
        """
        tx_hash = f"0x{keccak(raw).hex()}"
        try:
            answered = self._rpc.call("eth_sendRawTransaction", f"0x{raw.hex()}", has_effect=True)
        except RpcRefusal as refusal:
            outcome = outcome_of(refusal.words)
            if outcome is None:
                raise OutcomeUnknownError(
                    f"{tx_hash}: the node answers {refusal.number} {refusal.words}; it may have taken it"
                ) from None
            return BroadcastResult(outcome=outcome, tx_hash=tx_hash, detail=refusal.words)
        if not isinstance(answered, str) or answered.lower() != tx_hash:
            raise OutcomeUnknownError(f"{tx_hash}: the node confirms something else; it may have taken it")
        return BroadcastResult(outcome=BroadcastOutcome.ACCEPTED, tx_hash=tx_hash)

    def transaction(self, tx_hash: str) -> ChainTransaction | None:
        """The transaction, in a block or waiting; None if the node does not know it."""
        found = self._rpc.ask("eth_getTransactionByHash", _hash(tx_hash))
        return None if found is None else read_transaction(found, tx_hash=tx_hash)

    def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt; None while the transaction is in no block."""
        found = self._rpc.ask("eth_getTransactionReceipt", _hash(tx_hash))
        return None if found is None else read_receipt(found, tx_hash=tx_hash)

    def usdt_balance(self, contract: str, address: str, which: int | BlockTag = "latest") -> int:
        """Base units of the token at `contract` that the address has after that block.

        Raises:
            PrunedError: the block is older than what the node keeps.
        """
        call = {"to": contract, "data": _BALANCE_OF + topic_of(address)[2:]}
        of = f"balance of {address} at token {contract}"
        word = data(self._ask_at(which, "eth_call", call, of=of), of=of)
        if len(word) != 32:
            raise NodeAnswerError(f"{of}: {len(word)} bytes are no balance; there is no such token")
        return int.from_bytes(word, "big")

    def token_decimals(self, contract: str) -> int:
        """How many decimals the token at `contract` says it has."""
        of = f"decimals of token {contract}"
        word = data(self._rpc.ask("eth_call", {"to": contract, "data": _DECIMALS}, "latest"), of=of)
        if len(word) != 32:
            raise NodeAnswerError(f"{of}: {len(word)} bytes are no number; there is no such token")
        return int.from_bytes(word, "big")

    @staticmethod
    def transfers_in(receipt: Receipt, contract: str, to: str) -> tuple[TransferLog, ...]:
        """The transfers of the token at `contract` to `to` that the receipt proves; none if it reverted."""
        return transfers_among(receipt.logs, contract=contract, to=to) if receipt.ok else ()

    def transfer_logs(self, *, contract: str, to: str, from_block: int, to_block: int) -> tuple[TransferLog, ...]:
        """All transfers of the token to `to` in these blocks, both included."""
        of = f"transfers to {to} in blocks {from_block} to {to_block}"
        asked = {
            "address": contract,
            "topics": [TRANSFER_TOPIC, None, topic_of(to)],
            "fromBlock": hex(from_block),
            "toBlock": hex(to_block),
        }
        logs = read_logs(self._rpc.ask("eth_getLogs", asked), of=of)
        if any(not from_block <= log.block_number <= to_block for log in logs):
            raise NodeAnswerError(f"{of}: a log of another block")
        return transfers_among(logs, contract=contract, to=to)

    def _ask_at(self, which: int | BlockTag, method: str, asked: object, *, of: str) -> Any:
        """The answer by the state after a block, which not every node keeps for ever."""
        try:
            return self._rpc.call(method, asked, hex(which) if isinstance(which, int) else which, has_effect=False)
        except RpcRefusal as refusal:
            if isinstance(which, int) and _is_of_pruned(refusal.words):
                raise PrunedError(
                    f"{of} after block {which}: the node has pruned that state and cannot say ({refusal.words}); name an"
                    " archive node first in ETH_RPC_URLS"
                ) from None
            raise error_of(method, refusal) from None


def _is_of_pruned(words: str) -> bool:
    return any(phrase in words.lower() for phrase in _PRUNED)


def _raise_if_overrun(method: str, refusal: RpcRefusal) -> None:
    """Any other refusal says that the node does not offer this, or has pruned it."""
    error = error_of(method, refusal)
    if isinstance(error, RateLimitedError):
        raise error


def _hash(tx_hash: str) -> str:
    if not is_hash(tx_hash):
        raise PermanentError(f"{tx_hash[:80]!r} is no transaction hash")
    return tx_hash
