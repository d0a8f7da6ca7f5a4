"""Webhook endpoints and deliveries over the API."""

from __future__ import annotations

import json
import socket
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client as Browser
from django.utils import timezone
from standardwebhooks import Webhook

from payouts.models import RequestKey, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payouts.services import create_api_key, hold_accumulation
from tests import factories
from tests.factories import ACTOR
from tests.lib.scripted_http import ScriptedServer
from tests.payouts.webhooks.receiving import deliver, endpoint, is_signed_with, outbox

pytestmark = pytest.mark.django_db

URL = "/api/v1/webhook-endpoints/"
DELIVERIES = "/api/v1/webhook-deliveries/"
NEW = {"name": "shop", "url": "http://127.0.0.1:1/in", "events": ["payment.held", "payment.converted"]}
WHY = {"reason": "for a test"}


def caller(*scopes: str) -> Any:
    _, secret = create_api_key(name="operator", scopes=scopes, actor=ACTOR)

    def call(method: str, url: str, content: Any = None, **headers: str) -> Any:
        return Browser().generic(
            method,
            url,
            b"" if content is None else json.dumps(content).encode(),
            content_type="application/json",
            headers={"authorization": f"Bearer {secret}", **headers},
        )

    return call


@pytest.fixture
def call() -> Any:
    return caller("ops")


def held(reason: str = "odd") -> WebhookDelivery:
    """An event that waits."""
    hold_accumulation(accumulation=factories.accumulation(5), actor=ACTOR, reason=reason)
    found = WebhookDelivery.objects.order_by("pk").last()
    assert found is not None
    return found


def test_it_makes_an_endpoint_and_shows_its_secret_once(call: Any) -> None:
    of = factories.client()

    answer = call("POST", URL, {**NEW, "client_id": of.external_id})

    made = WebhookEndpoint.objects.get()
    shown = answer.json()
    secret = shown.pop("secret")
    assert answer.status_code == 201
    assert shown == {
        "id": made.pk,
        "name": "shop",
        "url": "http://127.0.0.1:1/in",
        "events": ["payment.held", "payment.converted"],
        "client_id": of.external_id,
        "status": "enabled",
        "disabled_reason": "",
        "secret_made_at": shown["secret_made_at"],
        "old_secret_until": None,
        "failures": 0,
        "failing_since": None,
        "last_error": "",
        "last_success_at": None,
        "next_attempt_at": shown["next_attempt_at"],
        "created_at": shown["created_at"],
    }
    assert secret.startswith("whsec_")
    assert call("GET", f"{URL}{made.pk}/").json() == shown
    assert call("GET", URL).json()["results"] == [shown]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": 7}, "url"),
        ({"url": None}, "url"),
        ({"events": ["payment.paid"]}, "events.0"),
        ({"events": []}, "events"),
        ({"events": "payment.held"}, "events"),
        ({"name": ""}, "name"),
        ({"client_id": "nobody"}, "client_id"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_it_refuses_what_cannot_be_an_endpoint_with_the_field(call: Any, changes: Any, field: str) -> None:
    answer = call("POST", URL, {**NEW, **changes})

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not WebhookEndpoint.objects.exists()


def test_an_address_is_taken_once(call: Any) -> None:
    call("POST", URL, NEW)

    answer = call("POST", URL, NEW)

    assert (answer.status_code, answer.json()["code"]) == (409, "endpoint_exists")
    assert WebhookEndpoint.objects.count() == 1


def test_f5_a_lost_answer_with_a_secret_is_given_again_and_f74_stored_nowhere(call: Any) -> None:
    made, again = (call("POST", URL, NEW, **{"idempotency-key": "a"}) for _ in range(2))
    rotation = f"{URL}{made.json()['id']}/rotate-secret/"
    rotated, repeated = (call("POST", rotation, WHY, **{"idempotency-key": "b"}) for _ in range(2))
    later = call("POST", rotation, WHY, **{"idempotency-key": "c"})

    assert (again.status_code, again.content, again["Content-Type"]) == (201, made.content, made["Content-Type"])
    assert (repeated.status_code, repeated.content) == (201, rotated.content)
    assert ("Idempotent-Replayed" in rotated, repeated["Idempotent-Replayed"]) == (False, "true")
    assert len({answer.json()["secret"] for answer in (made, rotated, later)}) == 3
    assert call("POST", rotation, WHY, **{"idempotency-key": "b"}).content == rotated.content
    stored = b"".join(bytes(row.body) for row in RequestKey.objects.all())
    for answer in (made, rotated, later):
        assert answer.json()["secret"].removeprefix("whsec_").encode() not in stored


def test_a_secret_whose_key_is_gone_is_not_told_again(call: Any, settings: Any) -> None:
    call("POST", URL, NEW, **{"idempotency-key": "a"})
    settings.WEBHOOK_SECRET_KEYS = ["another key of thirty-two letters"]

    again = call("POST", URL, NEW, **{"idempotency-key": "a"})

    assert (again.status_code, again.json()["code"]) == (409, "lost_key")


def test_it_is_changed_switched_off_and_on(call: Any) -> None:
    pk = call("POST", URL, NEW).json()["id"]

    changed = call("PATCH", f"{URL}{pk}/", {"events": ["payment.voided"], **WHY}).json()
    disabled = call("POST", f"{URL}{pk}/disable/", WHY).json()
    again = call("POST", f"{URL}{pk}/disable/", WHY)
    enabled = call("POST", f"{URL}{pk}/enable/", WHY).json()

    assert (changed["events"], changed["url"]) == (["payment.voided"], NEW["url"])
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "for a test")
    assert again.status_code == 409
    assert (enabled["status"], enabled["disabled_reason"]) == ("enabled", "")
    history = WebhookEndpoint.objects.get().status_changes.values_list("to_status", flat=True)
    assert list(history) == ["enabled", "enabled", "disabled", "enabled"]


@pytest.mark.django_db(transaction=True)
def test_a_rotated_secret_verifies_beside_the_one_before(call: Any, receiver: ScriptedServer) -> None:
    made = call("POST", URL, {**NEW, "url": receiver.url}).json()
    rotated = call("POST", f"{URL}{made['id']}/rotate-secret/", {**WHY, "overlap_hours": 2})
    held()
    deliver()

    [asked] = receiver.asked
    secrets = (made["secret"], rotated.json()["secret"])
    assert rotated.status_code == 201
    assert all(is_signed_with(asked, secret) for secret in secrets)
    for secret in secrets:
        assert Webhook(secret).verify(asked.body, asked.headers)["type"] == "payment.held"
    assert call("GET", f"{URL}{made['id']}/").json()["old_secret_until"] is not None


def test_it_lists_deliveries_by_what_became_of_them(call: Any) -> None:
    made = endpoint("http://127.0.0.1:1/in")
    waiting, given_up = held(), held()
    WebhookDelivery.objects.filter(pk=given_up.pk).update(given_up_at=timezone.now())

    def ids(**query: str) -> list[int]:
        rows = call("GET", f"{DELIVERIES}?{'&'.join(f'{name}={value}' for name, value in query.items())}").json()
        return [row["id"] for row in rows["results"]]

    payment_id = waiting.accumulation.payment_id if waiting.accumulation else ""
    assert ids() == [given_up.pk, waiting.pk]
    assert ids(given_up="true") == [given_up.pk]
    assert ids(given_up="false", delivered="false") == [waiting.pk]
    assert ids(delivered="true") == []
    assert ids(endpoint=str(made.pk), event="payment.held", payment_id=payment_id) == [waiting.pk]
    assert ids(endpoint="1000000") == []
    assert call("GET", f"{DELIVERIES}?endpoint=x").status_code == 400
    assert call("GET", f"{DELIVERIES}?given_up=maybe").status_code == 400


@pytest.mark.django_db(transaction=True)
def test_it_shows_an_event_with_its_payload_and_every_try(call: Any, receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    event = held("odd")
    deliver()

    shown = call("GET", f"{DELIVERIES}{event.pk}/").json()

    assert (shown["state"], shown["attempts"], shown["message_id"]) == ("delivered", 1, event.message_id)
    assert shown["payload"] == receiver.asked[0].json
    [tried] = shown["tries"]
    assert (tried["outcome"], tried["status_code"], tried["error"], tried["response_body"]) == (
        "delivered",
        200,
        "",
        "{}",
    )
    assert WebhookAttempt.objects.get().duration_ms == tried["duration_ms"]


def test_it_sends_one_again_and_all_since_a_time_and_gives_up(call: Any) -> None:
    made = endpoint("http://127.0.0.1:1/in")
    first, second, third = held(), held(), held()
    for event in (first, second, third):
        given_up = call("POST", f"{DELIVERIES}{event.pk}/give-up/", WHY)
        assert (given_up.status_code, given_up.json()["state"]) == (200, "given_up")

    one = call("POST", f"{DELIVERIES}{first.pk}/resend/", WHY)
    rest = call("POST", f"{URL}{made.pk}/resend-failed/", {**WHY, "since": "2020-01-01T00:00:00Z"})
    late = call("POST", f"{URL}{made.pk}/resend-failed/", {**WHY, "since": "2100-01-01T00:00:00Z"})

    assert (one.status_code, one.json()["state"]) == (200, "waiting")
    assert (rest.json(), late.json()) == ({"events": 2}, {"events": 0})
    assert [state for _, _, state in outbox()] == ["waiting"] * 3
    assert call("POST", f"{DELIVERIES}{first.pk}/resend/", WHY).status_code == 409
    assert call("POST", f"{DELIVERIES}{first.pk}/resend/", {}).status_code == 400


def test_it_has_a_failing_endpoint_tried_now(call: Any) -> None:
    made = endpoint("http://127.0.0.1:1/in")
    url = f"{URL}{made.pk}/try-now/"
    idle = call("POST", url, WHY)
    held()
    WebhookEndpoint.objects.update(next_attempt_at=timezone.now() + timedelta(hours=6))

    tried = call("POST", url, WHY)
    again = call("POST", url, WHY)

    assert (idle.status_code, again.status_code) == (409, 409)
    assert "Nothing waits for endpoint shop. Send it a test" in idle.json()["detail"]
    assert tried.status_code == 200
    assert datetime.fromisoformat(tried.json()["next_attempt_at"]) <= timezone.now()
    assert call("POST", url, {}).status_code == 400
    last = made.status_changes.last()
    assert last is not None
    assert (last.reason, last.actor[:4]) == ("tried before its time: for a test", "api:")


def test_it_answers_404_for_what_is_not_there(call: Any) -> None:
    for method, url, content in (
        ("GET", f"{URL}9/", None),
        ("PATCH", f"{URL}9/", {**WHY, "name": "x"}),
        ("POST", f"{URL}9/disable/", WHY),
        ("POST", f"{URL}9/enable/", WHY),
        ("POST", f"{URL}9/rotate-secret/", WHY),
        ("POST", f"{URL}9/test/", None),
        ("POST", f"{URL}9/try-now/", WHY),
        ("POST", f"{URL}9/resend-failed/", {**WHY, "since": "2020-01-01T00:00:00Z"}),
        ("GET", f"{DELIVERIES}9/", None),
        ("POST", f"{DELIVERIES}9/resend/", WHY),
        ("POST", f"{DELIVERIES}9/give-up/", WHY),
    ):
        assert call(method, url, content).status_code == 404, url


def test_only_keys_with_the_scope_ops_see_and_do_anything() -> None:
    pk = endpoint("http://127.0.0.1:1/in").pk
    call = caller("read", "ingest")

    for method, url in (
        ("GET", URL),
        ("POST", URL),
        ("GET", f"{URL}{pk}/"),
        ("PATCH", f"{URL}{pk}/"),
        ("POST", f"{URL}{pk}/disable/"),
        ("POST", f"{URL}{pk}/rotate-secret/"),
        ("POST", f"{URL}{pk}/try-now/"),
        ("GET", DELIVERIES),
        ("POST", f"{DELIVERIES}1/resend/"),
    ):
        assert call(method, url, {}).status_code == 403, url


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "one"}], ids=["without a key", "under a key"])
def test_an_address_is_looked_up_before_the_transaction(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    ours, were_open = connections["default"], []

    def look_up(_host: str, port: int, **_options: Any) -> Any:
        were_open.append(ours.in_atomic_block)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    call = caller("ops")

    answers = [call("POST", URL, {**NEW, "url": "https://shop.example.com/in"}, **headers) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {400}
    assert answers[0].json()["errors"][0]["code"] == "unfit_address"
    # The second is told what the first was told.
    assert were_open == [False] * (1 if headers else 2)
    assert not WebhookEndpoint.objects.exists()
