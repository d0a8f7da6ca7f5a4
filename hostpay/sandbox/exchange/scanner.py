"""Finds deposits: reads every block once, and again after a reorganisation."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.store import Exchange, Store, now_ms
from hostpay.sandbox.prepare import Sandbox
from hostpay.sandbox.rpc import TRANSFER_TOPIC, Node

REWIND_BLOCKS = 64
BLOCKS_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Money that reached an address. A coin has no log; its index is -1."""

    tx_hash: str
    log_index: int
    ticker: str
    to: str
    units: int
    block_number: int


class Scanner:
    """`scan` raises NodeError and NodeAwayError; what it had read by then is kept."""

    def __init__(self, node: Node, store: Store, sandbox: Sandbox) -> None:
        self._node = node
        self._store = store
        self._sandbox = sandbox

    def start_at(self, head: int) -> None:
        """New books begin at the head: their addresses are new, so nothing older can matter."""
        if self._store.meta("last_block") is None:
            self._remember(head)

    def scan(self, head: int) -> None:
        last = self._last_known_block(head)
        end = min(head, last + BLOCKS_AT_ONCE)
        if end <= last:
            return
        watched = {exchange.payin_address.lower(): exchange for exchange in self._store.exchanges("parent_id IS NULL")}
        for arrival in self._arrivals(last + 1, end, set(watched)):
            self._record(watched[arrival.to], arrival)
        self._remember(end)

    def _last_known_block(self, head: int) -> int:
        last = int(self._store.meta("last_block") or head)
        if self._node.block_hash(last) == self._store.meta("last_hash"):
            return last
        log("chain_reorganised", last_block=last, head=head)
        return max(min(last, head) - REWIND_BLOCKS, -1)

    def _remember(self, number: int) -> None:
        block_hash = self._node.block_hash(number)
        if block_hash is not None:
            with self._store.transaction():
                self._store.set_meta("last_block", str(number))
                self._store.set_meta("last_hash", block_hash)

    def _arrivals(self, first: int, last: int, watched: set[str]) -> Iterator[Arrival]:
        for number in range(first, last + 1):
            block = self._node.call("eth_getBlockByNumber", hex(number), True)  # noqa: FBT003 (whole transactions)
            for transaction in (block or {}).get("transactions", []):
                arrival = self._coin(transaction, number, watched)
                if arrival is not None:
                    yield arrival
        wanted = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": self._sandbox.usdt_contract_address,
            "topics": [TRANSFER_TOPIC],
        }
        for entry in self._node.call("eth_getLogs", wanted):
            to = "0x" + entry["topics"][2][-40:]
            if to in watched:
                yield Arrival(
                    tx_hash=entry["transactionHash"],
                    log_index=int(entry["logIndex"], 16),
                    ticker="usdt",
                    to=to,
                    units=int(entry["data"], 16),
                    block_number=int(entry["blockNumber"], 16),
                )

    def _coin(self, transaction: dict[str, Any], number: int, watched: set[str]) -> Arrival | None:
        to, value = (transaction["to"] or "").lower(), int(transaction["value"], 16)
        if to not in watched or value == 0:
            return None
        receipt = self._node.receipt(transaction["hash"])
        if receipt is None or int(receipt["status"], 16) != 1:
            return None
        return Arrival(tx_hash=transaction["hash"], log_index=-1, ticker="eth", to=to, units=value, block_number=number)

    def _record(self, exchange: Exchange, arrival: Arrival) -> None:
        """The first deposit in the right currency is the exchange's own; any other becomes an exchange of its own."""
        key = (arrival.tx_hash, arrival.log_index)
        with self._store.transaction():
            moved = self._store.execute(
                "UPDATE deposits SET block_number = ? WHERE tx_hash = ? AND log_index = ?", arrival.block_number, *key
            )
            if moved:
                return
            right = arrival.ticker == exchange.source_currency.ticker
            owner = exchange.id
            if not right or self._store.rows("SELECT 1 FROM deposits WHERE exchange_id = ?", exchange.id):
                owner = self._add_child(exchange, arrival, "repeated" if right else "related")
            self._store.insert(
                "deposits",
                tx_hash=arrival.tx_hash,
                log_index=arrival.log_index,
                exchange_id=owner,
                ticker=arrival.ticker,
                units=str(arrival.units),
                block_number=arrival.block_number,
            )
        log("deposit_seen", exchange=owner, tx=arrival.tx_hash, units=arrival.units, ticker=arrival.ticker)

    def _add_child(self, parent: Exchange, arrival: Arrival, relation: str) -> str:
        now = now_ms()
        child = replace(
            parent,
            id=secrets.token_hex(7),
            request_id=secrets.token_hex(7),
            parent_id=parent.id,
            relation=relation,
            source=f"{arrival.ticker}/eth",
            status="waiting",
            status_since_ms=now,
            due_ms=None,
            frozen=0,
            flow="standard",
            rate_id=None,
            valid_until_ms=None,
            expires_ms=now + 3_600_000,
            created_ms=now,
            updated_ms=now,
            deposit_received_ms=None,
            amount_from_units=None,
            payin_hash=None,
            amount_to=None,
            payout_hash=None,
            refund_hash=None,
            refund_amount=None,
            outcome=json.dumps({}),
        )
        columns = asdict(child)
        del columns["seq"]
        self._store.add_exchange(**columns)
        return child.id
