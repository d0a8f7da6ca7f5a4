"""The swap provider's API, version 2. It has no idempotency keys and sends no notifications: we poll."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

from config.lib.http import HttpAnswer, HttpClient
from config.lib.money import Asset, InexactJsonError, MoneyError, loads_exact
from hostpay.providers.changenow.errors import (
    BadAnswerError,
    ExchangeRefusedError,
    NotAllowedError,
    OrderNotFoundError,
    OutOfRangeError,
    RateExpiredError,
)
from hostpay.providers.changenow.fields import Fields, json_of_read
from hostpay.providers.changenow.orders import (
    OrderRequest,
    PlacedOrder,
    create_body,
    flow_of,
    read_placed,
    same_amount,
)
from hostpay.providers.changenow.states import (
    AmountRange,
    Estimate,
    ExchangeState,
    ListedExchange,
    read_estimate,
    read_listed,
    read_state,
)

# The provider allows 30 calls a second. A bucket of 15 that refills at 15 a second never lets more pass in any second.
CALLS_PER_S: Final = 15
_ROWS_PER_PAGE: Final = 99
_MOST_PAGES: Final = 100
_LONGEST_REASON: Final = 200
_OUT_OF_RANGE: Final = frozenset({"out_of_range", "deposit_too_small", "max_amount_exceeded"})
_RATE_EXPIRED: Final = "rate_id_not_found_or_expired"
_NOT_ALLOWED: Final = frozenset({"invalid_api_key", "forbidden"})


class ChangeNow:
    """A client with one account's key.

    Raises (by every method that calls): TransientError when asking later may work, PermanentError when it will not;
    the classes of `changenow.errors` where it is known why.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout_s: int,
        has_partner_fields: bool = False,
        take_turn: Callable[[], None] | None = None,
    ) -> None:
        """The account behind `api_key`.

        Args:
            has_partner_fields: the provider enabled «special partner fields» for it, so tags can be sent.
            take_turn: returns when the next call may be made, where others call with the same key; by default the client
                keeps to the provider's pace alone.
        """
        self._http = HttpClient(
            service="changenow",
            base_url=base_url,
            timeout_s=timeout_s,
            secret_headers={"x-changenow-api-key": api_key},
        )
        self._has_partner_fields = has_partner_fields
        self._may_ask_range = True
        self._take_turn = take_turn or Pace(per_s=CALLS_PER_S).wait

    def amount_range(self, *, from_asset: Asset, to_asset: Asset, fixed_rate: bool = False) -> AmountRange:
        """What can be sold at once, which differs with the flow. The maximum takes a right that not every key has; without it there is none told."""
        params = {**_pair(from_asset, to_asset), "flow": flow_of(is_fixed=fixed_rate)}
        if self._may_ask_range:
            try:
                return self._range("/v2/exchange/range", params)
            except NotAllowedError:
                found = self._range("/v2/exchange/min-amount", params)
                self._may_ask_range = False
                return found
        return self._range("/v2/exchange/min-amount", params)

    def estimate(
        self, *, from_asset: Asset, to_asset: Asset, from_amount: Decimal, fixed_rate: bool = False
    ) -> Estimate:
        """What selling `from_amount` now would bring; with `fixed_rate` the provider holds it to its `rate_id`."""
        pair = _pair(from_asset, to_asset)
        asked = f"estimate of {from_amount:f} {from_asset} in {to_asset}"
        params = {
            **pair,
            "fromAmount": f"{from_amount:f}",
            "flow": flow_of(is_fixed=fixed_rate),
            "type": "direct",
            "useRateId": "true" if fixed_rate else "false",
        }
        content = self._read("/v2/exchange/estimated-amount", params, asked=asked)
        estimate = read_estimate(content, asked=asked)
        _check_pair(content, pair, asked)
        if not same_amount(from_amount, estimate.from_amount):
            raise BadAnswerError(f"{asked}: it is for {estimate.from_amount:f}")
        if fixed_rate and (estimate.rate_id is None or estimate.valid_until is None):
            raise BadAnswerError(f"{asked}: the rate was to be fixed, and has no id or no end")
        return estimate

    def create_exchange(self, request: OrderRequest) -> PlacedOrder:
        """Place one order; it moves no money. Compare the answer with `verify_echo` before anything is paid.

        Raises:
            OutcomeUnknownError: an order may have been made, and we do not know its id.
            BadAnswerError: as before, and the answer is unusable.
            ExchangeRefusedError: no order was made.
        """
        asked = f"order of {request.from_amount:f} {request.from_asset} for {request.to_asset} ({request.tag})"
        self._take_turn()
        body = create_body(request, with_tag=self._has_partner_fields)
        answer = self._http.post("/v2/exchange", body, has_effect=True)
        if answer.status not in {200, 201}:
            self._refuse(answer, asked=asked)
        try:
            content = self._http.masked_document(loads_exact(answer.body))
        except InexactJsonError as error:
            raise BadAnswerError(f"{asked}: the answer is unreadable ({error}); an order may exist") from None
        return read_placed(content, asked=asked)

    def exchange(self, order_id: str) -> ExchangeState:
        """How an order stands.

        Raises:
            OrderNotFoundError: there is none with this id.
        """
        asked = f"exchange {order_id}"
        state = read_state(self._read("/v2/exchange/by-id", {"id": order_id}, asked=asked), asked=asked)
        if state.order_id != order_id:
            raise BadAnswerError(f"{asked}: the answer is about {state.order_id}")
        return state

    def find_exchanges(self, *, since: datetime, payout_address: str | None = None) -> tuple[ListedExchange, ...]:
        """All orders of the account, or those that pay to `payout_address`, made at or after `since`, oldest first.

        Raises:
            NotAllowedError: the key is a standard one; only a private one may list.
        """
        asked = f"list of exchanges to {payout_address or 'all addresses'}"
        found: dict[str, ListedExchange] = {}
        offset = 0
        for _ in range(_MOST_PAGES):
            rows = self._page(payout_address, since, offset, asked)
            # A page can be short while more follow: only an empty one is the end.
            if not rows:
                return tuple(found.values())
            found |= {row.order_id: row for row in rows}
            offset += len(rows)
        raise BadAnswerError(f"{asked}: no end after {_MOST_PAGES} pages")

    def listed_exchange(self, order_id: str) -> ListedExchange | None:
        """The row that the account's list has of one order, by the id that create answered; None if it has none.

        Raises:
            NotAllowedError: the key is a standard one; only a private one may list.
        """
        asked = f"list row of exchange {order_id}"
        rows = self._rows({"limit": "1", "offset": "0", "requestId": order_id}, asked)
        return next((row for row in rows if row.order_id == order_id), None)

    def _page(self, payout_address: str | None, since: datetime, offset: int, asked: str) -> list[ListedExchange]:
        params = {
            "limit": str(_ROWS_PER_PAGE),
            "offset": str(offset),
            "sortField": "createdAt",
            "sortDirection": "ASC",
            "dateField": "createdAt",
            "dateFrom": f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{since.microsecond // 1000:03d}Z",
        }
        if payout_address is not None:
            params["payoutAddress"] = payout_address
        return self._rows(params, asked)

    def _rows(self, params: Mapping[str, str], asked: str) -> list[ListedExchange]:
        rows = Fields(self._read("/v2/exchanges", params, asked=asked), asked=asked).content.get("exchanges")
        if not isinstance(rows, list):
            raise BadAnswerError(f"{asked}: exchanges is no list")
        return [read_listed(row, asked=asked) for row in rows]

    def _range(self, path: str, params: Mapping[str, str]) -> AmountRange:
        asked = f"limits of {params['fromCurrency']}/{params['fromNetwork']}"
        content = self._read(path, params, asked=asked)
        fields = Fields(content, asked=asked)
        _check_pair(content, params, asked)
        minimum, maximum = fields.limit_or_none("minAmount"), fields.limit_or_none("maxAmount")
        if minimum is None or (maximum is not None and maximum < minimum):
            raise BadAnswerError(f"{asked}: from {minimum} to {maximum} is no range")
        return AmountRange(minimum=minimum, maximum=maximum)

    def _read(self, path: str, params: Mapping[str, str], *, asked: str) -> Any:
        self._take_turn()
        answer = self._http.get(path, params)
        if answer.status != 200:
            self._refuse(answer, asked=asked)
        return self._http.masked_document(json_of_read(answer.body, asked=asked))

    def _refuse(self, answer: HttpAnswer, *, asked: str) -> NoReturn:
        """Raise what a status other than success means. Bodies: `{"error": code, "message": text}`, or none of the kind."""
        body = _error_body(answer.body)
        code, reason = (self._words(body.get(name)) for name in ("error", "message"))
        message = f"{asked}: refused with HTTP {answer.status} {code} {reason}".rstrip()
        if answer.status in {401, 403} or code in _NOT_ALLOWED:
            raise NotAllowedError(message, provider_code=code)
        if code == _RATE_EXPIRED:
            raise RateExpiredError(message, provider_code=code)
        if answer.status == 404 or code == "not_found" or (answer.status == 400 and "not found" in reason.lower()):
            raise OrderNotFoundError(message, provider_code=code)
        minimum, maximum = _told_range(body)
        if code in _OUT_OF_RANGE or minimum is not None or maximum is not None:
            raise OutOfRangeError(message, provider_code=code, minimum=minimum, maximum=maximum)
        raise ExchangeRefusedError(message, provider_code=code)

    def _words(self, text: object) -> str:
        """The provider's own, masked before they are cut: half a key is masked by nobody."""
        words = self._http.masked(text) if isinstance(text, str) else ""
        printable = "".join(c if c.isprintable() else " " for c in words[:_LONGEST_REASON])
        return " ".join(printable.split())


def _pair(from_asset: Asset, to_asset: Asset) -> dict[str, str]:
    return {
        "fromCurrency": from_asset.ticker,
        "fromNetwork": from_asset.network,
        "toCurrency": to_asset.ticker,
        "toNetwork": to_asset.network,
    }


def _check_pair(content: Mapping[str, Any], params: Mapping[str, str], asked: str) -> None:
    """A quote for another pair is as good as a wrong number."""
    for name in ("fromCurrency", "fromNetwork", "toCurrency", "toNetwork"):
        answered = content.get(name)
        if not isinstance(answered, str) or answered.lower() != params[name]:
            raise BadAnswerError(f"{asked}: {name} is not {params[name]}")


def _error_body(body: bytes) -> Mapping[str, Any]:
    try:
        content = loads_exact(body)
    except MoneyError:
        return {}
    return content if isinstance(content, dict) else {}


def _told_range(body: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    payload = body.get("payload")
    told = payload.get("range") if isinstance(payload, dict) else None
    if not isinstance(told, dict):
        return None, None
    try:
        fields = Fields(told, asked="range of a refusal")
        return fields.limit_or_none("minAmount"), fields.limit_or_none("maxAmount")
    except BadAnswerError:
        return None, None


class Pace:
    """Lets so many calls a second pass, of all threads together, and holds back the rest."""

    def __init__(self, *, per_s: int) -> None:
        self._per_s = per_s
        self._lock = threading.Lock()
        self._full_at = time.monotonic()

    def wait(self) -> None:
        """Return when the next call may be made."""
        with self._lock:
            now = time.monotonic()
            self._full_at = max(self._full_at, now) + 1 / self._per_s
            over_s = self._full_at - now - 1
        if over_s > 0:
            time.sleep(over_s)
