"""The REST API of batches."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.conf import LazySettings
from django.test import Client as Browser
from django.utils import timezone

from batches.models import BatchConversion, BatchStatus, ThresholdCheck
from batches.services import check_threshold
from hostpay.models import ExchangeOrder, HostPayment, UsedToken
from hostpay.tokens import PaymentRequest, SwapExecuted, mint_payment_request, mint_swap_executed
from payouts.models import Accumulation, AccumulationStatus
from payouts.services import create_api_key
from tests import factories
from tests.factories import ACTOR

# A check asks the exchange first, which nobody may do inside a transaction.
pytestmark = pytest.mark.django_db(transaction=True)

CHECK = "/api/v1/batches/check-threshold/"
SWAP_EXECUTED = "/api/v1/batches/swap-executed/"
PAYIN = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def key(*scopes: str) -> dict[str, str]:
    _, secret = create_api_key(name="tests", scopes=scopes, actor=ACTOR)
    return {"authorization": f"Bearer {secret}"}


def post(url: str, content: Any, headers: dict[str, str] | None = None) -> Any:
    return Browser().post(url, json.dumps(content), content_type="application/json", headers=headers)


@pytest.fixture
def batch() -> BatchConversion:
    factories.policy(10)
    factories.accumulations(5, 7)
    made = check_threshold(actor=ACTOR).batch
    assert made is not None
    ExchangeOrder.objects.create(
        payment=HostPayment.objects.get(),
        provider_order_id="order-1",
        payin_address=PAYIN,
        send_units=1,
        payout_address=PAYIN,
        refund_address=PAYIN,
    )
    return made


def report(batch_id: str, **changes: Any) -> str:
    facts = {
        "batch_conversion_id": batch_id,
        "cn_api_id": "order-1",
        "tx_hash": "0x" + "ab" * 32,
        "actual_usdt_received": Decimal("11.9"),
    }
    return mint_swap_executed(SwapExecuted(**{**facts, **changes}))


def test_a_check_makes_a_batch_and_says_so() -> None:
    factories.policy(10)
    factories.accumulations(5, 7)

    answer = post(CHECK, {}, key("ops"))

    batch = BatchConversion.objects.get()
    told = answer.json()
    assert answer.status_code == 200
    assert (told["decision"], told["batch_id"], told["member_count"]) == ("created", str(batch.pk), 2)
    assert (told["total_usd"], told["threshold_usd"]) == ("12.00000000", "10.00000000")
    assert told["actor"].startswith("api:sk_")
    assert batch.status == BatchStatus.SWAPPING


def test_a_check_below_the_threshold_says_why() -> None:
    factories.policy(10)
    factories.accumulations(5)

    told = post(CHECK, {}, key("ops")).json()

    assert (told["decision"], told["batch_id"]) == ("below", None)
    assert told["why"]
    assert not BatchConversion.objects.exists()


def test_a_dry_run_makes_nothing() -> None:
    factories.policy(10)
    factories.accumulations(5, 7)

    assert post(CHECK, {"dry_run": True}, key("ops")).json()["decision"] == "rehearsed"

    assert not BatchConversion.objects.exists()
    assert not Accumulation.objects.exclude(status=AccumulationStatus.PENDING).exists()


@pytest.mark.parametrize("body", [{"force": True}, {"dry_run": "perhaps"}, [], "x"])
def test_a_check_refuses_what_it_does_not_understand(body: Any) -> None:
    answer = post(CHECK, body, key("ops"))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert not ThresholdCheck.objects.exists()


@pytest.mark.parametrize(("scopes", "status"), [((), 401), (("read",), 403), (("ingest",), 403)])
def test_a_check_needs_the_scope_ops(scopes: tuple[str, ...], status: int) -> None:
    assert post(CHECK, {}, key(*scopes) if scopes else None).status_code == status
    assert not ThresholdCheck.objects.exists()


def test_it_shows_batches_checks_rules_and_history(batch: BatchConversion) -> None:
    reads = key("read")

    def get(path: str) -> Any:
        answer = Browser().get(f"/api/v1/{path}", headers=reads)
        assert answer.status_code == 200
        return answer.json()

    shown = get(f"batches/{batch.pk}/")
    assert (shown["status"], shown["total_usd"], shown["member_count"]) == ("swapping", "12.00000000", 2)
    client = Accumulation.objects.all()[0].client.external_id
    assert [row["id"] for row in get(f"batches/?status=swapping&client={client}")["results"]] == [str(batch.pk)]
    assert get("batches/?status=completed")["results"] == []
    assert [row["decision"] for row in get("threshold-checks/")["results"]] == ["created"]
    assert get(f"threshold-checks/{ThresholdCheck.objects.get().pk}/")["batch_id"] == str(batch.pk)
    assert get(f"batches/{batch.pk}/explain/")["rules"][0]["ok"] is True
    history = get(f"batches/{batch.pk}/timeline/")["timeline"]
    assert [entry["to_status"] for entry in history if entry["subject"] == "batch"] == ["created", "swapping"]
    assert history[0]["data"]["member_count"] == 2
    assert [row["reference"] for row in get("hostpay/payments/?context=batch")["results"]] == [str(batch.pk)]


def test_a_report_makes_the_payment_due_and_believes_nothing_of_it(batch: BatchConversion) -> None:
    HostPayment.objects.update(next_action_at=timezone.now() + timedelta(hours=1))

    answer = post(SWAP_EXECUTED, {"token": report(str(batch.pk), actual_usdt_received=Decimal(999))})

    payment = HostPayment.objects.get()
    assert answer.status_code == 202
    assert answer.json() == {"batch_id": str(batch.pk), "status": "swapping", "host_payment_id": str(payment.pk)}
    assert payment.next_action_at is not None
    assert payment.next_action_at <= timezone.now()
    assert payment.received_units is None
    batch.refresh_from_db()
    assert (batch.status, batch.received_units) == (BatchStatus.SWAPPING, None)


def test_a_replayed_report_does_nothing(batch: BatchConversion) -> None:
    token = report(str(batch.pk))
    post(SWAP_EXECUTED, {"token": token})
    later = timezone.now() + timedelta(hours=1)
    HostPayment.objects.update(next_action_at=later)

    answer = post(SWAP_EXECUTED, {"token": token})

    assert (answer.status_code, answer["Idempotent-Replayed"]) == (200, "true")
    assert HostPayment.objects.get().next_action_at == later
    assert UsedToken.objects.count() == 1


@pytest.mark.parametrize("changes", [{"cn_api_id": "order-2"}, {"batch_conversion_id": str(uuid4())}])
def test_a_report_about_something_else_is_not_found(batch: BatchConversion, changes: dict[str, str]) -> None:
    later = timezone.now() + timedelta(hours=1)
    HostPayment.objects.update(next_action_at=later)

    assert post(SWAP_EXECUTED, {"token": report(str(batch.pk), **changes)}).status_code == 404

    assert HostPayment.objects.get().next_action_at == later
    assert not UsedToken.objects.exists()


def _refused(answer: Any, status: int, code: str) -> bool:
    return (answer.status_code, answer.json()["code"]) == (status, code) and not UsedToken.objects.exists()


def test_a_report_that_was_altered_is_refused(batch: BatchConversion) -> None:
    token = report(str(batch.pk))
    altered = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]

    assert _refused(post(SWAP_EXECUTED, {"token": altered}), 401, "token_bad_signature")


def test_a_report_by_another_key_is_refused(batch: BatchConversion, settings: LazySettings) -> None:
    token = report(str(batch.pk))
    settings.TOKEN_SIGNING_KEYS = ["another-key-another-key-another-key"]

    assert _refused(post(SWAP_EXECUTED, {"token": token}), 401, "token_bad_signature")


def test_a_report_by_a_key_being_retired_is_heard(batch: BatchConversion, settings: LazySettings) -> None:
    token = report(str(batch.pk))
    settings.TOKEN_SIGNING_KEYS = ["another-key-another-key-another-key", *settings.TOKEN_SIGNING_KEYS]

    assert post(SWAP_EXECUTED, {"token": token}).status_code == 202


def test_a_report_that_is_too_old_is_refused(batch: BatchConversion) -> None:
    token = report(str(batch.pk))

    with time_machine.travel(timezone.now() + timedelta(seconds=301)):
        assert _refused(post(SWAP_EXECUTED, {"token": token}), 401, "token_expired")


def test_a_token_of_the_other_direction_is_refused(batch: BatchConversion) -> None:
    request = PaymentRequest(
        context="batch",
        batch_conversion_id=str(batch.pk),
        cn_api_id="order-1",
        from_currency="eth",
        from_network="eth",
        from_amount=Decimal("0.1"),
        payin_address=PAYIN,
    )

    assert _refused(post(SWAP_EXECUTED, {"token": mint_payment_request(request)}), 401, "token_bad_signature")


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": 7}, {"token": "x" * 5000}, {"token": "é"}, []])
def test_a_body_without_a_token_is_refused(body: Any) -> None:
    answer = post(SWAP_EXECUTED, body)

    assert answer.status_code in {400, 401}
    assert answer["Content-Type"] == "application/problem+json"
