"""The exchange's answers, as recorded and as an enemy would write them."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from config.lib.errors import OutcomeUnknownError, PermanentError, RateLimitedError, TransientError
from config.lib.money import ETH, USDT
from hostpay.providers.changenow import (
    BadAnswerError,
    ChangeNow,
    ExchangeRefusedError,
    ExchangeStatus,
    NotAllowedError,
    OrderNotFoundError,
    OrderRequest,
    OutOfRangeError,
    Pace,
    PlacedOrder,
    verify_echo,
)
from tests.lib.scripted_http import Reply, ScriptedServer

KEY = "cn-key-7f3a9b"
OURS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PAYIN = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"

REQUEST = OrderRequest(
    from_asset=ETH,
    to_asset=USDT,
    from_amount=Decimal("0.019400000000000001"),
    payout_address=OURS,
    refund_address=WALLET,
    tag="order-1",
)

PLACED = {
    "id": "d7d4cbdb1d1b4e",
    "fromAmount": "NUMBER",
    "toAmount": 57.13208,
    "flow": "standard",
    "type": "direct",
    "payinAddress": PAYIN.lower(),
    "payinExtraId": None,
    "payoutAddress": OURS.lower(),
    "payoutExtraId": "",
    "fromCurrency": "eth",
    "fromNetwork": "eth",
    "toCurrency": "usdt",
    "toNetwork": "eth",
    "refundAddress": WALLET,
    "refundExtraId": None,
    "rateId": None,
    "validUntil": None,
}

STATE = {
    "id": "d7d4cbdb1d1b4e",
    "status": "sending",
    "actionsAvailable": False,
    "fromCurrency": "eth",
    "fromNetwork": "eth",
    "toCurrency": "usdt",
    "toNetwork": "eth",
    "expectedAmountFrom": None,
    "expectedAmountTo": 57.13208,
    "amountFrom": 0.0194,
    "amountTo": None,
    "payinAddress": PAYIN,
    "payoutAddress": OURS.lower(),
    "createdAt": "2026-06-11T12:49:07.139Z",
    "updatedAt": "2026-06-11T12:52:01.002",
    "payinHash": "0x" + "AB" * 32,
    "payoutHash": None,
    "refundHash": None,
    "refundAmount": None,
    "validUntil": None,
    "relatedExchangesInfo": None,
    "repeatedExchangesInfo": [{"id": "aa11", "createdAt": "2026-06-11T12:49:07.139"}],
}

QUOTE = '"fromCurrency":"eth","fromNetwork":"eth","toCurrency":"usdt","toNetwork":"eth","flow":"standard"'


def text_of(shape: dict[str, Any], amount: str = "0.0194", **changes: Any) -> str:
    """The shape as JSON with `amount` as a bare number, digit by digit; a change to `...` leaves the field out."""
    changed = {name: value for name, value in {**shape, **changes}.items() if value is not ...}
    return json.dumps(changed).replace('"NUMBER"', amount)


@pytest.fixture
def exchange(server: ScriptedServer) -> ChangeNow:
    return ChangeNow(base_url=server.url, api_key=KEY, timeout_s=3)


def placed_by(server: ScriptedServer, exchange: ChangeNow, amount: str = "0.0194", **changes: Any) -> PlacedOrder:
    server.say_json(text_of(PLACED, amount, **changes))
    return exchange.create_exchange(REQUEST)


def test_inc61_an_order_names_both_networks_the_exact_amount_and_where_a_refund_goes(
    server: ScriptedServer, exchange: ChangeNow
) -> None:
    placed = placed_by(server, exchange)

    [asked] = server.asked
    assert (asked.method, asked.path, asked.headers["x-changenow-api-key"]) == ("POST", "/v2/exchange", KEY)
    assert asked.json == {
        "fromCurrency": "eth",
        "fromNetwork": "eth",
        "toCurrency": "usdt",
        "toNetwork": "eth",
        "fromAmount": "0.019400000000000001",
        "toAmount": "",
        "address": OURS,
        "extraId": "",
        "refundAddress": WALLET,
        "refundExtraId": "",
        "userId": "",
        "contactEmail": "",
        "flow": "standard",
        "type": "direct",
        "rateId": "",
    }
    assert placed.order_id == "d7d4cbdb1d1b4e"
    assert placed.payin_address == PAYIN
    assert placed.expected_to_amount == Decimal("57.13208")
    assert placed.raw["fromAmount"] == "0.0194"
    assert verify_echo(REQUEST, placed) == []


def test_a_tag_is_told_where_the_account_allows_it(server: ScriptedServer) -> None:
    server.say_json(text_of(PLACED))

    ChangeNow(base_url=server.url, api_key=KEY, timeout_s=3, has_partner_fields=True).create_exchange(REQUEST)

    assert server.asked[0].json["payload"] == {"reference": "order-1"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"fromCurrency": "btc"}, "from currency"),
        ({"fromNetwork": "arbitrum"}, "from network"),
        ({"toCurrency": "usdc"}, "to currency"),
        ({"toNetwork": "trx"}, "to network"),
        ({"payoutAddress": WALLET}, "payout address"),
        ({"payoutAddress": OURS.replace("C", "c", 1)}, "payout address"),
        ({"refundAddress": OURS}, "refund address"),
        ({"refundAddress": ...}, "refund address"),
        ({"payinAddress": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}, "pay-in address"),
        ({"payinAddress": PAYIN[:-1] + "c"}, "pay-in address"),
        ({"payinAddress": PAYIN[:-1]}, "pay-in address"),
        ({"payinAddress": "0x" + "0" * 40}, "pay-in address"),
        ({"payinExtraId": "77"}, "pay-in memo"),
        ({"payoutExtraId": "77"}, "payout memo"),
        ({"flow": "fixed-rate"}, "flow"),
        ({"type": "reverse"}, "type"),
        ({"fromAmount": 19.4}, "amount"),
        ({"fromAmount": "0.01940002"}, "amount"),
        ({"fromAmount": 1e-7}, "amount"),
    ],
)
def test_f30_whatever_is_not_as_asked_is_a_mismatch(
    server: ScriptedServer, exchange: ChangeNow, changes: dict[str, Any], field: str
) -> None:
    placed = placed_by(server, exchange, **changes)

    assert [mismatch.field for mismatch in verify_echo(REQUEST, placed)] == [field]


@pytest.mark.parametrize("name", ["id", "payinAddress", "payoutAddress", "fromAmount", "fromNetwork", "toCurrency"])
@pytest.mark.parametrize("value", [..., None, "", [], 7, {"a": 1}])
def test_f30_an_order_without_what_money_depends_on_is_a_bad_answer(
    server: ScriptedServer, exchange: ChangeNow, name: str, value: Any
) -> None:
    if (name, value) == ("fromAmount", 7):
        value = True

    with pytest.raises(BadAnswerError, match=name):
        placed_by(server, exchange, **{name: value})

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "amount", ["0", "-0.0194", "NaN", "Infinity", "1e999999999", "1e31", "1e-31", '"0x1"', '"1e2"']
)
def test_f30_an_amount_that_is_none_is_a_bad_answer(server: ScriptedServer, exchange: ChangeNow, amount: str) -> None:
    with pytest.raises(BadAnswerError):
        placed_by(server, exchange, amount)


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"", b"null", b"[]", b'{"id": "a"', b"\xff\xfe", b'"ok"'])
def test_f30_a_page_instead_of_an_order_is_a_bad_answer(
    server: ScriptedServer, exchange: ChangeNow, body: bytes
) -> None:
    server.say(Reply(body=body))

    with pytest.raises(BadAnswerError):
        exchange.create_exchange(REQUEST)


@pytest.mark.parametrize("reply", [Reply(pause_s=4), Reply(drop=True), Reply(status=500), Reply(status=504)])
def test_f28_an_order_without_an_answer_is_unknown_and_not_repeated(
    server: ScriptedServer, exchange: ChangeNow, reply: Reply
) -> None:
    server.say(reply)

    with pytest.raises(OutcomeUnknownError):
        exchange.create_exchange(REQUEST)

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, '{"error":"not_valid_params","message":"toCurrency is required"}', ExchangeRefusedError),
        (400, '{"error":"pair_is_inactive","message":"Pair is inactive"}', ExchangeRefusedError),
        (400, '{"error":"not_valid_refund_address","message":"x"}', ExchangeRefusedError),
        (400, '{"error":"out_of_range","message":"Amount is less then minimal: 0.002644 BTC"}', OutOfRangeError),
        (401, '{"error":"invalid_api_key","message":"Use private key for this endpoint"}', NotAllowedError),
        (403, "<html>blocked</html>", NotAllowedError),
        (400, '{"error":"forbidden","message":"made from another api key"}', NotAllowedError),
        (422, "not json", ExchangeRefusedError),
    ],
)
def test_a_refusal_says_why(
    server: ScriptedServer, exchange: ChangeNow, status: int, body: str, error: type[ExchangeRefusedError]
) -> None:
    server.say_json(body, status=status)

    with pytest.raises(PermanentError) as refused:
        exchange.create_exchange(REQUEST)

    assert type(refused.value) is error
    assert "order-1" in str(refused.value)


def test_inc60_a_refusal_for_the_amount_tells_the_limits(server: ScriptedServer, exchange: ChangeNow) -> None:
    body = '{"error":"deposit_too_small","message":"Out of min amount","payload":{"range":{"minAmount":0.0026}}}'
    server.say_json(body, status=400)

    with pytest.raises(OutOfRangeError) as refused:
        exchange.create_exchange(REQUEST)

    assert (refused.value.minimum, refused.value.maximum) == (Decimal("0.0026"), None)
    assert refused.value.provider_code == "deposit_too_small"


def test_a_provider_that_quotes_our_key_back_does_not_get_it_into_an_error(
    server: ScriptedServer, exchange: ChangeNow
) -> None:
    server.say_json(json.dumps({"error": "invalid_api_key", "message": f"key {KEY}\nis unknown"}), status=401)

    with pytest.raises(NotAllowedError, match=r"key \*\*\* is unknown") as refused:
        exchange.exchange("a1")

    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "error",
    [
        {"error": f"bad_{KEY}", "message": "no"},
        # Where the message is cut, half of the key would be left.
        {"error": "no", "message": "x" * (200 - len(KEY) // 2) + KEY},
    ],
)
def test_f74_no_part_of_our_key_is_in_an_error(
    server: ScriptedServer, exchange: ChangeNow, error: dict[str, str]
) -> None:
    server.say_json(json.dumps(error), status=400)

    with pytest.raises(ExchangeRefusedError) as refused:
        exchange.exchange("a1")

    assert KEY[: len(KEY) // 2] not in str(refused.value)
    assert KEY not in refused.value.provider_code


def test_f32_too_many_requests_are_told_as_such(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say(Reply(status=429))

    with pytest.raises(RateLimitedError):
        exchange.create_exchange(REQUEST)


def test_inc20_a_state_keeps_what_is_null_none(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(text_of(STATE))

    state = exchange.exchange("d7d4cbdb1d1b4e")

    assert server.asked[0].path == "/v2/exchange/by-id?id=d7d4cbdb1d1b4e"
    assert (state.status, state.raw_status) == (ExchangeStatus.SENDING, "sending")
    assert (state.from_asset, state.to_asset) == (ETH, USDT)
    assert (state.expected_from, state.expected_to) == (None, Decimal("57.13208"))
    assert (state.amount_from, state.amount_to) == (Decimal("0.0194"), None)
    assert (state.payin_hash, state.payout_hash) == ("0x" + "ab" * 32, None)
    assert state.updated_at == datetime(2026, 6, 11, 12, 52, 1, 2000, tzinfo=UTC)
    assert state.further_ids == ("aa11",)


@pytest.mark.parametrize("status", [status for status in ExchangeStatus if status is not ExchangeStatus.UNKNOWN])
def test_inc20_what_was_received_is_read_of_a_finished_exchange_only(
    server: ScriptedServer, exchange: ChangeNow, status: ExchangeStatus
) -> None:
    server.say_json(text_of(STATE, status=status.value, amountTo=57.000001))

    state = exchange.exchange("d7d4cbdb1d1b4e")

    assert state.status is status
    assert state.amount_to == (Decimal("57.000001") if status is ExchangeStatus.FINISHED else None)


@pytest.mark.parametrize("amount", [None, 0, "", ..., "0"])
def test_finished_without_a_figure_is_not_yet(server: ScriptedServer, exchange: ChangeNow, amount: Any) -> None:
    server.say_json(text_of(STATE, status="finished", amountTo=amount))

    assert exchange.exchange("d7d4cbdb1d1b4e").amount_to is None


@pytest.mark.parametrize("amount", ["None", "57,1", True, [], -1])
def test_inc20_a_figure_that_is_none_is_a_bad_answer(server: ScriptedServer, exchange: ChangeNow, amount: Any) -> None:
    server.say_json(text_of(STATE, status="finished", amountTo=amount))

    with pytest.raises(BadAnswerError, match="amountTo"):
        exchange.exchange("d7d4cbdb1d1b4e")


def test_f74_our_key_is_in_nothing_that_is_kept_of_an_answer(server: ScriptedServer, exchange: ChangeNow) -> None:
    quoting: dict[str, Any] = {"status": f"no-{KEY}", "message": {"to": [f"key {KEY}"]}, f"x-{KEY}": 1}
    server.say_json(text_of(STATE, **quoting))

    state = exchange.exchange("d7d4cbdb1d1b4e")

    assert state.raw_status == "no-***"
    assert state.raw["message"] == {"to": ["key ***"]}
    assert KEY not in repr(state)


def test_f40_a_new_word_for_a_status_is_unknown_and_kept(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(text_of(STATE, status="frozen_by_regulator"))

    state = exchange.exchange("d7d4cbdb1d1b4e")

    assert (state.status, state.raw_status) == (ExchangeStatus.UNKNOWN, "frozen_by_regulator")


def test_inc12_an_asset_we_do_not_handle_is_none_and_never_another(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(text_of(STATE, toNetwork="trx"))

    assert exchange.exchange("d7d4cbdb1d1b4e").to_asset is None


def test_an_answer_about_another_exchange_is_a_bad_one(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(text_of(STATE))

    with pytest.raises(BadAnswerError, match="is about d7d4cbdb1d1b4e"):
        exchange.exchange("another")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, '{"error":"not_found","message":"Exchange not found"}'),
        (400, '{"error":"bad_params","message":"Exchange not found"}'),
        (404, ""),
    ],
)
def test_an_unknown_exchange_is_told_as_such(
    server: ScriptedServer, exchange: ChangeNow, status: int, body: str
) -> None:
    server.say_json(body, status=status)

    with pytest.raises(OrderNotFoundError):
        exchange.exchange("d7d4cbdb1d1b4e")


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(pause_s=4), Reply(body=b"<html>"), Reply(drop=True)])
def test_f32_a_question_without_an_answer_may_be_asked_again(
    server: ScriptedServer, exchange: ChangeNow, reply: Reply
) -> None:
    server.say(reply)

    with pytest.raises(TransientError) as failed:
        exchange.exchange("d7d4cbdb1d1b4e")

    assert not isinstance(failed.value, OutcomeUnknownError)


def test_inc60_the_limits_of_a_pair(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(f'{{{QUOTE},"minAmount":0.0026,"maxAmount":null}}', f'{{{QUOTE},"minAmount":1e-7,"maxAmount":5}}')

    first = exchange.amount_range(from_asset=ETH, to_asset=USDT)
    second = exchange.amount_range(from_asset=ETH, to_asset=USDT)

    assert (first.minimum, first.maximum) == (Decimal("0.0026"), None)
    assert (second.minimum, second.maximum) == (Decimal("0.0000001"), Decimal(5))


def test_without_the_right_to_the_range_the_minimum_is_asked_for(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say(
        Reply(status=403, body=b'{"error":"forbidden","message":"by request"}'),
        Reply(body=f'{{{QUOTE},"minAmount":0.0026}}'.encode()),
    )

    for _ in range(2):
        limits = exchange.amount_range(from_asset=ETH, to_asset=USDT)
        assert (limits.minimum, limits.maximum) == (Decimal("0.0026"), None)

    paths = [asked.path.split("?")[0].rsplit("/")[-1] for asked in server.asked]
    assert paths == ["range", "min-amount", "min-amount"]


@pytest.mark.parametrize(
    "rest", ['"minAmount":null', '"minAmount":"none"', '"minAmount":2,"maxAmount":1', '"minAmount":-1', '"a":1']
)
def test_inc60_limits_that_are_none_are_a_bad_answer(server: ScriptedServer, exchange: ChangeNow, rest: str) -> None:
    server.say_json(f"{{{QUOTE},{rest}}}")

    with pytest.raises(BadAnswerError):
        exchange.amount_range(from_asset=ETH, to_asset=USDT)


def test_an_estimate_keeps_its_digits(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(
        f'{{{QUOTE},"fromAmount":0.0194,"toAmount":57.13208,"rateId":null,"depositFee":0,"withdrawalFee":2}}'
    )

    estimate = exchange.estimate(from_asset=ETH, to_asset=USDT, from_amount=REQUEST.from_amount)

    assert estimate.to_amount == Decimal("57.13208")
    assert (estimate.deposit_fee, estimate.withdrawal_fee, estimate.rate_id) == (Decimal(0), Decimal(2), None)
    assert "fromAmount=0.019400000000000001" in server.asked[0].path


@pytest.mark.parametrize(
    "body",
    [
        f'{{{QUOTE},"fromAmount":0.0194,"toAmount":0}}',
        f'{{{QUOTE},"fromAmount":0.0194,"toAmount":null}}',
        f'{{{QUOTE},"fromAmount":19.4,"toAmount":57.1}}',
        f'{{{QUOTE.replace("usdt", "usdc")},"fromAmount":0.0194,"toAmount":57.1}}',
        '{"fromAmount":0.0194,"toAmount":57.1}',
    ],
)
def test_inc10_an_estimate_of_something_else_is_a_bad_answer(
    server: ScriptedServer, exchange: ChangeNow, body: str
) -> None:
    server.say_json(body)

    with pytest.raises(BadAnswerError):
        exchange.estimate(from_asset=ETH, to_asset=USDT, from_amount=REQUEST.from_amount)


def listed(number: int) -> str:
    row = {
        "exchangeId": f"x{number}",
        "requestId": f"r{number}",
        "status": "waiting",
        "createdAt": "2026-06-11T12:49:07.139",
        "payin": {"address": PAYIN, "amount": None, "expectedAmount": 0.0194},
        "payout": {"address": OURS},
        "partnerInfo": {"payload": {"reference": f"order-{number}"}},
    }
    return json.dumps(row)


def test_f28_the_list_is_read_until_a_page_is_empty(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json(
        f'{{"count":3,"exchanges":[{listed(1)},{listed(2)}]}}',
        f'{{"count":3,"exchanges":[{listed(3)}]}}',
        '{"count":3,"exchanges":[]}',
    )

    found = exchange.find_exchanges(payout_address=OURS, since=datetime(2026, 6, 11, 12, tzinfo=UTC))

    assert [row.order_id for row in found] == ["r1", "r2", "r3"]
    assert (found[0].tag, found[0].amount_from) == ("order-1", Decimal("0.0194"))
    assert found[0].created_at == datetime(2026, 6, 11, 12, 49, 7, 139000, tzinfo=UTC)
    assert [asked.path.split("offset=")[1].split("&")[0] for asked in server.asked] == ["0", "2", "3"]
    assert "dateFrom=2026-06-11T12%3A00%3A00.000Z" in server.asked[0].path


def test_f28_one_order_of_the_list_is_asked_for_by_what_create_answered(
    server: ScriptedServer, exchange: ChangeNow
) -> None:
    server.say_json(f'{{"count":1,"exchanges":[{listed(1)}]}}')

    row = exchange.listed_exchange("r1")

    assert row is not None
    assert (row.order_id, row.amount_from) == ("r1", Decimal("0.0194"))
    assert "requestId=r1" in server.asked[0].path
    # A list that does not know the filter answers with others, which prove nothing.
    assert exchange.listed_exchange("r2") is None


def test_f28_a_standard_key_may_not_list(server: ScriptedServer, exchange: ChangeNow) -> None:
    server.say_json('{"error":"invalid_api_key","message":"Use private key for this endpoint"}', status=403)

    with pytest.raises(NotAllowedError):
        exchange.find_exchanges(payout_address=OURS, since=datetime(2026, 6, 11, tzinfo=UTC))


def test_a_list_without_end_ends(server: ScriptedServer) -> None:
    exchange = ChangeNow(base_url=server.url, api_key=KEY, timeout_s=5, take_turn=lambda: None)
    server.say_json(f'{{"exchanges":[{listed(1)}]}}')

    with pytest.raises(BadAnswerError, match="no end"):
        exchange.find_exchanges(payout_address=OURS, since=datetime(2026, 6, 11, tzinfo=UTC))

    assert len(server.asked) == 100


def test_a_checksummed_request_matches_its_answer_in_any_case(server: ScriptedServer, exchange: ChangeNow) -> None:
    placed = placed_by(server, exchange)

    assert verify_echo(REQUEST, replace(placed, payout_address=OURS)) == []
    assert verify_echo(REQUEST, replace(placed, payout_address="0x" + OURS[2:].upper())) == []


def test_it_keeps_to_the_pace_the_provider_allows(server: ScriptedServer) -> None:
    exchange = ChangeNow(base_url=server.url, api_key=KEY, timeout_s=5, take_turn=Pace(per_s=10).wait)
    server.say_json(text_of(STATE))
    started = time.monotonic()

    for _ in range(14):
        exchange.exchange("d7d4cbdb1d1b4e")

    # Ten at once, and then one every tenth of a second.
    assert 0.35 <= time.monotonic() - started < 30
