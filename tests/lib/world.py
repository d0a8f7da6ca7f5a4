"""The outside world of a test, and the hands that worker, signer and beat are: chain, exchange, and `drive`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.utils import timezone

from config.lib import audit
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, PaymentStatus
from hostpay.services import Handover
from tests.lib.anvil import Anvil
from tests.lib.exchange import SandboxExchange

WORKER = audit.worker("test")
# No test waits so long where all is well: a machine with other work to do may.
_PATIENCE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class World:
    """A chain and an exchange, with our settings pointing at them."""

    anvil: Anvil
    exchange: SandboxExchange
    wallet_address: str
    usdt_contract_address: str

    def drive(self, until: Callable[[], bool], *, may_sign: bool = True) -> None:
        """Take every due payment's next step, in this process, until it is so; blocks are made meanwhile.

        Raises:
            TimeoutError: it did not become so; the message says where the payments stand.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not until():
            if time.monotonic() > deadline:
                raise TimeoutError(stand_of_all())
            make_due()
            self.step_all(may_sign=may_sign)
            self.anvil.mine()
            time.sleep(0.05)

    def step_all(self, *, may_sign: bool = True) -> None:
        """One look at every payment that is due."""
        for payment_id, status in services.due_payments(now=timezone.now(), limit=100):
            handover = Handover.SIGNER if status == PaymentStatus.ORDERED else Handover.WORKER
            while handover is not Handover.NOBODY and (may_sign or handover is not Handover.SIGNER):
                take = services.sign if handover is Handover.SIGNER else services.advance
                handover = take(payment_id=payment_id, actor=WORKER)

    def drive_to(self, payment: HostPayment, *statuses: str, may_sign: bool = True) -> HostPayment:
        """Drive until the payment is in one of the statuses; returns it as it is then."""
        self.drive(lambda: HostPayment.objects.get(pk=payment.pk).status in statuses, may_sign=may_sign)
        return HostPayment.objects.get(pk=payment.pk)

    def drive_to_final(self, payment: HostPayment) -> HostPayment:
        """Drive until our money is finally at the exchange, which sees it only then; returns the payment as it is then.

        An exchange that is quick, or a machine that is slow, would have it settled before anybody saw it final.
        """
        if HostPayment.objects.get(pk=payment.pk).status == PaymentStatus.REQUESTED:
            self.drive_to(payment, "ordered", may_sign=False)
        with self._held_at_the_exchange(payment):
            return self.drive_to(payment, "final")

    @contextmanager
    def _held_at_the_exchange(self, payment: HostPayment) -> Iterator[None]:
        order_id = ExchangeOrder.objects.get(payment=payment, is_current=True).provider_order_id
        before = next(row for row in self.exchange.exchanges() if row["id"] == order_id)
        self.exchange.control("POST", f"exchanges/{order_id}", {"freeze": True})
        yield
        if not before["frozen"]:
            self.exchange.control("POST", f"exchanges/{order_id}", {"freeze": False})

    def drive_to_review(self, payment: HostPayment) -> HostPayment:
        """Drive until a person is asked; returns the payment as it is then."""
        self.drive(lambda: HostPayment.objects.get(pk=payment.pk).needs_review)
        return HostPayment.objects.get(pk=payment.pk)

    def sent_transactions(self) -> int:
        """How many transactions the host wallet has on chain."""
        return int(self.anvil.rpc("eth_getTransactionCount", self.wallet_address, "latest"), 16)


def make_due() -> None:
    """Let no test wait for a poll's interval; what waits for a person goes on waiting."""
    HostPayment.objects.filter(next_action_at__isnull=False).update(next_action_at=timezone.now())


def stand_of_all() -> str:
    """Where every payment stands, for a failing test's message."""
    return "; ".join(
        f"{p.status} waiting={p.waiting_reason!r} unknown={p.unknown_reason!r} review={p.review_reason!r}"
        f" error={p.last_error!r}"
        for p in HostPayment.objects.all()
    )
