"""What the sandbox exchange answers: shapes, refusals, and every fault it can be told to have."""

import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.hostpay.sandbox.conftest import PAIR, Customer
from tests.lib.exchange import SandboxExchange

RANGE = {"range": {"minAmount": 0.00166667, "maxAmount": None}}


def quote(shop: SandboxExchange, path: str = "estimated-amount", **query: str) -> httpx.Response:
    return shop.http.get(f"/v2/exchange/{path}", params={**PAIR, "fromAmount": "0.1", **query})


def test_it_creates_without_a_status_and_with_blanks(customer: Customer) -> None:
    order = customer.order(payload={"batch": "b1"}, userId="u1")

    assert re.fullmatch(r"[0-9a-f]{14}", order["id"])
    assert "status" not in order
    assert (order["fromAmount"], order["toAmount"], order["payinExtraId"]) == (0.1, 298.4, "")
    assert (order["rateId"], order["validUntil"], order["flow"], order["type"]) == ("", None, "standard", "direct")


def test_it_gives_every_exchange_an_address_of_its_own(customer: Customer) -> None:
    assert len({customer.order()["payinAddress"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"toCurrency": ""}, "not_valid_params", "toCurrency is required"),
        ({"toCurrency": "t"}, "not_valid_params", "Currency t is not supported"),
        ({"fromAmount": "abc"}, "not_valid_params", "fromAmount is not a valid amount"),
        ({"fromAmount": "-1"}, "not_valid_params", "fromAmount is not a valid amount"),
        ({"fromAmount": "0.001"}, "deposit_too_small", "Out of min amount 0.00166667 eth"),
        ({"toCurrency": "eth"}, "pair_is_inactive", "Pair is inactive"),
        ({"address": "0x12"}, "not_valid_address", "Invalid address"),
        ({"refundAddress": "nowhere"}, "not_valid_refund_address", "Invalid refund address"),
        ({"flow": "fixed-rate", "rateId": "x"}, "rate_id_not_found_or_expired", "Rate id not found or expired"),
        ({"payload": {"a": "x" * 65}}, "not_valid_params", "payload is not valid"),
    ],
)
def test_it_refuses_in_the_providers_form(
    customer: Customer, shop: SandboxExchange, fields: dict[str, Any], code: str, message: str
) -> None:
    answer = customer.create(**fields)

    expected = {"error": code, "message": message} | ({"payload": RANGE} if code == "deposit_too_small" else {})
    assert (answer.status_code, answer.json()) == (400, expected)
    assert shop.exchanges() == []


def test_it_refuses_more_than_its_maximum(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(maximum_usd="100")

    assert customer.create().json()["error"] == "max_amount_exceeded"
    assert quote(shop, "range").json()["maxAmount"] == 0.03333333


def test_it_tells_a_missing_exchange_from_somebody_elses(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order()
    missing = shop.http.get("/v2/exchange/by-id", params={"id": "00000000000000"})
    foreign = shop.http.get(
        "/v2/exchange/by-id", params={"id": order["id"]}, headers={"x-changenow-api-key": shop.other_api_key}
    )

    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
    assert foreign.status_code == 403
    assert foreign.json() == {"error": "forbidden", "message": "The transaction was made from another api key"}


@pytest.mark.parametrize("key", ["", "wrong"])
def test_it_wants_a_key_for_all_but_the_currencies(shop: SandboxExchange, key: str) -> None:
    answer = shop.http.get("/v2/exchange/by-id", params={"id": "1"}, headers={"x-changenow-api-key": key})
    open_to_all = shop.http.get("/v2/exchange/currencies", headers={"x-changenow-api-key": key})

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_api_key")
    assert {(each["ticker"], each["network"]) for each in open_to_all.json()} >= {("eth", "eth"), ("usdt", "eth")}


def test_it_lists_only_for_a_private_key(shop: SandboxExchange) -> None:
    shop.set(key_is_private=False)
    answer = shop.http.get("/v2/exchanges")

    assert answer.status_code == 403
    assert answer.json() == {"error": "invalid_api_key", "message": "Use private key for this endpoint"}


def test_it_lists_in_short_pages_until_an_empty_one(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(page_rows=2)
    ids = [customer.order()["id"] for _ in range(3)]
    pages = [shop.http.get("/v2/exchanges", params={"offset": offset, "limit": 99}).json() for offset in (0, 2, 3)]

    assert [page["count"] for page in pages] == [3, 3, 3]
    assert [[row["exchangeId"] for row in page["exchanges"]] for page in pages] == [[ids[2], ids[1]], [ids[0]], []]
    assert {row["createdAt"].endswith("Z") for page in pages for row in page["exchanges"]} == {True, False}


def test_it_finds_a_lost_order_by_address_and_date(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order(userId="batch-1")
    queries = [
        {"payoutAddress": customer.wallet.address, "dateFrom": "2020-01-01T00:00:00.000Z"},
        {"userId": "batch-1"},
        {"userId": "batch-2"},
        {"dateTo": "2020-01-01T00:00:00.000Z"},
        {"statuses": "finished,failed"},
    ]
    found = [shop.http.get("/v2/exchanges", params=query).json()["exchanges"] for query in queries]

    assert [[row["exchangeId"] for row in rows] for rows in found] == [[order["id"]], [order["id"]], [], [], []]


def test_it_quotes_both_ways_to_the_same_rate(shop: SandboxExchange) -> None:
    direct, reverse = quote(shop).json(), quote(shop, type="reverse", toAmount="298.4").json()

    assert (direct["toAmount"], direct["withdrawalFee"], direct["depositFee"]) == (298.4, 0.1, 0)
    assert (reverse["fromAmount"], reverse["toAmount"]) == (0.1, 298.4)
    assert (direct["rateId"], direct["validUntil"]) == (None, None)


def test_it_quotes_by_the_price_it_was_set_to(shop: SandboxExchange) -> None:
    shop.set(price_eth_usd="2000.50", spread_bps=0, network_fee_usd="0")

    assert quote(shop).json()["toAmount"] == 200.05


def test_it_keeps_a_promised_rate(customer: Customer, shop: SandboxExchange) -> None:
    promise = quote(shop, flow="fixed-rate", useRateId="true").json()
    shop.set(price_eth_usd="1000")
    order = customer.order(flow="fixed-rate", rateId=promise["rateId"])
    customer.pay(order["payinAddress"], 10**17)

    assert order["validUntil"].endswith("Z")
    assert customer.wait_for(order["id"], "finished")["amountTo"] == 298.4
    assert customer.received() == [298_400_000]


def test_it_forgets_a_promised_rate_in_time(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(rate_valid_s="0")
    promise = quote(shop, flow="fixed-rate", useRateId="true").json()

    refused = customer.create(flow="fixed-rate", rateId=promise["rateId"])
    assert refused.json()["error"] == "rate_id_not_found_or_expired"


def test_it_refuses_the_range_without_special_access(shop: SandboxExchange) -> None:
    shop.set(special_access=False)

    assert quote(shop, "range").status_code == 403
    assert quote(shop, "min-amount").json()["minAmount"] == 0.00166667


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("0xdAC17F958D2ee523a2206206994597C13D831ec7", True),
        ("0xdac17f958d2ee523a2206206994597c13d831ec7", True),
        ("0xDac17F958D2ee523a2206206994597C13D831ec7", False),
        ("0x12", False),
    ],
)
def test_it_validates_addresses(shop: SandboxExchange, address: str, good: bool) -> None:
    answer = shop.http.get("/v2/validate/address", params={"currency": "eth", "address": address})

    assert answer.json()["result"] is good


@pytest.mark.parametrize(
    ("rule", "status", "text"),
    [
        ({"fault": "5xx"}, 503, "upstream connect error"),
        ({"fault": "5xx", "status": 502}, 502, "upstream connect error"),
        ({"fault": "429"}, 429, '{"error":"too_many_requests","message":"Too many requests"}'),
        ({"fault": "error", "code": "pair_is_inactive", "message": "No"}, 400, '{"error":"pair_is_inactive"'),
        ({"fault": "html_200"}, 200, "<!DOCTYPE html>"),
        ({"fault": "empty_200"}, 200, ""),
    ],
)
def test_it_can_answer_wrongly_once(
    customer: Customer, shop: SandboxExchange, rule: dict[str, Any], status: int, text: str
) -> None:
    shop.control("POST", "faults", {"match": {"path": "/v2/exchange", "method": "POST"}, **rule})
    spoilt, next_one = customer.create(), customer.create()

    assert spoilt.status_code == status
    assert spoilt.text.startswith(text)
    assert next_one.status_code == 200
    assert len(shop.exchanges()) == (2 if rule["fault"] == "empty_200" else 1)


def test_it_says_when_to_come_back(customer: Customer, shop: SandboxExchange) -> None:
    shop.fault("429", retry_after=7)

    assert customer.create().headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("fault", "created"), [("timeout_before", 0), ("timeout_after", 1), ("drop_before", 0), ("drop_after", 1)]
)
def test_f28_it_can_create_or_not_and_never_answer(
    customer: Customer, shop: SandboxExchange, fault: str, created: int
) -> None:
    shop.fault(fault, "/v2/exchange", seconds="0.3")
    with pytest.raises(httpx.RemoteProtocolError):
        customer.create()

    assert len(shop.exchanges()) == created
    assert customer.create().status_code == 200


def test_it_can_be_slow(customer: Customer, shop: SandboxExchange) -> None:
    shop.fault("delay", seconds="0.5")
    started = time.monotonic()

    assert customer.create().status_code == 200
    assert time.monotonic() - started >= 0.5


@pytest.mark.parametrize(
    ("rule", "field", "expected"),
    [
        ({"fault": "missing_payin"}, "payinAddress", None),
        ({"fault": "missing", "fields": ["id", "toAmount"]}, "toAmount", None),
        ({"fault": "wrong_echo", "field": "payoutAddress", "value": "0x1"}, "payoutAddress", '"0x1"'),
        ({"fault": "wrong_echo", "field": "fromAmount", "raw": "1e-7"}, "fromAmount", "1e-7"),
        ({"fault": "wrong_echo", "field": "fromAmount", "raw": "NaN"}, "fromAmount", "NaN"),
        ({"fault": "wrong_echo", "field": "toNetwork", "value": None}, "toNetwork", "null"),
    ],
)
def test_f30_it_can_echo_wrongly(
    customer: Customer, shop: SandboxExchange, rule: dict[str, Any], field: str, expected: str | None
) -> None:
    shop.control("POST", "faults", rule)
    text = customer.create().text

    assert (f'"{field}":{expected}' in text) if expected else (f'"{field}"' not in text)


def test_it_can_break_off_in_the_middle(customer: Customer, shop: SandboxExchange) -> None:
    shop.fault("truncated")
    with pytest.raises(json.JSONDecodeError):
        customer.create().json()


def test_it_counts_to_the_nth_request_and_for_so_many(customer: Customer, shop: SandboxExchange) -> None:
    shop.fault("5xx", "/v2/exchange*", match={"nth": 2, "times": 2})
    statuses = [customer.create().status_code for _ in range(4)]

    assert statuses == [200, 503, 503, 200]
    [rule] = shop.control("GET", "faults")
    assert (rule["seen"], rule["used"]) == (4, 2)
    shop.clear_faults()
    assert shop.control("GET", "faults") == []


def test_it_gives_the_next_exchange_an_outcome(customer: Customer, shop: SandboxExchange) -> None:
    shop.control("POST", "faults", {"match": {"path": "/v2/exchange"}, "outcome": {"expire": True}})
    first, second = customer.order(), customer.order()

    customer.wait_for(first["id"], "expired")
    assert customer.look(second["id"])["status"] == "waiting"


def test_it_keeps_faults_and_settings_over_a_restart(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(spread_bps=100)
    shop.fault("5xx", "/v2/exchange")
    shop.kill()
    shop.start()

    assert shop.control("GET", "settings")["spread_bps"] == 100
    assert customer.create().status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "settings", {"spread_bps": -1}),
        ("POST", "settings", {"sprad": 1}),
        ("POST", "settings", {"late_deposit": "burn"}),
        ("POST", "faults", {"fault": "earthquake"}),
        ("POST", "faults", {"match": {"pth": "*"}, "fault": "429"}),
        ("POST", "faults", {"outcome": {"partial_fil": 1}}),
        ("POST", "faults", {"fault": "wrong_echo"}),
    ],
)
def test_it_refuses_orders_it_does_not_understand(
    shop: SandboxExchange, method: str, path: str, body: dict[str, Any]
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        shop.control(method, path, body)

    assert shop.control("GET", "faults") == []


def test_it_obeys_only_who_has_the_token(shop: SandboxExchange) -> None:
    answer = shop.http.post("/control/reset", headers={"Authorization": "Bearer guess"})

    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
