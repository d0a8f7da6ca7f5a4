"""Several nodes asked as if they were one. What a node has seen counts; what it has not seen counts if another agrees.

A node may lag, forget, be away, or stand on another chain. So: one on another chain is never asked; one that lags may
show what it has, but its head, its "not found" and its list of logs are left out; a block's hash, and a list of logs,
must be the same with all that answer. Where they disagree nothing is believed, and the question is asked again later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from config.lib.errors import OutcomeUnknownError, PermanentError, ProviderError, TransientError
from hostpay.providers.ethereum.blocks import BlockRef, ChainTransaction, FeeQuote, Receipt
from hostpay.providers.ethereum.broadcasts import BroadcastOutcome, BroadcastResult
from hostpay.providers.ethereum.history import SentTransaction
from hostpay.providers.ethereum.node import BlockTag, EthereumNode, InsufficientFundsError, WouldRevertError
from hostpay.providers.ethereum.transfers import TransferLog, transfers_among

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_LAG_BLOCKS: Final = 3
"""Nodes learn of a block within seconds of each other; one further behind than this stands still."""
_AGREEING: Final = 2
# A node that did not answer is left alone for so long: each step would wait for its time-out again.
_REST_S: Final = 10.0
_STEP_KNOWN_FOR_S: Final = 3.0
_CHAIN_KNOWN_FOR_S: Final = 300.0
_TAKEN: Final = (BroadcastOutcome.ACCEPTED, BroadcastOutcome.ALREADY_KNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node, looked at: `problem` is a sentence, empty if it can be relied on. Its address is secret, its name is not."""

    name: str
    chain_id: int | None
    head: int | None
    problem: str


@dataclass(slots=True, kw_only=True)
class _Member:
    name: str
    node: EthereumNode
    rests_until: float = 0.0
    chain_id: int | None = None
    chain_asked_at: float = 0.0


class NodePool:
    """The nodes behind `rpc_urls`, with the methods of one; the first is asked first. One alone is believed alone.

    Raises (by every method): TransientError when asking later may work, PermanentError when it will not.
    """

    def __init__(
        self,
        *,
        rpc_urls: Sequence[str],
        chain_id: int,
        timeout_s: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = tuple(
            _Member(name=f"node {number}", node=EthereumNode(rpc_url=url, timeout_s=timeout_s))
            for number, url in enumerate(rpc_urls, start=1)
        )
        self._chain_id = chain_id
        self._clock = clock
        self._step: tuple[float, tuple[_Member, ...]] | None = None

    def chain_id(self) -> int:
        """The chain we are to be on, if a node is; else the one that the first to answer is on."""
        if self._is_alone:
            return self._members[0].node.chain_id()
        found = self._each(self._members, self._ask_chain_id)
        return self._chain_id if self._chain_id in found else found[0]

    def block_number(self) -> int:
        """Of the latest block that every node in step has."""
        return min(self._answers(lambda node: node.block_number()))

    def finalized_block_number(self) -> int:
        """Of the latest block the chain's own consensus has made final, by every node in step."""
        return self.block("finalized").number

    def block(self, which: int | BlockTag) -> BlockRef:
        """The block of that number or tag in the chain; of a tag the lowest that a node in step names.

        Raises:
            TransientError: no node has it, or they name different blocks of that number.
        """
        found = self._answers(lambda node: node.block(which))
        if isinstance(which, int) and len({block.hash for block in found}) > 1:
            raise TransientError(f"block {which}: the nodes disagree, {_listed(block.hash for block in found)}")
        return min(found, key=lambda block: block.number)

    def nonce(self, address: str, which: int | BlockTag = "latest") -> int:
        """How many transactions of the address are in the chain: by a tag as any node has seen, by a number as all have."""
        found = self._answers(lambda node: node.nonce(address, which))
        return min(found) if isinstance(which, int) else max(found)

    def balance_wei(self, address: str, which: int | BlockTag = "latest") -> int:
        """What the address has after that block."""
        return self._first(lambda node: node.balance_wei(address, which))

    def transactions_from(self, address: str, block_number: int) -> tuple[SentTransaction, ...]:
        """The transactions of the address in that block.

        Raises:
            TransientError: no node has the block, or they show different ones.
        """
        found = self._answers(lambda node: node.transactions_from(address, block_number))
        if len(set(found)) > 1:
            raise TransientError(f"transactions of block {block_number}: the nodes disagree")
        return found[0]

    def balance_at(self, address: str, number: int) -> int | None:
        """The balance after that block; None if no node keeps it any more."""
        return self._kept(
            lambda node: node.balance_at(address, number), of=f"balance of {address} after block {number}"
        )

    def traced_wei(self, tx_hash: str, to: str) -> int | None:
        """What a mined transaction brought to `to` in ether; None if no node traces it."""
        return self._kept(lambda node: node.traced_wei(tx_hash, to), of=f"trace of {tx_hash}")

    def code(self, address: str) -> bytes:
        """The contract at the address; empty for an account."""
        return self._first(lambda node: node.code(address))

    def fee_quote(self) -> FeeQuote:
        """What a unit of gas costs now, by the first node whose figures make sense."""
        return self._first(lambda node: node.fee_quote())

    def estimate_gas(self, *, from_address: str, to_address: str, value_wei: int, data: bytes = b"") -> int:
        """Units of gas the transfer takes.

        Raises:
            InsufficientFundsError: the sender does not have the value and the gas.
            WouldRevertError: the receiver refuses it.
        """
        return self._first(
            lambda node: node.estimate_gas(
                from_address=from_address, to_address=to_address, value_wei=value_wei, data=data
            )
        )

    def send_raw(self, raw: bytes) -> BroadcastResult:
        """Hand signed bytes to one node after the other until one takes them. The same bytes again cannot pay twice.

        Raises:
            OutcomeUnknownError: none has surely taken them, and one may have.
            TransientError, PermanentError: no node has taken them.
        """
        refused: list[BroadcastResult] = []
        errors: list[ProviderError] = []
        for member in self._on_chain():
            try:
                result = self._ask(member, lambda node: node.send_raw(raw))
            except (TransientError, PermanentError) as error:
                errors.append(error)
                continue
            if result.outcome in _TAKEN:
                return result
            refused.append(result)
        unknown = [error for error in errors if isinstance(error, OutcomeUnknownError)]
        if unknown:
            raise unknown[0]
        if not refused:
            raise errors[0]
        used = [result for result in refused if result.outcome is BroadcastOutcome.NONCE_TOO_LOW]
        return (used or refused)[0]

    def transaction(self, tx_hash: str) -> ChainTransaction | None:
        """The transaction, in a block or waiting; None if two nodes in step do not know it (or the only one)."""
        return self._find(lambda node: node.transaction(tx_hash), of=f"transaction {tx_hash}")

    def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt; None if two nodes in step have none (or the only one)."""
        return self._find(lambda node: node.receipt(tx_hash), of=f"receipt {tx_hash}")

    def usdt_balance(self, contract: str, address: str, which: int | BlockTag = "latest") -> int:
        """Base units of the token at `contract` that the address has after that block."""
        return self._first(lambda node: node.usdt_balance(contract, address, which))

    def token_decimals(self, contract: str) -> int:
        """How many decimals the token at `contract` says it has."""
        return self._first(lambda node: node.token_decimals(contract))

    @staticmethod
    def transfers_in(receipt: Receipt, contract: str, to: str) -> tuple[TransferLog, ...]:
        """The transfers of the token at `contract` to `to` that the receipt proves; none if it reverted."""
        return transfers_among(receipt.logs, contract=contract, to=to) if receipt.ok else ()

    def transfer_logs(self, *, contract: str, to: str, from_block: int, to_block: int) -> tuple[TransferLog, ...]:
        """All transfers of the token to `to` in these blocks, both included.

        Raises:
            TransientError: the nodes list different ones, or only one of several lists none.
        """
        found = self._answers(
            lambda node: node.transfer_logs(contract=contract, to=to, from_block=from_block, to_block=to_block)
        )
        of = f"transfers to {to} in blocks {from_block} to {to_block}"
        if len({frozenset(logs) for logs in found}) > 1:
            raise TransientError(f"{of}: the nodes disagree, {_listed(len(logs) for logs in found)} of them")
        if not found[0] and len(found) < self._needed:
            raise TransientError(f"{of}: one node alone knows of none, and that counts only when another agrees")
        return found[0]

    def look(self) -> list[NodeView]:
        """Every node by itself, asked now; a failure is a view with a problem."""
        views = [self._look_at(member) for member in self._members]
        highest = max((view.head for view in views if view.head is not None and not view.problem), default=0)
        return [_with_lag(view, highest) for view in views]

    @property
    def _is_alone(self) -> bool:
        return len(self._members) == 1

    @property
    def _needed(self) -> int:
        """How many must say that something is not there."""
        return min(_AGREEING, len(self._members))

    def _find(self, question: Callable[[EthereumNode], T | None], *, of: str) -> T | None:
        absent: list[_Member] = []
        errors: list[ProviderError] = []
        for member in self._on_chain():
            try:
                found = self._ask(member, question)
            except (TransientError, PermanentError) as error:
                errors.append(error)
                continue
            if found is not None:
                return found
            absent.append(member)
        if not absent:
            raise errors[0]
        agreeing = absent if self._is_alone else [member for member in absent if member in self._in_step()]
        if len(agreeing) >= self._needed:
            return None
        raise TransientError(
            f"{of}: {_listed(member.name for member in absent)} of {len(self._members)} do not know it, and that counts"
            f" only when {self._needed} nodes in step agree{''.join(f'; {error}' for error in errors)}"
        )

    def _first(self, question: Callable[[EthereumNode], T]) -> T:
        errors: list[ProviderError] = []
        for member in self._in_step():
            try:
                return self._ask(member, question)
            except (InsufficientFundsError, WouldRevertError):
                # Answers, about our money: another node has no other.
                raise
            except (TransientError, PermanentError) as error:
                errors.append(error)
        raise errors[0]

    def _kept(self, question: Callable[[EthereumNode], int | None], *, of: str) -> int | None:
        """What those say that keep it; not every node keeps all of the past.

        Raises:
            TransientError: they disagree.
        """
        found = {answer for answer in self._answers(question) if answer is not None}
        if len(found) > 1:
            raise TransientError(f"{of}: the nodes disagree, {_listed(sorted(found))}")
        return next(iter(found), None)

    def _answers(self, question: Callable[[EthereumNode], T]) -> list[T]:
        return self._each(self._in_step(), lambda member: self._ask(member, question))

    @staticmethod
    def _each(members: Sequence[_Member], ask: Callable[[_Member], T]) -> list[T]:
        """The answers of those that answer, at least one; in the members' order."""
        found: list[T] = []
        errors: list[ProviderError] = []
        for member in members:
            try:
                found.append(ask(member))
            except (TransientError, PermanentError) as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return found

    def _ask(self, member: _Member, question: Callable[[EthereumNode], T]) -> T:
        try:
            return question(member.node)
        except (InsufficientFundsError, WouldRevertError):
            raise
        except TransientError:
            member.rests_until = self._clock() + _REST_S
            raise

    def _ask_chain_id(self, member: _Member) -> int:
        before = member.chain_id
        member.chain_id = self._ask(member, lambda node: node.chain_id())
        member.chain_asked_at = self._clock()
        if member.chain_id not in {self._chain_id, before}:
            logger.error("node on another chain", extra={"node": member.name, "chain_id": member.chain_id})
        return member.chain_id

    def _on_chain(self) -> tuple[_Member, ...]:
        """Those on our chain that do not rest, or all of ours if every one rests.

        Raises:
            PermanentError: none is on our chain.
            TransientError: none has told its chain.
        """
        if self._is_alone:
            return self._members
        awake = [member for member in self._members if member.rests_until <= self._clock()] or list(self._members)
        for member in awake:
            if member.chain_id is None or self._clock() - member.chain_asked_at > _CHAIN_KNOWN_FOR_S:
                self._learn_chain(member)
        ours = tuple(member for member in awake if member.chain_id == self._chain_id)
        if ours:
            return ours
        said = _listed(f"{member.name} on {member.chain_id or 'no chain that it told'}" for member in awake)
        message = f"no node is on chain {self._chain_id}: {said}"
        if any(member.chain_id is None for member in awake):
            raise TransientError(message)
        raise PermanentError(message)

    def _learn_chain(self, member: _Member) -> None:
        try:
            self._ask_chain_id(member)
        except (TransientError, PermanentError):
            # It is left out until it tells.
            member.chain_id = None

    def _in_step(self) -> tuple[_Member, ...]:
        """Those on our chain whose head is not behind the others'."""
        if self._is_alone:
            return self._members
        if self._step is not None and self._clock() - self._step[0] < _STEP_KNOWN_FOR_S:
            still = tuple(member for member in self._step[1] if member.rests_until <= self._clock())
            if still:
                return still
        heads = self._each(
            self._on_chain(), lambda member: (self._ask(member, lambda node: node.block_number()), member)
        )
        highest = max(head for head, _ in heads)
        in_step = tuple(member for head, member in heads if highest - head <= MOST_LAG_BLOCKS)
        for head, member in heads:
            if member not in in_step:
                logger.warning("node lags", extra={"node": member.name, "head": head, "highest": highest})
        self._step = (self._clock(), in_step)
        return in_step

    def _look_at(self, member: _Member) -> NodeView:
        try:
            chain_id = self._ask_chain_id(member)
            head = self._ask(member, lambda node: node.block_number())
        except (TransientError, PermanentError) as error:
            return NodeView(name=member.name, chain_id=None, head=None, problem=str(error))
        is_ours = chain_id == self._chain_id
        problem = "" if is_ours else f"it is on chain {chain_id}, and ours is {self._chain_id}"
        return NodeView(name=member.name, chain_id=chain_id, head=head, problem=problem)


def _with_lag(view: NodeView, highest: int) -> NodeView:
    if view.problem or view.head is None or highest - view.head <= MOST_LAG_BLOCKS:
        return view
    behind = f"it is at block {view.head}, {highest - view.head} behind"
    return NodeView(name=view.name, chain_id=view.chain_id, head=view.head, problem=behind)


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))
