"""The operator's side of the sandbox exchange: faults, outcomes, settings. See the package's docstring."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from hostpay.sandbox.exchange import faults, views
from hostpay.sandbox.exchange.engine import Engine
from hostpay.sandbox.exchange.errors import ApiError
from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.numbers import Json
from hostpay.sandbox.exchange.outcomes import WORD, Outcome
from hostpay.sandbox.exchange.requests import Request
from hostpay.sandbox.exchange.settings import Settings
from hostpay.sandbox.exchange.store import Exchange, Payment, Store, now_ms


class Control:
    """One method per operation; each raises ApiError."""

    def __init__(self, *, store: Store, engine: Engine, base: Settings) -> None:
        self._store = store
        self._engine = engine
        self._base = base

    def add_faults(self, request: Request) -> Json:
        """One rule, or a list of them, taken whole or not at all."""
        given = _json(request)
        try:
            with self._store.transaction():
                for rule in given if isinstance(given, list) else [given]:
                    faults.add(self._store, _mapping(rule))
        except ValueError as error:
            raise ApiError(400, "bad_params", str(error)) from error
        return faults.listed(self._store)

    def faults(self, _request: Request) -> Json:
        return faults.listed(self._store)

    def clear_faults(self, _request: Request) -> Json:
        self._store.execute("DELETE FROM faults")
        return []

    def exchanges(self, _request: Request) -> Json:
        return [self._shown(each) for each in self._store.exchanges()]

    def change_exchange(self, request: Request) -> Json:
        """Replaces the outcome, forces a status, or both."""
        exchange_id = request.path.rpartition("/")[2]
        given = _mapping(_json(request))
        if unknown := sorted(set(given) - {"outcome", "status", "freeze"}):
            raise ApiError(400, "bad_params", f"no such key: {', '.join(unknown)}")
        # Read at rest: what a tick has moved meanwhile must not be put back.
        with self._engine.lock:
            exchange = self._store.exchange(exchange_id)
            if exchange is None:
                raise ApiError(404, "not_found", "Exchange not found")
            if "outcome" in given:
                self._set_outcome(exchange, _mapping(given["outcome"]))
            if "status" in given or "freeze" in given:
                self._force(exchange, given)
        log("controlled", exchange=exchange.id, by=",".join(sorted(given)))
        changed = self._store.exchange(exchange.id)
        return None if changed is None else self._shown(changed)

    def change_settings(self, request: Request) -> Json:
        changes = _mapping(_json(request))
        before = json.loads(self._store.meta("settings") or "{}")
        try:
            settings = self._base.changed({**before, **changes})
        except ValueError as error:
            raise ApiError(400, "bad_params", str(error)) from error
        kept = settings.as_json()
        self._store.set_meta("settings", json.dumps({name: kept[name] for name in {**before, **changes}}))
        return settings.as_json()

    def settings(self, _request: Request) -> Json:
        return self._store.settings(self._base).as_json()

    def reset(self, _request: Request) -> Json:
        """Forgets exchanges, deposits, payments, rates, faults and changed settings. The nonce is the chain's again."""
        with self._engine.lock:
            self._store.forget_everything()
        log("reset")
        return {"result": True}

    def _set_outcome(self, exchange: Exchange, given: Mapping[str, Any]) -> None:
        try:
            Outcome.parse(given)
        except ValueError as error:
            raise ApiError(400, "bad_params", str(error)) from error
        self._store.execute("UPDATE exchanges SET outcome = ? WHERE id = ?", json.dumps(given), exchange.id)

    def _force(self, exchange: Exchange, given: Mapping[str, Any]) -> None:
        status = given.get("status", exchange.status)
        if not isinstance(status, str) or not WORD.fullmatch(status):
            raise ApiError(400, "bad_params", f"status cannot be {status!r}")
        frozen = given.get("freeze", "status" in given)
        self._store.execute(
            "UPDATE exchanges SET status = ?, frozen = ?, status_since_ms = ?, updated_ms = ? WHERE id = ?",
            *(status, int(bool(frozen)), now_ms(), now_ms(), exchange.id),
        )

    def _shown(self, exchange: Exchange) -> Json:
        payments = [_payment(each) for each in self._store.payments("exchange_id = ?", exchange.id)]
        row: dict[str, Any] = {name: value for name, value in asdict(exchange).items() if name != "owner"}
        row["outcome"] = json.loads(exchange.outcome)
        return {**row, "shown_status": views.shown_status(exchange), "payments": payments}


def _payment(payment: Payment) -> dict[str, Json]:
    return {
        "purpose": payment.purpose,
        "leg": payment.leg,
        "nonce": payment.nonce,
        "tx_hash": payment.tx_hash,
        "mined_block": payment.mined_block,
    }


def _json(request: Request) -> Any:
    try:
        return json.loads(request.body or b"{}", parse_float=Decimal)
    except ValueError as error:
        raise ApiError(400, "bad_params", "Body is not valid JSON") from error


def _mapping(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ApiError(400, "bad_params", "Body is not an object")
    return given
