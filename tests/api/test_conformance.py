"""The API against its own description: requests by the document and against it, and what must hold for every answer.

No answer is a fault of ours (5xx), each has a status, a code, a content type, headers and a body that the document names.
Every operation is also asked for what exists, with its document's own example, and must succeed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from batches.models import BatchConversion, BatchStatus, ThresholdCheck
from config.described.document import SAID
from hostpay.models import HostPayment
from hostpay.tokens import PaymentRequest, SwapExecuted, mint_payment_request, mint_swap_executed
from payouts.models import Accumulation, Client, DestinationChange, WebhookDelivery, WebhookEndpoint
from payouts.services import create_api_key
from tests import factories
from tests.factories import ACTOR
from tests.payouts.nowpayments.sending import FINISHED, signature
from tests.payouts.sending import payment, signed_headers
from tests.web.scene import play

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SIGNED = {"payments_create", "payments_bulk_create"}
IPN = "nowpayments_notification"
REPORTS = {"batches_swap_executed_create", "hostpay_payment_completed_create"}
TOKENS = {*REPORTS, "hostpay_payments_create"}
EXAMPLES = 15
PAYIN = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
PAID_APART = "0a5b8a1e-0000-4000-8000-000000000001"
FUZZED = hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
OPERATIONS: list[Any] = [
    # Raises for an operation that the document describes wrongly.
    found.ok()  # type: ignore[union-attr]
    for found in schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application()).get_all_operations()
]
ANY_OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)


def name_of(operation: Any) -> str:
    return str(operation.definition.raw["operationId"])


def request_token(**changes: Any) -> str:
    facts = {
        "context": "batch",
        "batch_conversion_id": PAID_APART,
        "cn_api_id": "order-apart",
        "from_currency": "eth",
        "from_network": "eth",
        "from_amount": Decimal("0.123456789012345678"),
        "payin_address": PAYIN,
    }
    return mint_payment_request(PaymentRequest(**{**facts, **changes}))


def report_token(**changes: Any) -> str:
    facts = {
        "batch_conversion_id": PAID_APART,
        "cn_api_id": "order-apart",
        "tx_hash": "0x" + "ab" * 32,
        "actual_usdt_received": Decimal("11.9"),
    }
    return mint_swap_executed(SwapExecuted(**{**facts, **changes}))


@pytest.fixture
def one_connection() -> Iterator[None]:
    """As Django's own test client does, which connects it again: the test's transaction outlives a request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def api_key(settings: Any, one_connection: None) -> str:
    """A key that may do everything, as often as it likes, in a system that has something of everything."""
    settings.API_REQUESTS_PER_MINUTE = settings.UNPROVEN_REQUESTS_PER_MINUTE = 10**6
    play()
    factories.client(external_id="pays-apart")
    BatchConversion.objects.create(
        id=PAID_APART, status=BatchStatus.SWAPPING, policy=ThresholdCheck.objects.latest("id").policy,
        threshold_usd=20, total_usd=Decimal("246.90"), member_count=1, net_wei=123456789012345678,
        unreceipted_usd=0, created_by=str(ACTOR),
    )  # fmt: skip
    # What waits for an endpoint is not due yet, so that it can be tried at once.
    WebhookEndpoint.objects.update(next_attempt_at=timezone.now() + timedelta(hours=1))
    _, secret = create_api_key(name="fuzz", scopes=["read", "ops"], actor=ACTOR)
    return secret


def real_id(operation: Any) -> str:
    """Of an object that the operation can be carried out with."""
    found: dict[str, Callable[[], Any]] = {
        "clients_destination_changes_create": lambda: Client.objects.get(external_id="pays-apart"),
        "webhook_endpoints_enable_create": lambda: WebhookEndpoint.objects.get(status="disabled"),
        "webhook_deliveries_give_up_create": lambda: _waiting().first(),
        "webhook_endpoints_try_now_create": lambda: _waiting().first().endpoint,
        "webhook_deliveries_resend_create": lambda: WebhookDelivery.objects.filter(given_up_at__isnull=False).first(),
    }
    kinds: dict[str, Any] = {
        "accumulations": Accumulation, "batches": BatchConversion, "clients": Client,
        "destination-changes": DestinationChange, "hostpay": HostPayment, "threshold-checks": ThresholdCheck,
        "webhook-deliveries": WebhookDelivery, "webhook-endpoints": WebhookEndpoint.objects.filter(status="enabled"),
    }  # fmt: skip

    def usual() -> Any:
        kind = kinds[operation.path.split("/")[3]]
        return getattr(kind, "objects", kind).order_by("pk").first()

    return str(found.get(name_of(operation), usual)().pk)


def _waiting() -> Any:
    return WebhookDelivery.objects.filter(
        delivered_at__isnull=True, given_up_at__isnull=True, endpoint__status="enabled"
    ).order_by("pk")


def path_of(operation: Any) -> dict[str, str]:
    return {"id": real_id(operation)} if "{id}" in operation.path else {}


def proven(operation: Any, case: Any, api_key: str) -> dict[str, str]:
    """The headers by which the case is taken for its sender's own; a body that is signed is made bytes of."""
    name = name_of(operation)
    if name not in {*SIGNED, IPN}:
        return {"Authorization": f"Bearer {api_key}"}
    if not isinstance(case.body, bytes):
        # Whatever cannot be written as JSON is no request that anybody could sign.
        case.body = json.dumps(case.body, default=str).encode()
    headers = signed_headers(case.body) if name in SIGNED else {"x-nowpayments-sig": signature(case.body)}
    headers["content-type"] = "application/json"
    case.headers = {**dict(case.headers or {}), **headers}
    return headers


@ANY_OPERATION
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_what_is_answered_is_what_is_described(operation: Any, mode: GenerationMode, api_key: str) -> None:
    # A body is looked at only where its object exists; a request without one is unsound in its address.
    keeps_path = mode is GenerationMode.POSITIVE or operation.body
    fixed = {"path_parameters": path_of(operation)} if keeps_path and "{id}" in operation.path else {}

    @given(case=operation.as_strategy(generation_mode=mode, **fixed))
    @FUZZED
    def ask(case: Any) -> None:
        case.call_and_validate(headers=proven(operation, case, api_key), checks=CHECKS)

    ask()


@ANY_OPERATION
def test_what_exists_is_answered_with_success_as_described(operation: Any, api_key: str) -> None:
    name = name_of(operation)
    client_id = Client.objects.order_by("pk")[0].external_id
    bodies: dict[str, Any] = {
        "payments_create": payment(client_id=client_id),
        "payments_bulk_create": {"payments": [payment(client_id=client_id), payment(client_id="nobody")]},
        IPN: FINISHED,
        "hostpay_payments_create": {"token": request_token()},
    }
    if name in REPORTS:
        requested = operation.schema["/api/v1/hostpay/payments/"]["POST"].Case(body=bodies["hostpay_payments_create"])
        assert requested.call_and_validate(checks=CHECKS).status_code == 201
        bodies[name] = {"token": report_token()}
    body = bodies.get(name, _example(operation))
    sent = {} if body is None else {"body": body}

    case = operation.Case(path_parameters=path_of(operation), **sent)
    answer = case.call_and_validate(headers=proven(operation, case, api_key), checks=CHECKS)

    assert 200 <= answer.status_code < 300, answer.text
    assert str(answer.status_code) in {str(status) for status in SAID[name].answers}


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if name_of(each) in TOKENS], ids=lambda operation: operation.label
)
def test_what_a_token_says_is_answered_as_described(operation: Any, api_key: str) -> None:
    # What cannot be in a token at all is refused when one is minted.
    text = st.from_regex(r"[\x21-\x7e]{1,64}", fullmatch=True)
    amount = st.decimals(min_value=Decimal("0.000001"), max_value=10**9, places=6)
    ours = st.sampled_from([PAID_APART, str(BatchConversion.objects.order_by("pk")[0].pk)])
    requests = st.fixed_dictionaries(
        {},
        optional={
            "context": st.sampled_from(["batch", "instant", "threshold", "x"]) | text,
            "batch_conversion_id": ours | text,
            "cn_api_id": text,
            "from_currency": text,
            "from_network": text,
            "from_amount": amount,
            "payin_address": st.sampled_from([PAYIN, "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"]),
        },
    )
    reports = st.fixed_dictionaries(
        {},
        optional={
            "batch_conversion_id": ours | text, "cn_api_id": text, "actual_usdt_received": amount,
        },
    )  # fmt: skip
    is_report = name_of(operation) in REPORTS

    @given(facts=reports if is_report else requests)
    @FUZZED
    def tell(facts: dict[str, Any]) -> None:
        token = report_token(**facts) if is_report else request_token(**facts)
        operation.Case(body={"token": token}).call_and_validate(checks=CHECKS)

    tell()


def _example(operation: Any) -> Any:
    """The document's own; None for an operation without a body."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {}).get("application/json", {})
    for example in content.get("examples", {}).values():
        return example["value"]
    return None
