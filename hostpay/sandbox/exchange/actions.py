"""What a partner can ask for an exchange that was stopped: go on, or give the deposit back."""

from decimal import Decimal

from hostpay.sandbox.exchange import views
from hostpay.sandbox.exchange.api import find
from hostpay.sandbox.exchange.assets import valid_address
from hostpay.sandbox.exchange.engine import Engine
from hostpay.sandbox.exchange.errors import ApiError
from hostpay.sandbox.exchange.numbers import Json
from hostpay.sandbox.exchange.quotes import Dealer
from hostpay.sandbox.exchange.requests import Request, required
from hostpay.sandbox.exchange.settings import Settings
from hostpay.sandbox.exchange.store import Exchange, Store, now_ms


class Actions:
    """One method per operation; each raises ApiError, and `refund` also NodeError and NodeAwayError."""

    def __init__(self, *, store: Store, engine: Engine, base: Settings) -> None:
        self._store = store
        self._engine = engine
        self._base = base

    def offer(self, request: Request) -> Json:
        exchange = self._find_for_action(required(request.query, "id"), request)
        available = _available(exchange)
        received = views.shown_amount_from(exchange) or Decimal(0)
        dealer = Dealer(self._store.settings(self._base), exchange.source_currency, exchange.target_currency)
        return {
            "continue": {
                "available": available and exchange.relation != "related",
                "currentEstimate": f"{dealer.direct(received).to_amount:f}",
            },
            "refund": {
                "available": available,
                "amount": f"{received:f}",
                "address": {"address": exchange.refund_address, "extraId": None},
                "additionalAddressList": [],
            },
            "error": None,
        }

    def proceed(self, request: Request) -> Json:
        """The action called `continue`."""
        exchange = self._find_for_action(required(request.json(), "id"), request)
        estimate = Dealer(self._store.settings(self._base), exchange.source_currency, exchange.target_currency).direct(
            views.shown_amount_from(exchange) or Decimal(0)
        )
        ready = _available(exchange) and exchange.relation != "related"
        if not ready or not self._store.update(exchange, status="exchanging", due_ms=now_ms()):
            raise ApiError(400, "not_available", f"Continue not available for exchange {exchange.id}")
        target = exchange.target_currency
        shown: Json = {"amount": estimate.to_amount, "currency": target.ticker, "network": target.network}
        return {"result": {"result": True, "data": {"estimate": shown}}}

    def refund(self, request: Request) -> Json:
        fields = request.json()
        address = required(fields, "address")
        if not valid_address("eth", address):
            raise ApiError(400, "not_valid_refund_address", "Invalid refund address")
        with self._engine.lock:
            exchange = self._find_for_action(required(fields, "id"), request)
            if not _available(exchange) or not self._engine.refund(exchange, address, "failed"):
                raise ApiError(400, "not_available", f"Refund not available for exchange {exchange.id}")
        return {"result": True}

    def _find_for_action(self, exchange_id: str, request: Request) -> Exchange:
        if not self._store.settings(self._base).special_access:
            raise ApiError(403, "forbidden", "Access upon dedicated request to partners@changenow.io")
        return find(self._store, exchange_id, request)


def _available(exchange: Exchange) -> bool:
    return exchange.status in views.ACTIONABLE and exchange.refund_hash is None and exchange.payin_hash is not None
