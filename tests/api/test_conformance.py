"""The API against its own description: generated requests, sound and unsound, and what must hold for every answer.

No answer is a fault of ours (5xx), each has a status, a content type, headers and a body that the document names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from payouts.services import create_api_key
from tests import factories
from tests.factories import ACTOR
from tests.payouts.sending import client, payment, send, signed_headers

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SIGNED = {"payments_create", "payments_bulk_create"}

EXAMPLES = 40
OPERATIONS: list[Any] = [
    # Raises for an operation that the document describes wrongly.
    found.ok()  # type: ignore[union-attr]
    for found in schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application()).get_all_operations()
]


@pytest.fixture
def one_connection() -> Iterator[None]:
    """As Django's own test client does, which connects it again: the test's transaction outlives a request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def api_key(settings: Any) -> str:
    """A key that may do everything, as often as it likes, in a system that has something to show."""
    settings.API_REQUESTS_PER_MINUTE = 10**6
    client("client-1")
    send(payment())
    send(payment(payment_id="held", amount_usd="20000"), event_id="event-2")
    factories.accumulation()
    _, secret = create_api_key(name="fuzz", scopes=["read", "ops"], actor=ACTOR)
    return secret


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_what_is_answered_is_what_is_described(operation: Any, api_key: str, one_connection: None) -> None:
    @given(case=operation.as_strategy())
    @hypothesis_settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )
    def ask(case: Any) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        if operation.definition.raw["operationId"] in SIGNED:
            case.body = json.dumps(case.body).encode()
            headers = signed_headers(case.body)
            case.headers = {**dict(case.headers or {}), **headers}
        case.call_and_validate(headers=headers, checks=CHECKS)

    ask()
