"""Rows as the exchange shows them."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from hostpay.sandbox.exchange.numbers import SHOWN_DECIMALS, Json, Raw, shown
from hostpay.sandbox.exchange.store import Exchange, Store, amount_from, now_ms

ACTIONABLE = frozenset({"failed", "verifying"})


def date(milliseconds: int | None, *, zone: str = "Z") -> str | None:
    """ISO 8601 with milliseconds. In some places the exchange leaves the Z away."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}{zone}"


def created(exchange: Exchange) -> Json:
    """The answer to a create: it has no status, and blanks where there is nothing."""
    return {
        "id": exchange.id,
        "fromAmount": Decimal(exchange.expected_from),
        "toAmount": Decimal(exchange.expected_to),
        "flow": exchange.flow,
        "type": exchange.type,
        "payinAddress": exchange.payin_address,
        "payinExtraId": "",
        "payoutAddress": exchange.payout_address,
        "payoutExtraId": exchange.payout_extra_id or "",
        "payoutExtraIdName": "",
        **_pair(exchange),
        "refundAddress": exchange.refund_address or "",
        "refundExtraId": exchange.refund_extra_id or "",
        "rateId": exchange.rate_id or "",
        "validUntil": date(exchange.valid_until_ms),
    }


def by_id(exchange: Exchange, store: Store) -> Json:
    """The long form: amounts are null until they are known, and amountTo until the exchange is finished."""
    finished = exchange.status == "finished"
    return {
        "id": exchange.id,
        "status": shown_status(exchange),
        "actionsAvailable": exchange.status in ACTIONABLE and exchange.refund_hash is None,
        **_pair(exchange),
        "expectedAmountFrom": None if finished else Decimal(exchange.expected_from),
        "expectedAmountTo": Decimal(exchange.expected_to),
        "amountFrom": shown_amount_from(exchange),
        "amountTo": _amount_to(exchange),
        "payinAddress": exchange.payin_address,
        "payoutAddress": exchange.payout_address,
        "payinExtraId": None,
        "payoutExtraId": exchange.payout_extra_id,
        "refundAddress": exchange.refund_address,
        "refundExtraId": exchange.refund_extra_id,
        "createdAt": date(exchange.created_ms),
        "updatedAt": date(exchange.updated_ms),
        "depositReceivedAt": date(exchange.deposit_received_ms),
        "payinHash": exchange.payin_hash,
        "payoutHash": _payout_hash(exchange),
        "fromLegacyTicker": exchange.source_currency.legacy_ticker,
        "toLegacyTicker": exchange.target_currency.legacy_ticker,
        "refundHash": _refund_hash(exchange),
        "refundAmount": _refund_amount(exchange),
        "userId": exchange.user_id,
        "validUntil": date(exchange.valid_until_ms),
        "relatedExchangesInfo": _children(exchange, store, "related"),
        "repeatedExchangesInfo": _children(exchange, store, "repeated"),
        "originalExchangeInfo": _original(exchange, store),
    }


def listed(exchange: Exchange) -> Json:
    """A row of the transaction list. Every second one's dates lack the Z, as in the real list some do."""
    zone = "" if exchange.seq % 2 else "Z"
    return {
        "createdAt": date(exchange.created_ms, zone=zone),
        "updatedAt": date(exchange.updated_ms, zone=zone),
        "exchangeId": exchange.id,
        "requestId": exchange.request_id,
        "status": shown_status(exchange),
        "validUntil": date(exchange.valid_until_ms, zone=zone),
        "flow": exchange.flow,
        "payin": {
            "currency": exchange.source_currency.legacy_ticker,
            "address": exchange.payin_address,
            "extraId": None,
            "amount": shown_amount_from(exchange),
            "expectedAmount": Decimal(exchange.expected_from),
            "hash": exchange.payin_hash,
        },
        "payout": {
            "currency": exchange.target_currency.legacy_ticker,
            "address": exchange.payout_address,
            "extraId": exchange.payout_extra_id,
            "amount": _amount_to(exchange),
            "expectedAmount": Decimal(exchange.expected_to),
            "hash": _payout_hash(exchange),
        },
        "refund": {
            "currency": exchange.source_currency.legacy_ticker,
            "address": exchange.refund_address,
            "extra_id": exchange.refund_extra_id,
            "hash": _refund_hash(exchange),
        },
        "partnerInfo": {
            "commission": {"currency": "btc", "amount": None, "percent": Decimal("0.4")},
            "userId": exchange.user_id,
            "payload": json.loads(exchange.payload) if exchange.payload else None,
        },
    }


def shown_status(exchange: Exchange) -> str:
    word = exchange.plan.unknown_status
    return word if word and exchange.status in {"exchanging", "sending"} else exchange.status


def shown_amount_from(exchange: Exchange) -> Decimal | None:
    """What arrived, to eight decimals; the exchange reckons with all of them."""
    received = amount_from(exchange)
    return None if received is None else shown(received, SHOWN_DECIMALS)


def _pair(exchange: Exchange) -> dict[str, Json]:
    source, target = exchange.source_currency, exchange.target_currency
    return {
        "fromCurrency": source.ticker,
        "fromNetwork": source.network,
        "toCurrency": target.ticker,
        "toNetwork": target.network,
    }


def _amount_to(exchange: Exchange) -> Json:
    plan = exchange.plan
    if exchange.status != "finished" or now_ms() < exchange.status_since_ms + (plan.late_amount_to or 0) * 1000:
        return None
    if plan.report_amount_to is not None:
        return Raw(plan.report_amount_to)
    return None if exchange.amount_to is None else Decimal(exchange.amount_to)


def _payout_hash(exchange: Exchange) -> str | None:
    return exchange.payout_hash if exchange.status in {"sending", "finished"} else None


def _refund_hash(exchange: Exchange) -> str | None:
    return exchange.refund_hash if exchange.status == "refunded" else None


def _refund_amount(exchange: Exchange) -> Decimal | None:
    shown_now = exchange.status == "refunded" and exchange.refund_amount is not None
    return shown(Decimal(exchange.refund_amount or 0), SHOWN_DECIMALS) if shown_now else None


def _children(exchange: Exchange, store: Store, relation: str) -> Json:
    found = store.exchanges("parent_id = ? AND relation = ?", exchange.id, relation)
    return [_entry(child) for child in found] or None


def _original(exchange: Exchange, store: Store) -> Json:
    parent = store.exchange(exchange.parent_id) if exchange.parent_id else None
    return None if parent is None else _entry(parent)


def _entry(exchange: Exchange) -> Json:
    """Another exchange in short. Its dates have no Z."""
    return {
        "id": exchange.id,
        "status": shown_status(exchange),
        "createdAt": date(exchange.created_ms, zone=""),
        "updatedAt": date(exchange.updated_ms, zone=""),
        **_pair(exchange),
        "amountFrom": shown_amount_from(exchange),
        "amountTo": _amount_to(exchange),
        "payinHash": exchange.payin_hash,
        "payoutHash": _payout_hash(exchange),
    }
