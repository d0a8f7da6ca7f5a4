"""The customers: somebody pays every few seconds, and now and then as customers do."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Final

from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.nowpayments.books import Books, Manner

# The clients that the sandbox is seeded with.
SHOPS: Final = ("demo-bakery", "demo-bookshop", "demo-radio")
_PRICES_USD: Final = tuple(
    map(Decimal, ("4.20", "1.95", "6.50", "3.10", "9.90", "2.75", "5.40", "0.85", "7.30", "4.65"))
)
_CUSTOMERS: Final = 40


_AS_SET: Final = Manner()


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """What is odd about a payment. `again`: the customer before sends more to the same address instead."""

    case: str = "success"
    manner: Manner = _AS_SET
    again: bool = False


# Of so many payments, these are odd: a newcomer sees each kind within minutes, and "Needs me" stays short.
_ROUND: Final = 40
_ODD: Final[Mapping[int, _Turn]] = {
    3: _Turn(manner=Manner(duplicates=2)),
    7: _Turn(manner=Manner(reorder=True)),
    12: _Turn(case="partially_paid"),
    18: _Turn(again=True),
    23: _Turn(case="expired"),
    29: _Turn(manner=Manner(reorder=True, duplicates=1)),
    34: _Turn(case="failed"),
}
_PLAIN: Final = _Turn()


class Customers:
    """Pay from a thread of their own, about every `every_s` seconds; never, if it is 0."""

    def __init__(self, books: Books, *, every_s: Decimal) -> None:
        self._books = books
        self._every_s = every_s
        self._chance = random.Random()  # noqa: S311 (the pace of a sandbox)
        self._latest: int | None = None

    def run(self, stopping: threading.Event) -> None:
        """Until `stopping` is set."""
        if self._every_s <= 0:
            return
        for number in count():
            self.pay(number)
            if stopping.wait(self._pause_s()):
                return

    def pay(self, number: int) -> int:
        """The payment that comes as the `number`-th; says which the provider made of it."""
        turn, price = _ODD.get(number % _ROUND, _PLAIN), _PRICES_USD[number % len(_PRICES_USD)]
        if turn.again and self._latest is not None:
            amount = price / self._books.settings.price_eth_usd
            payment = self._books.deposit(self._latest, amount.quantize(Decimal("1E-8")))
        else:
            wanted = {
                "price_amount": price,
                "price_currency": "usd",
                "order_id": f"{SHOPS[number % len(SHOPS)]}:customer-{number % _CUSTOMERS}",
                "order_description": "Paid in the sandbox",
                "case": turn.case,
            }
            payment = self._books.create(wanted, manner=turn.manner)
        self._latest = int(payment.fields["payment_id"])
        log("customer_pays", payment=self._latest, usd=f"{price:f}")
        return self._latest

    def _pause_s(self) -> float:
        """Between half the pace and one and a half of it, as people come."""
        return int(self._every_s * self._chance.randint(500, 1500)) / 1000
