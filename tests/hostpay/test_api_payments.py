"""Host payments requested and reported by signed tokens."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.test import Client as Browser
from django.utils import timezone

from batches.models import BatchConversion
from config.invariants import examine
from hostpay.callbacks import are_wrong_tokens_counted
from hostpay.models import ExchangeOrder, HostPayment, PaymentStatus, UsedToken
from hostpay.tokens import PaymentRequest, SwapExecuted, mint_payment_request, mint_swap_executed
from payouts.models import FailedTries
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/hostpay/payments/"
COMPLETED = "/api/v1/hostpay/payment-completed/"
PAYIN = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
OTHER_PAYIN = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def ask(**changes: Any) -> str:
    facts = {
        "context": "batch",
        "batch_conversion_id": "0a5b8a1e-0000-4000-8000-000000000001",
        "cn_api_id": "order-1",
        "from_currency": "eth",
        "from_network": "eth",
        "from_amount": Decimal("0.123456789012345678"),
        "payin_address": PAYIN,
    }
    return mint_payment_request(PaymentRequest(**{**facts, **changes}))


def tell(**changes: Any) -> str:
    facts = {
        "batch_conversion_id": "0a5b8a1e-0000-4000-8000-000000000001",
        "cn_api_id": "order-1",
        "tx_hash": "0x" + "ab" * 32,
        "actual_usdt_received": Decimal("11.9"),
    }
    return mint_swap_executed(SwapExecuted(**{**facts, **changes}))


@pytest.fixture
def open_batch() -> BatchConversion:
    """The batch that `ask` names: open, and of exactly that ETH."""
    return BatchConversion.objects.create(
        id="0a5b8a1e-0000-4000-8000-000000000001",
        status="swapping",
        policy=factories.policy("20"),
        threshold_usd=20,
        total_usd=Decimal("246.90"),
        member_count=1,
        net_wei=123456789012345678,
        unreceipted_usd=0,
        created_by="test",
    )


def post(url: str, token: Any) -> Any:
    return Browser().post(url, json.dumps({"token": token}), content_type="application/json")


def test_it_requests_a_payment_of_the_order_it_names(open_batch: BatchConversion) -> None:
    answer = post(URL, ask())

    payment = HostPayment.objects.get()
    assert answer.status_code == 201
    assert answer.json() == {
        "id": str(payment.pk),
        "context": "batch",
        "reference": "0a5b8a1e-0000-4000-8000-000000000001",
        "status": "requested",
    }
    assert (payment.amount_units, payment.requested_by) == (123456789012345678, "api:request token")
    order = ExchangeOrder.objects.get()
    assert (order.payment, order.provider_order_id, order.payin_address) == (payment, "order-1", PAYIN)
    assert (payment.expected_usd, payment.tolerance_bps) == (Decimal("246.90"), 1000)
    assert order.status_changes.get().to_status == "ordering"


@pytest.mark.parametrize(
    "spoil",
    [
        {"status": "cancelled", "failure_reason": "released"},
        {"net_wei": 123456789012345677},
        {"unreceipted_usd": Decimal(1)},
        {"id": "0a5b8a1e-0000-4000-8000-000000000009"},
    ],
)
def test_it_pays_for_no_batch_that_is_not_open_and_of_this_amount(
    open_batch: BatchConversion, spoil: dict[str, Any]
) -> None:
    BatchConversion.objects.filter(pk=open_batch.pk).update(**spoil)

    answer = post(URL, ask())

    assert (answer.status_code, answer.json()["code"]) == (422, "not_admitted")
    assert not HostPayment.objects.exists()
    assert not UsedToken.objects.exists()


def test_it_takes_no_instant_payment_by_token() -> None:
    """A token names no receiver; our own wallet would keep what belongs to somebody else."""
    answer = post(URL, ask(context="instant"))

    assert (answer.status_code, answer.json()["code"]) == (422, "not_admitted")
    assert not HostPayment.objects.exists()


def test_a_payment_asked_for_by_token_breaks_no_invariant(open_batch: BatchConversion) -> None:
    post(URL, ask())

    # The bare batch of this test has no members; what is asked here is the history of what the token made.
    of_history = [str(finding) for finding in examine(with_chain=False) if finding.invariant.id == "I11"]
    assert of_history
    assert not any("exchange order" in text or "host payment" in text for text in of_history if ": " in text)


def test_a_report_does_not_wake_a_payment_that_waits_for_a_person(open_batch: BatchConversion) -> None:
    post(URL, ask())
    HostPayment.objects.update(review_reason="worth?", review_since=timezone.now(), next_action_at=None)

    answer = post(COMPLETED, tell())

    assert answer.status_code == 202
    assert HostPayment.objects.get().next_action_at is None


def test_the_same_request_in_a_fresh_token_gives_the_same_payment(open_batch: BatchConversion) -> None:
    first = post(URL, ask())

    again = post(URL, ask())

    assert (again.status_code, again["Idempotent-Replayed"], again.json()) == (200, "true", first.json())
    assert HostPayment.objects.count() == 1
    assert UsedToken.objects.count() == 2


def test_a_replayed_token_asks_for_nothing_even_when_the_payment_has_failed_meanwhile(
    open_batch: BatchConversion,
) -> None:
    token = ask()
    post(URL, token)
    HostPayment.objects.update(status=PaymentStatus.CANCELLED)

    answer = post(URL, token)

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert HostPayment.objects.count() == 1


@pytest.mark.parametrize(
    "changes", [{"from_amount": Decimal("0.2")}, {"cn_api_id": "order-2"}, {"payin_address": OTHER_PAYIN}]
)
def test_the_same_purpose_with_other_content_is_a_conflict(
    open_batch: BatchConversion, changes: dict[str, Any]
) -> None:
    post(URL, ask())

    answer = post(URL, ask(**changes))

    assert (answer.status_code, answer.json()["code"]) == (409, "conflicting_request")
    assert HostPayment.objects.get().amount_units == 123456789012345678
    assert UsedToken.objects.count() == 1


def test_one_order_cannot_be_paid_for_two_purposes(open_batch: BatchConversion) -> None:
    post(URL, ask())
    open_batch.pk = "0a5b8a1e-0000-4000-8000-000000000002"
    open_batch.save(force_insert=True)

    answer = post(URL, ask(batch_conversion_id="0a5b8a1e-0000-4000-8000-000000000002"))

    assert (answer.status_code, answer.json()["code"]) == (409, "conflicting_request")
    assert HostPayment.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"from_currency": "btc", "from_network": "btc"}, "unsupported_asset"),
        ({"from_network": "arbitrum"}, "unsupported_asset"),
        ({"context": "threshold"}, "context_not_accepted"),
        ({"context": "party"}, "context_not_accepted"),
    ],
)
def test_it_refuses_what_the_wallet_does_not_pay(changes: dict[str, str], code: str) -> None:
    answer = post(URL, ask(**changes))

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert not HostPayment.objects.exists()
    assert not UsedToken.objects.exists()


def _refused(answer: Any, status: int, code: str) -> bool:
    seen = (answer.status_code, answer.json()["code"], answer["Content-Type"])
    return seen == (status, code, "application/problem+json") and not HostPayment.objects.exists()


def test_a_request_that_was_altered_is_refused() -> None:
    token = ask()
    altered = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]

    assert _refused(post(URL, altered), 401, "token_bad_signature")


def test_a_request_by_another_key_is_refused(settings: LazySettings) -> None:
    token = ask()
    settings.TOKEN_SIGNING_KEYS = ["another-key-another-key-another-key"]

    assert _refused(post(URL, token), 401, "token_bad_signature")


def test_a_request_that_is_too_old_is_refused() -> None:
    token = ask()

    with time_machine.travel(timezone.now() + timedelta(seconds=301)):
        assert _refused(post(URL, token), 401, "token_expired")


def test_a_token_of_the_other_direction_is_refused() -> None:
    assert _refused(post(URL, tell()), 401, "token_bad_signature")


def test_a_token_is_no_key_for_reading() -> None:
    answer = Browser().get(URL, headers={"authorization": f"Bearer {ask()}"})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_other_methods_are_refused() -> None:
    answer = Browser().delete(URL)

    assert (answer.status_code, answer["Allow"]) == (405, "GET, POST")


def test_a_completed_payment_is_looked_at_at_once_and_only_once(open_batch: BatchConversion) -> None:
    post(URL, ask())
    later = timezone.now() + timedelta(hours=1)
    HostPayment.objects.update(next_action_at=later)
    token = tell()

    first = post(COMPLETED, token)

    payment = HostPayment.objects.get()
    assert (first.status_code, first.json()) == (202, {"host_payment_id": str(payment.pk), "status": "requested"})
    assert payment.next_action_at is not None
    assert payment.next_action_at <= timezone.now()
    assert (payment.status, payment.received_units) == (PaymentStatus.REQUESTED, None)

    HostPayment.objects.update(next_action_at=later)
    again = post(COMPLETED, token)

    assert (again.status_code, again["Idempotent-Replayed"]) == (200, "true")
    assert HostPayment.objects.get().next_action_at == later


@pytest.mark.parametrize("changes", [{"cn_api_id": "order-2"}, {"batch_conversion_id": "other"}])
def test_a_completed_payment_we_do_not_know_is_not_found(open_batch: BatchConversion, changes: dict[str, str]) -> None:
    post(URL, ask())

    answer = post(COMPLETED, tell(**changes))

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_payment")
    assert UsedToken.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_f46_a_request_without_a_broker_is_answered_as_what_it_is_done(
    open_batch: BatchConversion, broker_down: None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = post(URL, ask())

    assert answer.status_code == 201
    assert HostPayment.objects.get().next_action_at is not None
    assert "Error calling after_commit.<locals>.run_hint" in caplog.text


@pytest.mark.parametrize("url", [URL, COMPLETED, "/api/v1/batches/swap-executed/"])
def test_an_address_that_sends_many_wrong_tokens_is_not_listened_to(
    settings: LazySettings, open_batch: BatchConversion, url: str
) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 2

    answers = [post(url, "wrong:wrong:wrong") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    refused = answers[3]
    assert (refused["Content-Type"], refused.json()["code"]) == ("application/problem+json", "too_many_requests")
    assert refused["Retry-After"] == "60"
    # A good one is heard from there all the same.
    assert post(URL, ask()).status_code == 201


def test_an_expired_token_is_of_somebody_we_know_and_not_counted(settings: LazySettings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 1
    token = ask()

    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        answers = [post(URL, token) for _ in range(3)]

    assert [answer.json()["code"] for answer in answers] == ["token_expired"] * 3
    assert not FailedTries.objects.exists()


def test_somebody_counts_wrong_tokens() -> None:
    assert are_wrong_tokens_counted()
