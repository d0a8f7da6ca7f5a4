"""The provider's books: payments, what is set, and how a payment goes on."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

from hostpay.sandbox.nowpayments.memory import Memory, Remembered

LIVES: Mapping[str, tuple[str, ...]] = {
    "success": ("waiting", "confirming", "confirmed", "sending", "finished"),
    "partially_paid": ("waiting", "confirming", "confirmed", "sending", "partially_paid"),
    "failed": ("waiting", "confirming", "failed"),
    "expired": ("waiting", "expired"),
    "waiting": ("waiting",),
}
ENDED = frozenset({"finished", "partially_paid", "failed", "expired", "refunded"})
_EIGHT_PLACES = Decimal("1E-8")
_DEPOSIT_FEE = Decimal("0.000002")
# Of ten coins asked for, a payment in part brings four.
_PART = Decimal("0.4")


class UnknownPaymentError(Exception):
    """There is no payment with this number."""


class BadRequestError(Exception):
    """The request cannot be done; the text says why."""


@dataclass
class Settings:
    """What can be set while it runs; amounts and seconds are decimal strings on the outside."""

    step_s: Decimal = Decimal("0.5")
    delay_s: Decimal = Decimal(0)
    duplicates: int = 0
    reorder: bool = False
    lose: bool = False
    price_eth_usd: Decimal = Decimal("3000.00")

    def change(self, given: Mapping[str, Any]) -> None:
        """Raises BadRequestError for a name that is none, or a value of another kind."""
        for name, value in given.items():
            kind = type(getattr(self, name, None))
            if kind is type(None) or (kind is not Decimal and type(value) is not kind):
                raise BadRequestError(f"{name} cannot be set to {value!r}")
            setattr(self, name, Decimal(str(value)) if kind is Decimal else value)

    def as_json(self) -> dict[str, Any]:
        return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How one payment is notified, beside what is set for all: each so many times more, or last first at its end."""

    duplicates: int = 0
    reorder: bool = False


@dataclass(kw_only=True)
class Payment:
    """One payment: the fields that are shown, and the rest of its life. Without `callback_url` the account's is told."""

    fields: dict[str, Any]
    callback_url: str
    ahead: list[str]
    manner: Manner = Manner()
    due_at: float = 0
    notified: list[dict[str, Any]] = field(default_factory=list)


class Books:
    """All payments; safe to use from several threads."""

    def __init__(self, settings: Settings, *, webhook: str, memory: Memory) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.webhook = webhook
        self._memory = memory
        self._payments = {
            each.payment_id: Payment(fields=each.fields, callback_url=each.callback_url, ahead=each.ahead)
            for each in memory.all()
        }
        # Those with something ahead: what has ended is looked at no more.
        self._live = {payment_id: each for payment_id, each in self._payments.items() if each.ahead}
        self._next_id = max(self._payments, default=5_000_000_000 + secrets.randbelow(10**9))

    def create(self, given: Mapping[str, Any], *, manner: Manner = Manner()) -> Payment:
        """A new payment, waiting for its deposit. Raises BadRequestError."""
        try:
            price = Decimal(str(given["price_amount"]))
            life = LIVES[str(given.get("case") or "success")]
        except (KeyError, ArithmeticError) as error:
            raise BadRequestError("price_amount or case is not valid") from error
        if not price.is_finite() or price <= 0 or given.get("price_currency") not in {"usd", "eur"}:
            raise BadRequestError("price_amount and price_currency are required")
        amount = (price / self.settings.price_eth_usd).quantize(_EIGHT_PLACES, rounding=ROUND_DOWN)
        shown = {
            "price_amount": price,
            "price_currency": given["price_currency"],
            "pay_amount": amount,
            "pay_currency": given.get("pay_currency") or "eth",
            "order_id": given.get("order_id"),
            "order_description": given.get("order_description"),
        }
        return self._add(shown, life, callback_url=str(given.get("ipn_callback_url") or ""), manner=manner)

    def deposit(self, parent_id: int, amount: Decimal) -> Payment:
        """More money to the address of a payment: a payment of its own, which repeats the first one's price."""
        parent = self.payment(parent_id)
        names = ("price_amount", "price_currency", "pay_currency", "order_id", "order_description")
        shown = {name: parent.fields[name] for name in names} | {"pay_amount": amount}
        with self.lock:
            shown["parent_payment_id"] = parent_id
            child = self._add(shown, LIVES["success"], callback_url=parent.callback_url)
            parent.fields["payment_extra_ids"] = [
                *(parent.fields["payment_extra_ids"] or []),
                child.fields["payment_id"],
            ]
            self._keep(parent)
        return child

    def payment(self, payment_id: int) -> Payment:
        """Raises UnknownPaymentError."""
        with self.lock:
            if payment_id not in self._payments:
                raise UnknownPaymentError
            return self._payments[payment_id]

    def due(self) -> list[Payment]:
        """Payments whose next step has come."""
        with self.lock:
            return [each for each in self._live.values() if each.due_at <= time.monotonic()]

    def go_on(self, payment: Payment, *, step_s: Decimal | None = None) -> None:
        """Take the payment's next step."""
        with self.lock:
            if not payment.ahead:
                # Somebody ended it by the control API meanwhile.
                return
            self.change(payment, {"payment_status": payment.ahead.pop(0)})
            wait = self.settings.step_s if step_s is None else step_s
            payment.due_at = time.monotonic() + int(wait * 1000) / 1000

    def change(self, payment: Payment, given: Mapping[str, Any]) -> None:
        """Set fields; a status of arrived money brings its figures, unless they are given."""
        with self.lock:
            fields, status = payment.fields, given.get("payment_status")
            if status in {"sending", "partially_paid", "finished"} and not fields["actually_paid"]:
                part = _PART if status == "partially_paid" or "partially_paid" in payment.ahead else Decimal(1)
                paid = (fields["pay_amount"] * part).quantize(_EIGHT_PLACES, rounding=ROUND_DOWN)
                fields |= {"actually_paid": paid}
            if status in {"partially_paid", "finished"}:
                fields["outcome_amount"] = max(fields["actually_paid"] - _DEPOSIT_FEE, _EIGHT_PLACES)
            fields |= {**given, "updated_at": time.time_ns() // 1_000_000}
            self._keep(payment)

    def _add(
        self, shown: Mapping[str, Any], life: tuple[str, ...], *, callback_url: str, manner: Manner = Manner()
    ) -> Payment:
        with self.lock:
            self._next_id += 1
            fields = {
                "payment_id": self._next_id,
                "parent_payment_id": None,
                "invoice_id": None,
                "payment_status": life[0],
                "pay_address": "0x" + secrets.token_hex(20),
                "payin_extra_id": None,
                "actually_paid": Decimal(0),
                "actually_paid_at_fiat": 0,
                "purchase_id": str(self._next_id - 10**9),
                "outcome_amount": None,
                "outcome_currency": "eth",
                "payment_extra_ids": None,
                "fee": {"currency": "eth", "depositFee": _DEPOSIT_FEE, "withdrawalFee": 0, "serviceFee": 0},
                "created_at": time.time_ns() // 1_000_000,
                "updated_at": time.time_ns() // 1_000_000,
                **shown,
            }
            payment = Payment(fields=fields, callback_url=callback_url, ahead=list(life), manner=manner)
            self._payments[self._next_id] = payment
            self._keep(payment)
            return payment

    def _keep(self, payment: Payment) -> None:
        payment_id: int = payment.fields["payment_id"]
        self._memory.keep(
            Remembered(
                payment_id=payment_id, fields=payment.fields, callback_url=payment.callback_url, ahead=payment.ahead
            )
        )
        if payment.ahead:
            self._live[payment_id] = payment
        else:
            self._live.pop(payment_id, None)
