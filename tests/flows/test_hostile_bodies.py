"""What no sender sends by accident, posted to every address of the API: refused in words, and the process lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver

from hostpay.models import HostPayment
from payouts.models import Accumulation
from payouts.services import create_api_key
from tests.factories import ACTOR
from tests.payouts.sending import signed_headers

pytestmark = pytest.mark.django_db

# Beyond any stack, and by far the shortest text that is.
DEPTH = 30_000


def _addresses(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, route)
        elif route.startswith("/api/") and "<" not in route and _may_take_a_body(pattern):
            yield route


def _may_take_a_body(pattern: URLPattern) -> bool:
    """A view that is no class of the framework may do anything."""
    kind = getattr(pattern.callback, "cls", None)
    return kind is None or hasattr(kind, "post")


POSTED = list(_addresses(get_resolver().url_patterns))


def post(address: str, body: bytes) -> Any:
    """With every proof that any of the addresses asks for, but NOWPayments': what that vouches for is stored as it is."""
    _, key = create_api_key(name="tests", scopes=("read", "ops"), actor=ACTOR)
    headers = {"authorization": f"Bearer {key}", "x-nowpayments-sig": "0" * 128, **signed_headers(body)}
    return Browser().post(address, body, content_type="application/json", headers=headers)


def test_f16_every_address_that_takes_a_body_is_among_the_tested() -> None:
    assert set(POSTED) >= {
        "/api/v1/payments/",
        "/api/v1/batches/check-threshold/",
        "/api/v1/batches/swap-executed/",
        "/api/v1/hostpay/payments/",
        "/api/v1/hostpay/payment-completed/",
    }


@pytest.mark.parametrize("address", POSTED)
@pytest.mark.parametrize("body", [b"[" * DEPTH + b"]" * DEPTH, b'{"a":' * (DEPTH // 3) + b"1" + b"}" * (DEPTH // 3)])
def test_f16_deep_json_is_refused_and_ends_no_process(address: str, body: bytes) -> None:
    answer = post(address, body)

    # What a sender's own signature covers is parsed to be verified.
    assert (answer.status_code, answer.json()["code"]) in {(400, "invalid_json"), (401, "bad_signature")}
    assert not HostPayment.objects.exists()
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize("address", POSTED)
def test_f16_a_body_larger_than_any_request_is_refused(address: str) -> None:
    answer = post(address, b'{"token":"' + b"a" * (4 * 1024 * 1024) + b'"}')

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert not HostPayment.objects.exists()


@pytest.mark.parametrize("address", POSTED)
def test_f16_thousands_of_unknown_fields_are_not_told_one_by_one(address: str) -> None:
    answer = post(address, json.dumps({f"field-{number}": number for number in range(2500)}).encode())

    assert (answer.status_code, answer.json()["code"]) in {(400, "invalid_fields"), (401, "bad_signature")}
    assert len(answer.content) < 8192
    assert len(answer.json().get("errors", [])) <= 50


@pytest.mark.parametrize("address", POSTED)
@pytest.mark.parametrize("body", [b'{"token": NaN}', b'{"token": "a", "token": "b"}', b"\x1f\x8b\x08\x00"])
def test_f16_a_body_with_two_meanings_or_none_is_refused(address: str, body: bytes) -> None:
    answer = post(address, body)

    assert (answer.status_code, answer.json()["code"]) in {(400, "invalid_json"), (401, "bad_signature")}
    assert not HostPayment.objects.exists()
