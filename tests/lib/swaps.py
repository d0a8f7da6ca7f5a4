"""One exchange after the other, seen from our side and from the exchange's own books."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from config.lib.audit import Actor, admin
from hostpay.models import Context, ExchangeOrder, HostPayment
from hostpay.services import request_payment
from tests.lib.world import WORKER, World, make_due

OPERATOR: Actor = admin("olga")
SECOND: Actor = admin("otto")
# The sandbox's price in these tests is 2000 dollars an ether.
WEI_PER_USD = 5 * 10**14
_PATIENCE_S = 120.0
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Swaps:
    """Host payments that nobody is told the end of, worth what they expect."""

    world: World

    def request(self, usd: int = 30, **columns: Any) -> HostPayment:
        """One payment of so many dollars' ether."""
        wanted: dict[str, Any] = {
            "context": Context.INSTANT,
            "reference": f"swap-{next(_numbers)}",
            "amount_units": usd * WEI_PER_USD,
            "expected_usd": Decimal(usd),
            "actor": WORKER,
        }
        return request_payment(**{**wanted, **columns})

    def ordered(self, usd: int = 30, **columns: Any) -> HostPayment:
        """Ordered, and not signed."""
        return self.world.drive_to(self.request(usd, **columns), "ordered", may_sign=False)

    def deposited(self, usd: int = 30, *, outcome: dict[str, Any] | None = None, **columns: Any) -> HostPayment:
        """Final: the money is at the exchange, which has seen it, and does from then on what `outcome` says."""
        payment = self.ordered(usd, **columns)
        if outcome is not None:
            self.world.exchange.outcome(order_of(payment).provider_order_id or "", **outcome)
        payment = self.world.drive_to_final(payment)
        self.seen_by_provider(payment)
        return payment

    def step(self) -> None:
        """One look at everything, and one block."""
        make_due()
        self.world.step_all()
        self.world.anvil.mine()

    def look_until(self, until: Callable[[], bool]) -> None:
        """As `World.drive`, and says what was not so in time."""
        self.world.drive(until)

    def books(self) -> list[dict[str, Any]]:
        """The exchange's."""
        return self.world.exchange.exchanges()

    def book_of(self, payment: HostPayment) -> dict[str, Any]:
        (found,) = [row for row in self.books() if row["id"] == order_of(payment).provider_order_id]
        return found

    def provider_says(self, payment: HostPayment, *statuses: str) -> dict[str, Any]:
        """Wait, without looking ourselves, until the exchange is there, and what it paid is deep enough; its row then."""
        deadline = time.monotonic() + _PATIENCE_S
        while (row := self.book_of(payment))["status"] not in statuses:
            if time.monotonic() > deadline:
                raise TimeoutError(f"exchange {row['id']} is {row['status']}, not {' or '.join(statuses)}")
            time.sleep(0.05)
        self.world.anvil.mine(3)
        return row

    def seen_by_provider(self, payment: HostPayment) -> dict[str, Any]:
        """Wait until the exchange, which follows the chain at a pace of its own, has seen the deposit; its row then."""
        deadline = time.monotonic() + _PATIENCE_S
        while (row := self.book_of(payment))["payin_hash"] is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"exchange {row['id']} has seen no deposit: {row}")
            time.sleep(0.05)
        return row

    def paid_by_provider(self, payment: HostPayment) -> dict[str, Any]:
        """Wait until all that the exchange signed for it is mined, and deep enough for us; its row."""
        deadline = time.monotonic() + _PATIENCE_S
        while not (row := self.book_of(payment))["payments"] or any(
            paid["mined_block"] is None for paid in row["payments"]
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"exchange {row['id']} has not paid: {row['payments']}")
            time.sleep(0.05)
        self.world.anvil.mine(3)
        return row

    def answer_by_id(self, field: str, value: object) -> None:
        """From now on the long form of every order has `value` there."""
        self.world.exchange.fault("wrong_echo", "/v2/exchange/by-id", field=field, value=value, match={"times": None})


def long_ago(payment: HostPayment, since: timedelta) -> None:
    """Let the payment be in its present status for so long."""
    HostPayment.objects.filter(pk=payment.pk).update(status_changed_at=timezone.now() - since)


def order_of(payment: HostPayment) -> ExchangeOrder:
    """Its current order, read afresh."""
    return ExchangeOrder.objects.get(payment=payment, is_current=True)


def fresh(payment: HostPayment) -> HostPayment:
    return HostPayment.objects.get(pk=payment.pk)
