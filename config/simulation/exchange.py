"""The swap provider in memory: its orders, what becomes of each, and the answers of its API, version 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, Final

from config.simulation.chain import Chain, address_of

PRICE_USD: Final = Decimal(2000)
_SPREAD: Final = Decimal("0.995")
_WEI: Final = 10**18
_HOT_WALLET: Final = address_of("the provider's hot wallet")
_REFUND_FEE_WEI: Final = 5 * 10**14
# What becomes of an order that was paid; the happy path as often as all the others together, and more.
OUTCOMES: Final = (
    *("finished",) * 14,
    "two transfers",
    "partial",
    "over",
    "refund",
    "refund never sent",
    "verifying",
    "unknown word",
    "never paid",
    "failed",
)


@dataclass
class Order:
    """One order. `outcome` is its fate, drawn when it is made; `left` counts what it still takes its time for."""

    id: str
    payin: str
    payout: str
    refund: str
    amount: Decimal
    created_at: datetime
    tag: str
    outcome: str
    status: str = "waiting"
    deposit_hash: str | None = None
    payout_hash: str | None = None
    refund_hash: str | None = None
    amount_to: Decimal | None = None
    left: int = 3


@dataclass
class Exchange:
    """`step` lets one order go on; `answer` is the API."""

    random: Random
    chain: Chain
    orders: dict[str, Order] = field(default_factory=dict)
    is_kind: bool = False

    def step(self, order: Order) -> str:
        """One move of the order, if it has one; the status it is in then."""
        mined = self.chain.mined_to(order.payin)
        if order.status == "waiting" and mined:
            order.deposit_hash, order.status = mined[0][1].hash, "confirming"
        elif order.status == "confirming" and mined and self.chain.confirmations(mined[0][0]) >= 2:
            order.status = self._after_deposit(order)
        elif order.status in {"exchanging", "verifying"}:
            self._exchange(order)
        elif order.status == "sending" and order.payout_hash and self.chain.found(order.payout_hash):
            order.status = "finished"
        return order.status

    def pay_late(self, order: Order) -> None:
        """Long after everybody gave it up, the order is paid all the same."""
        units = int(_proceeds(order.amount) * 10**6)
        order.amount_to, order.status = Decimal(units) / 10**6, "finished"
        order.payout_hash = self.chain.pay(sender=_HOT_WALLET, to=_HOT_WALLET, usdt=((order.payout, units),))

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any], now: datetime) -> Any:
        """The JSON of an answer; None where there is no such order."""
        if path in {"/v2/exchange/range", "/v2/exchange/min-amount"}:
            return {**_pair(query), "flow": "standard", "minAmount": "0.0025", "maxAmount": None}
        if path == "/v2/exchange/estimated-amount":
            return self._estimate(query)
        if path == "/v2/exchange/by-id":
            order = self.orders.get(query["id"])
            return None if order is None else _by_id(order)
        if path == "/v2/exchanges":
            rows = [order for order in self.orders.values() if _is_listed(order, query)]
            return {"exchanges": [_listed(order) for order in rows[int(query["offset"]) :][: int(query["limit"])]]}
        if (method, path) == ("POST", "/v2/exchange"):
            return self._create(body, now)
        raise KeyError(f"{method} {path}")

    def _create(self, body: dict[str, Any], now: datetime) -> dict[str, Any]:
        number = len(self.orders) + 1
        order = Order(
            id=f"{number:014x}",
            payin=address_of("pay-in", number),
            payout=body["address"],
            refund=body["refundAddress"],
            amount=Decimal(body["fromAmount"]),
            created_at=now,
            tag=body.get("payload", {}).get("reference", ""),
            outcome="finished" if self.is_kind else self.random.choice(OUTCOMES),
        )
        self.orders[order.id] = order
        return {
            "id": order.id,
            "fromAmount": f"{order.amount:f}",
            "toAmount": f"{_proceeds(order.amount):f}",
            "flow": "standard",
            "type": "direct",
            "payinAddress": order.payin,
            "payoutAddress": order.payout,
            "refundAddress": order.refund,
            **_PAIR,
        }

    def _estimate(self, query: dict[str, str]) -> dict[str, Any]:
        amount = Decimal(query["fromAmount"])
        sells_eth = query["fromCurrency"] == "eth"
        brings = _proceeds(amount) if sells_eth else (amount / PRICE_USD * _SPREAD).quantize(Decimal("1e-8"))
        return {**_pair(query), "flow": "standard", "fromAmount": f"{amount:f}", "toAmount": f"{brings:f}"}

    def _after_deposit(self, order: Order) -> str:
        if order.outcome in {"verifying", "failed"}:
            return order.outcome
        return "hold_for_review" if order.outcome == "unknown word" else "exchanging"

    def _exchange(self, order: Order) -> None:
        order.left -= 1
        if order.left > 0 or order.outcome == "never paid":
            return
        if order.outcome.startswith("refund"):
            order.status = "refunded"
            if order.outcome == "refund":
                wei = int(order.amount * _WEI) - _REFUND_FEE_WEI
                order.refund_hash = self.chain.pay(sender=_HOT_WALLET, to=order.refund, value=wei)
            return
        order.status = "sending"
        order.amount_to = _proceeds(order.amount) * {"partial": 70, "over": 125}.get(order.outcome, 100) / 100
        units = int(order.amount_to * 10**6)
        order.amount_to = Decimal(units) / 10**6
        parts = (units // 3, units - units // 3) if order.outcome == "two transfers" else (units,)
        transfers = tuple((order.payout, part) for part in parts)
        order.payout_hash = self.chain.pay(sender=_HOT_WALLET, to=_HOT_WALLET, usdt=transfers)


_PAIR: Final = {"fromCurrency": "eth", "fromNetwork": "eth", "toCurrency": "usdt", "toNetwork": "eth"}


def _pair(query: dict[str, str]) -> dict[str, str]:
    return {name: query[name] for name in _PAIR}


def _proceeds(amount: Decimal) -> Decimal:
    return (amount * PRICE_USD * _SPREAD).quantize(Decimal("0.000001"), rounding="ROUND_DOWN")


def _by_id(order: Order) -> dict[str, Any]:
    is_finished = order.status == "finished"
    return {
        "id": order.id,
        "status": order.status,
        **_PAIR,
        # The provider leaves it out of some, whatever their status.
        "expectedAmountFrom": None if int(order.id, 16) % 3 == 0 else f"{order.amount:f}",
        "expectedAmountTo": f"{_proceeds(order.amount):f}",
        "amountFrom": f"{order.amount:f}" if order.deposit_hash else None,
        "amountTo": f"{order.amount_to:f}" if is_finished and order.amount_to else None,
        "payinAddress": order.payin,
        "payoutAddress": order.payout,
        "refundAddress": order.refund,
        "payinHash": order.deposit_hash,
        "payoutHash": order.payout_hash,
        "refundHash": order.refund_hash,
        "createdAt": order.created_at.isoformat(),
        "updatedAt": order.created_at.isoformat(),
    }


def _is_listed(order: Order, query: dict[str, str]) -> bool:
    payout = query.get("payoutAddress", order.payout)
    return order.payout.lower() == payout.lower() and query.get("requestId", order.id) == order.id


def _listed(order: Order) -> dict[str, Any]:
    return {
        "createdAt": order.created_at.isoformat(),
        "exchangeId": order.id,
        "requestId": order.id,
        "status": order.status,
        "payin": {"address": order.payin, "expectedAmount": f"{order.amount:f}"},
        "payout": {"address": order.payout},
        "partnerInfo": {"payload": {"reference": order.tag} if order.tag else {}},
    }
