"""A token proves who said what, and when; anything else about it is refused."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.signing import TimestampSigner
from pytest_django.fixtures import Settings

from hostpay import tokens
from hostpay.tokens import (
    PaymentRequest,
    SwapExecuted,
    TokenError,
    TokenExpiredError,
    TokenMalformedError,
    TokenSignatureError,
    mint_payment_request,
    mint_swap_executed,
    read_payment_request,
    read_swap_executed,
)

FIRST, SECOND = "first-token-key-" + "a" * 32, "second-token-key-" + "b" * 32
NOON = 1_780_000_000

REQUEST = PaymentRequest(
    context="batch",
    batch_conversion_id="f577abaa-1c3e-4c0a-9f63-0a52e1b8a7d4",
    cn_api_id="d7d4cbdb1d1b4e",
    from_currency="eth",
    from_network="eth",
    from_amount=Decimal("0.019400000000000001"),
    payin_address="0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
)
REPORT = SwapExecuted(
    batch_conversion_id="f577abaa-1c3e-4c0a-9f63-0a52e1b8a7d4",
    cn_api_id="d7d4cbdb1d1b4e",
    tx_hash="0x" + "1a" * 32,
    actual_usdt_received=Decimal("57.13208"),
)


@pytest.fixture(autouse=True)
def _keys(settings: Settings) -> None:
    settings.TOKEN_SIGNING_KEYS = [FIRST]


def content_of(token: str) -> dict[str, Any]:
    payload = token.split(":", maxsplit=1)[0]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def signed_request(content: object) -> str:
    """A token with our own signature over any content, as a faulty sender would make it."""
    direction = tokens._Direction.REQUEST
    signer = TimestampSigner(key=tokens._derived(FIRST, direction), salt=direction.value, algorithm="sha256")
    return signer.sign_object(content)


def test_a_request_says_what_was_asked_for() -> None:
    with time_machine.travel(NOON, tick=False):
        claims = read_payment_request(mint_payment_request(REQUEST))

    assert {**asdict(claims), "timestamp": 0, "nonce": ""} == {**asdict(REQUEST), "timestamp": 0, "nonce": ""}
    assert claims.timestamp == NOON
    assert len(claims.nonce) == 32


def test_inc31_a_report_carries_whole_ids_and_exact_amounts() -> None:
    claims = read_swap_executed(mint_swap_executed(REPORT))

    assert {**asdict(claims), "timestamp": 0, "nonce": ""} == {**asdict(REPORT), "timestamp": 0, "nonce": ""}


def test_the_fields_are_those_of_the_contract_and_amounts_are_strings() -> None:
    request, report = content_of(mint_payment_request(REQUEST)), content_of(mint_swap_executed(REPORT))

    assert set(request) == {*asdict(REQUEST), "timestamp", "nonce"}
    assert request["from_amount"] == "0.019400000000000001"
    assert set(report) == {*asdict(REPORT), "timestamp", "nonce"}
    assert report["actual_usdt_received"] == "57.13208"


def test_each_delivery_has_a_token_of_its_own() -> None:
    with time_machine.travel(NOON, tick=False):
        first, second = mint_payment_request(REQUEST), mint_payment_request(REQUEST)

    assert read_nonce(first) != read_nonce(second)


def read_nonce(token: str) -> str:
    return str(content_of(token)["nonce"])


@pytest.mark.parametrize("age_s", [0, 1, 300])
def test_inc32_it_is_valid_for_five_minutes(age_s: int) -> None:
    with time_machine.travel(NOON, tick=False):
        token = mint_payment_request(REQUEST)
    with time_machine.travel(NOON + age_s, tick=False):
        assert read_payment_request(token).timestamp == NOON


@pytest.mark.parametrize("age_s", [301, 360, 31 * 60, 7200, -61, -3600])
def test_inc32_it_is_refused_when_old_or_from_the_future(age_s: int) -> None:
    with time_machine.travel(NOON, tick=False):
        token = mint_payment_request(REQUEST)
    with time_machine.travel(NOON + age_s, tick=False), pytest.raises(TokenExpiredError) as refused:
        read_payment_request(token)

    assert refused.value.code == "token_expired"
    assert token not in str(refused.value)


def test_a_clock_slightly_ahead_is_borne_with() -> None:
    with time_machine.travel(NOON, tick=False):
        token = mint_swap_executed(REPORT)
    with time_machine.travel(NOON - 60, tick=False):
        assert read_swap_executed(token).timestamp == NOON


def test_a_token_of_one_direction_is_none_of_the_other() -> None:
    with pytest.raises(TokenSignatureError):
        read_swap_executed(mint_payment_request(REQUEST))
    with pytest.raises(TokenSignatureError):
        read_payment_request(mint_swap_executed(REPORT))


def test_the_directions_differ_in_their_keys_too() -> None:
    request, report = tokens._Direction.REQUEST, tokens._Direction.REPORT

    assert tokens._derived(FIRST, request) != tokens._derived(FIRST, report)
    assert FIRST not in tokens._derived(FIRST, request)


def test_a_token_of_another_key_is_refused(settings: Settings) -> None:
    token = mint_payment_request(REQUEST)
    settings.TOKEN_SIGNING_KEYS = [SECOND]

    with pytest.raises(TokenSignatureError) as refused:
        read_payment_request(token)

    assert refused.value.code == "token_bad_signature"
    assert FIRST not in str(refused.value)


def test_f17_a_key_is_rotated_without_a_gap(settings: Settings) -> None:
    old = mint_payment_request(REQUEST)
    settings.TOKEN_SIGNING_KEYS = [SECOND, FIRST]
    new = mint_payment_request(REQUEST)

    assert read_payment_request(old).cn_api_id == REQUEST.cn_api_id
    assert read_payment_request(new).cn_api_id == REQUEST.cn_api_id
    settings.TOKEN_SIGNING_KEYS = [SECOND]
    assert read_payment_request(new).cn_api_id == REQUEST.cn_api_id
    with pytest.raises(TokenSignatureError):
        read_payment_request(old)


def test_an_altered_or_shortened_token_is_refused() -> None:
    token = mint_payment_request(REQUEST)

    for place in range(len(token)):
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(TokenSignatureError):
            read_payment_request(altered)
        with pytest.raises(TokenSignatureError):
            read_payment_request(token[:place])


@pytest.mark.parametrize("token", ["", ":", "::", "a:b:c", ".a:b:c"])
def test_what_is_no_token_has_no_signature(token: str) -> None:
    with pytest.raises(TokenSignatureError):
        read_payment_request(token)


@pytest.mark.parametrize("token", ["x" * 5000, "é:b:c", None, b"a:b:c", 7])
def test_what_cannot_be_a_token_is_malformed(token: Any) -> None:
    with pytest.raises(TokenMalformedError):
        read_payment_request(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"context": ...},
        {"nonce": ...},
        {"timestamp": ...},
        {"amount": "1"},
        {"from_amount": 0.0194},
        {"from_amount": "0"},
        {"from_amount": "-1"},
        {"from_amount": "1e5"},
        {"from_amount": "1.0000000000000000001"},
        {"timestamp": "1780000000"},
        {"timestamp": True},
        {"timestamp": -1},
        {"nonce": "short"},
        {"context": ""},
        {"context": "two words"},
        {"context": None},
        {"batch_conversion_id": "x" * 65},
        {"payin_address": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293Bc"},
        {"payin_address": ""},
    ],
)
def test_a_signed_token_that_says_something_else_is_malformed(changes: dict[str, Any]) -> None:
    content = {**content_of(mint_payment_request(REQUEST)), **changes}
    token = signed_request({name: value for name, value in content.items() if value is not ...})

    with pytest.raises(TokenMalformedError) as refused:
        read_payment_request(token)

    assert refused.value.code == "token_malformed"


@pytest.mark.parametrize("content", [[], "text", None, 7])
def test_a_signed_token_that_is_no_object_is_malformed(content: object) -> None:
    with pytest.raises(TokenMalformedError):
        read_payment_request(signed_request(content))


@pytest.mark.parametrize(
    "mint",
    [
        lambda: mint_payment_request(replace(REQUEST, from_amount=Decimal("1e-19"))),
        lambda: mint_payment_request(replace(REQUEST, from_amount=Decimal(0))),
        lambda: mint_payment_request(replace(REQUEST, payin_address="0x12")),
        lambda: mint_swap_executed(replace(REPORT, tx_hash="")),
        lambda: mint_swap_executed(replace(REPORT, actual_usdt_received=Decimal("0.0000001"))),
        lambda: mint_swap_executed(replace(REPORT, actual_usdt_received=Decimal("NaN"))),
    ],
)
def test_what_its_reader_would_refuse_is_not_minted(mint: Callable[[], str]) -> None:
    with pytest.raises(TokenError):
        mint()
