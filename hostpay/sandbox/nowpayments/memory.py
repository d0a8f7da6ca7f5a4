"""What the provider does not forget when it is killed: its payments, in one file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hostpay.sandbox.exchange.numbers import dumps

_TABLE = """
    CREATE TABLE IF NOT EXISTS payment (
        payment_id INTEGER PRIMARY KEY, callback_url TEXT NOT NULL, ahead TEXT NOT NULL, fields TEXT NOT NULL
    )
"""


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """One payment as it is kept."""

    payment_id: int
    callback_url: str
    ahead: list[str]
    fields: dict[str, Any]


class Memory:
    """A file, or without one what lasts as long as the process. The caller lets one thread in at a time."""

    def __init__(self, path: Path | None = None) -> None:
        # Each statement is a transaction of its own, and what it wrote outlives the process.
        self._database = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        # Not the machine: the sandbox need not survive a power cut, and would wait for the disk at every step.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_TABLE)

    def all(self) -> Iterator[Remembered]:
        """Every payment, oldest first."""
        for payment_id, callback_url, ahead, fields in self._database.execute(
            "SELECT payment_id, callback_url, ahead, fields FROM payment ORDER BY payment_id"
        ):
            yield Remembered(
                payment_id=payment_id,
                callback_url=callback_url,
                ahead=json.loads(ahead),
                fields=json.loads(fields, parse_float=Decimal),
            )

    def keep(self, payment: Remembered) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO payment VALUES (?, ?, ?, ?)",
            (payment.payment_id, payment.callback_url, json.dumps(payment.ahead), dumps(payment.fields)),
        )
