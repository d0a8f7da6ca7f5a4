"""ChangeNOW's API, version 2, as far as a partner who converts and pays out needs it."""

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hostpay.sandbox.exchange import views
from hostpay.sandbox.exchange.assets import CURRENCIES, Kind, valid_address
from hostpay.sandbox.exchange.errors import ApiError, not_valid
from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.numbers import Json, dumps
from hostpay.sandbox.exchange.quotes import Dealer, Quote
from hostpay.sandbox.exchange.requests import Request, amount, choice, currency, payload, required, text
from hostpay.sandbox.exchange.settings import Settings
from hostpay.sandbox.exchange.store import Exchange, Store, currency_of, key_of, now_ms
from hostpay.sandbox.exchange.wallet import deposit_account

FLOWS = ("standard", "fixed-rate")
TYPES = ("direct", "reverse")


class Api:
    """One method per operation; each raises ApiError, and those that ask the chain NodeError and NodeAwayError."""

    def __init__(self, *, store: Store, base: Settings, deposit_seed: str) -> None:
        self._store = store
        self._base = base
        self._deposit_seed = deposit_seed

    def settings(self) -> Settings:
        return self._store.settings(self._base)

    def create(self, request: Request, outcome: Mapping[str, Any]) -> Json:
        """`outcome` is what a fault rule has in mind for the new exchange."""
        fields = request.json()
        dealer = self._dealer(fields)
        flow, kind = choice(fields, "flow", FLOWS), choice(fields, "type", TYPES)
        payout_address = required(fields, "address")
        refund_address = text(fields, "refundAddress")
        if not valid_address(dealer.target.network, payout_address):
            raise ApiError(400, "not_valid_address", "Invalid address")
        if refund_address is not None and not valid_address(dealer.source.network, refund_address):
            raise ApiError(400, "not_valid_refund_address", "Invalid refund address")
        quote = self._quote(dealer, fields, kind)
        self._check_range(dealer, quote.from_amount)
        rate_id, now = text(fields, "rateId"), now_ms()
        if flow == "fixed-rate":
            quote = self._rate(rate_id, dealer, quote)
        fixed_until = now + int(dealer.settings.fixed_rate_deposit_s * 1000) if flow == "fixed-rate" else None
        exchange_id = secrets.token_hex(7)
        self._store.add_exchange(
            id=exchange_id,
            request_id=exchange_id,
            owner=request.owner,
            status="new" if dealer.settings.new_s else "waiting",
            status_since_ms=now,
            source=key_of(dealer.source),
            target=key_of(dealer.target),
            flow=flow,
            type=kind,
            expected_from=f"{quote.from_amount:f}",
            expected_to=f"{quote.to_amount:f}",
            payin_address=deposit_account(self._deposit_seed, exchange_id).address,
            payout_address=payout_address,
            payout_extra_id=text(fields, "extraId"),
            refund_address=refund_address,
            refund_extra_id=text(fields, "refundExtraId"),
            user_id=text(fields, "userId"),
            payload=payload(fields),
            rate_id=rate_id if flow == "fixed-rate" else None,
            valid_until_ms=fixed_until,
            expires_ms=fixed_until or now + int(dealer.settings.unpaid_timeout_s * 1000),
            created_ms=now,
            updated_ms=now,
            outcome=dumps({**dealer.settings.outcome, **outcome}),
        )
        log(
            "created",
            exchange=exchange_id,
            amount_from=f"{quote.from_amount:f}",
            pair=f"{key_of(dealer.source)}-{key_of(dealer.target)}",
        )
        return views.created(find(self._store, exchange_id, request))

    def by_id(self, request: Request) -> Json:
        return views.by_id(find(self._store, required(request.query, "id"), request), self._store)

    def estimated_amount(self, request: Request) -> Json:
        dealer = self._dealer(request.query)
        flow, kind = choice(request.query, "flow", FLOWS), choice(request.query, "type", TYPES)
        quote = self._quote(dealer, request.query, kind)
        self._check_range(dealer, quote.from_amount)
        rate_id, valid_until = None, None
        if flow == "fixed-rate":
            self._require_fixed_rate(dealer)
            valid_until = now_ms() + int(dealer.settings.rate_valid_s * 1000)
            if text(request.query, "useRateId") == "true":
                rate_id = self._promise(dealer, quote, valid_until)
        return {
            **_pair(dealer),
            "flow": flow,
            "type": kind,
            "rateId": rate_id,
            "validUntil": views.date(valid_until),
            "transactionSpeedForecast": "10-60",
            "warningMessage": None,
            "depositFee": quote.deposit_fee,
            "withdrawalFee": quote.withdrawal_fee,
            "userId": None,
            "fromAmount": quote.from_amount,
            "toAmount": quote.to_amount,
        }

    def min_amount(self, request: Request) -> Json:
        dealer = self._dealer(request.query)
        return {**_pair(dealer), "flow": choice(request.query, "flow", FLOWS), "minAmount": dealer.minimum}

    def range(self, request: Request) -> Json:
        dealer = self._dealer(request.query)
        flow = choice(request.query, "flow", FLOWS)
        return {**_pair(dealer), "flow": flow, "minAmount": dealer.minimum, "maxAmount": dealer.maximum}

    def currencies(self, _request: Request) -> Json:
        contract = self._store.meta("usdt_contract")
        return [
            {
                "ticker": each.ticker,
                "name": each.name,
                "image": f"https://content-api.changenow.io/uploads/{each.legacy_ticker}.svg",
                "hasExternalId": each.has_extra_id,
                "isExtraIdSupported": each.has_extra_id,
                "isFiat": False,
                "featured": each.ticker in {"btc", "eth"},
                "isStable": each.is_stable,
                "supportsFixedRate": True,
                "network": each.network,
                "tokenContract": contract if each.kind is Kind.TOKEN else None,
                "buy": True,
                "sell": each.payable_in,
                "legacyTicker": each.legacy_ticker,
            }
            for each in CURRENCIES
        ]

    def validate_address(self, request: Request) -> Json:
        network, address = required(request.query, "currency"), required(request.query, "address")
        if network not in {each.network for each in CURRENCIES}:
            raise not_valid(f"Currency {network} is not supported")
        good = valid_address(network, address)
        return {"result": good, "message": None if good else f"Invalid {network} address", "isActivated": None}

    def list(self, request: Request) -> Json:
        """Filters as the real list; a page may be shorter than `limit` though there is more."""
        query, settings = request.query, self.settings()
        limit, offset = _whole(query, "limit", 100), _whole(query, "offset", 0)
        if not 1 <= limit <= 100:
            raise ApiError(400, "bad_params", "limit must be between 1 and 99")
        found = [each for each in self._store.exchanges("owner = ?", request.owner) if _wanted(each, query)]
        by = _attribute(query, "sortField")
        found.sort(key=lambda each: (getattr(each, by), each.seq), reverse=query.get("sortDirection") != "ASC")
        page = found[offset : offset + min(limit, settings.page_rows)]
        return {"count": len(found), "exchanges": [views.listed(each) for each in page]}

    def _dealer(self, fields: Mapping[str, Any]) -> Dealer:
        source, target, settings = currency(fields, "from"), currency(fields, "to"), self.settings()
        if source is target or not source.payable_in or not settings.pair_active:
            raise ApiError(400, "pair_is_inactive", "Pair is inactive")
        return Dealer(settings, source, target)

    def _quote(self, dealer: Dealer, fields: Mapping[str, Any], kind: str) -> Quote:
        if kind == "reverse":
            return dealer.reverse(amount(fields, "toAmount"))
        return dealer.direct(amount(fields, "fromAmount"))

    def _check_range(self, dealer: Dealer, from_amount: Decimal) -> None:
        limits: Json = {"range": {"minAmount": dealer.minimum, "maxAmount": dealer.maximum}}
        ticker = dealer.source.ticker
        if from_amount < dealer.minimum:
            raise ApiError(400, "deposit_too_small", f"Out of min amount {dealer.minimum:f} {ticker}", limits)
        if dealer.maximum is not None and from_amount > dealer.maximum:
            raise ApiError(400, "max_amount_exceeded", f"Out of max amount {dealer.maximum:f} {ticker}", limits)

    def _require_fixed_rate(self, dealer: Dealer) -> None:
        if not dealer.settings.fixed_rate_enabled:
            raise ApiError(400, "fixed_rate_not_enabled", "Fixed rate is not enabled for this pair")

    def _promise(self, dealer: Dealer, quote: Quote, valid_until: int) -> str:
        rate_id = secrets.token_urlsafe(24)
        self._store.insert(
            "rates",
            id=rate_id,
            source=key_of(dealer.source),
            target=key_of(dealer.target),
            from_amount=f"{quote.from_amount:f}",
            to_amount=f"{quote.to_amount:f}",
            expires_ms=valid_until,
        )
        return rate_id

    def _rate(self, rate_id: str | None, dealer: Dealer, quote: Quote) -> Quote:
        """The promised amounts, if the promise is still good for this pair and amount."""
        self._require_fixed_rate(dealer)
        if rate_id is None:
            raise not_valid("rateId is required")
        found = self._store.rows("SELECT * FROM rates WHERE id = ? AND expires_ms > ?", rate_id, now_ms())
        pair = (currency_of(found[0]["source"]), currency_of(found[0]["target"])) if found else None
        if pair != (dealer.source, dealer.target) or Decimal(found[0]["from_amount"]) != quote.from_amount:
            raise ApiError(400, "rate_id_not_found_or_expired", "Rate id not found or expired")
        return Quote(quote.from_amount, Decimal(found[0]["to_amount"]), quote.deposit_fee, quote.withdrawal_fee)


def find(store: Store, exchange_id: str, request: Request) -> Exchange:
    """The caller's own exchange. Raises ApiError for an unknown one and for somebody else's."""
    exchange = store.exchange(exchange_id)
    if exchange is None:
        raise ApiError(404, "not_found", "Exchange not found")
    if exchange.owner != request.owner:
        raise ApiError(403, "forbidden", "The transaction was made from another api key")
    return exchange


def _pair(dealer: Dealer) -> dict[str, Json]:
    source, target = dealer.source, dealer.target
    return {
        "fromCurrency": source.ticker,
        "fromNetwork": source.network,
        "toCurrency": target.ticker,
        "toNetwork": target.network,
    }


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not (value.isascii() and value.isdecimal()):
        raise ApiError(400, "bad_params", f"{name} must be a whole number")
    return int(value)


def _attribute(query: Mapping[str, str], name: str) -> str:
    return "updated_ms" if query.get(name) == "updatedAt" else "created_ms"


def _wanted(exchange: Exchange, query: Mapping[str, str]) -> bool:
    moment = views.date(getattr(exchange, _attribute(query, "dateField"))) or ""
    statuses = query.get("statuses", "")
    return (
        query.get("dateFrom", "") <= moment <= query.get("dateTo", "9999")
        and query.get("requestId", exchange.id) in {exchange.id, exchange.request_id}
        and query.get("userId", exchange.user_id) == exchange.user_id
        and query.get("payoutAddress", exchange.payout_address).lower() == exchange.payout_address.lower()
        and (not statuses or exchange.status in statuses.split(","))
    )
