"""The exchange's books: one SQLite file, so that a killed exchange goes on where it was.

Amounts are kept as text, since SQLite's integers end at 2^63 and its decimals are floats. Times are milliseconds since
1970, UTC.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hostpay.sandbox.exchange.assets import BY_KEY, Currency
from hostpay.sandbox.exchange.outcomes import Outcome
from hostpay.sandbox.exchange.settings import Settings

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS exchanges (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL, owner TEXT NOT NULL,
    parent_id TEXT, relation TEXT, status TEXT NOT NULL, status_since_ms INTEGER NOT NULL, due_ms INTEGER,
    frozen INTEGER NOT NULL DEFAULT 0, source TEXT NOT NULL, target TEXT NOT NULL, flow TEXT NOT NULL,
    type TEXT NOT NULL, expected_from TEXT NOT NULL, expected_to TEXT NOT NULL, payin_address TEXT NOT NULL,
    payout_address TEXT NOT NULL, payout_extra_id TEXT, refund_address TEXT, refund_extra_id TEXT, user_id TEXT,
    payload TEXT, rate_id TEXT, valid_until_ms INTEGER, expires_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL, deposit_received_ms INTEGER, amount_from_units TEXT, payin_hash TEXT, amount_to TEXT,
    payout_hash TEXT, refund_hash TEXT, refund_amount TEXT, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deposits (
    tx_hash TEXT NOT NULL, log_index INTEGER NOT NULL, exchange_id TEXT NOT NULL UNIQUE, ticker TEXT NOT NULL,
    units TEXT NOT NULL, block_number INTEGER NOT NULL, PRIMARY KEY (tx_hash, log_index)
);
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, exchange_id TEXT NOT NULL, purpose TEXT NOT NULL, leg INTEGER NOT NULL,
    nonce INTEGER UNIQUE, raw TEXT, tx_hash TEXT NOT NULL UNIQUE, mined_block INTEGER, final INTEGER NOT NULL DEFAULT 0,
    sent_ms INTEGER NOT NULL DEFAULT 0, UNIQUE (exchange_id, purpose, leg)
);
CREATE TABLE IF NOT EXISTS rates (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL, from_amount TEXT NOT NULL,
    to_amount TEXT NOT NULL, expires_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0
);
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A row of `exchanges`, as it was read."""

    seq: int
    id: str
    request_id: str
    owner: str
    parent_id: str | None
    relation: str | None
    status: str
    status_since_ms: int
    due_ms: int | None
    frozen: int
    source: str
    target: str
    flow: str
    type: str
    expected_from: str
    expected_to: str
    payin_address: str
    payout_address: str
    payout_extra_id: str | None
    refund_address: str | None
    refund_extra_id: str | None
    user_id: str | None
    payload: str | None
    rate_id: str | None
    valid_until_ms: int | None
    expires_ms: int
    created_ms: int
    updated_ms: int
    deposit_received_ms: int | None
    amount_from_units: str | None
    payin_hash: str | None
    amount_to: str | None
    payout_hash: str | None
    refund_hash: str | None
    refund_amount: str | None
    outcome: str

    @property
    def source_currency(self) -> Currency:
        return currency_of(self.source)

    @property
    def target_currency(self) -> Currency:
        return currency_of(self.target)

    @property
    def plan(self) -> Outcome:
        return Outcome.parse(json.loads(self.outcome))


@dataclass(frozen=True, kw_only=True)
class Payment:
    """A row of `payments`: a signed transaction, or the pretence of one on another network (no nonce, no bytes)."""

    id: int
    exchange_id: str
    purpose: str
    leg: int
    nonce: int | None
    raw: str | None
    tx_hash: str
    mined_block: int | None
    final: int
    sent_ms: int


def key_of(currency: Currency) -> str:
    return f"{currency.ticker}/{currency.network}"


def currency_of(key: str) -> Currency:
    ticker, network = key.split("/")
    return BY_KEY[ticker, network]


class Store:
    """One connection, one thread at a time; `transaction` holds it for several statements."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def execute(self, sql: str, *values: Any) -> int:
        """Runs a statement and returns how many rows it touched."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> Sequence[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def meta(self, key: str) -> str | None:
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(found[0]["value"]) if found else None

    def set_meta(self, key: str, value: str) -> None:
        self.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value
        )

    def settings(self, base: Settings) -> Settings:
        """The settings given at the start, with what was changed since."""
        return base.changed(json.loads(self.meta("settings") or "{}"))

    def exchanges(self, where: str = "1", *values: Any) -> list[Exchange]:
        """`where` is one of our own conditions, never a caller's text."""
        found = self.rows(f"SELECT * FROM exchanges WHERE {where} ORDER BY seq", *values)  # noqa: S608 (see above)
        return [Exchange(**dict(row)) for row in found]

    def exchange(self, exchange_id: str) -> Exchange | None:
        found = self.exchanges("id = ?", exchange_id)
        return found[0] if found else None

    def add_exchange(self, **columns: Any) -> None:
        self.insert("exchanges", **columns)

    def insert(self, table: str, **columns: Any) -> int:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 (our own names)
        return self.execute(sql, *columns.values())

    def update(self, exchange: Exchange, **columns: Any) -> bool:
        """Writes if the exchange still has the status it was read with and nobody froze it. Says whether it did."""
        columns["updated_ms"] = now_ms()
        if "status" in columns:
            columns.setdefault("status_since_ms", columns["updated_ms"])
        assignments = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE exchanges SET {assignments} WHERE id = ? AND status = ? AND frozen = 0"  # noqa: S608 (our names)
        return self.execute(sql, *columns.values(), exchange.id, exchange.status) == 1

    def payments(self, where: str, *values: Any) -> list[Payment]:
        found = self.rows(f"SELECT * FROM payments WHERE {where} ORDER BY id", *values)  # noqa: S608 (our own text)
        return [Payment(**dict(row)) for row in found]

    def forget_everything(self) -> None:
        """Back to the first start, but for what is known of the chain."""
        with self.transaction():
            for table in ("exchanges", "deposits", "payments", "rates", "faults"):
                self.execute(f"DELETE FROM {table}")  # noqa: S608 (names just above)
            self.execute("DELETE FROM meta WHERE key = 'settings'")

    def close(self) -> None:
        with self._lock:
            self._db.close()


def amount_from(exchange: Exchange) -> Decimal | None:
    """What really arrived, in whole coins."""
    if exchange.amount_from_units is None:
        return None
    return Decimal(exchange.amount_from_units).scaleb(-exchange.source_currency.decimals)
