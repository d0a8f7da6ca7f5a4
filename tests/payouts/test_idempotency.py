"""`Idempotency-Key` on what operators' programs ask for."""

import json
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser
from django.utils import timezone

from batches.models import ThresholdCheck
from payouts.models import Client, RequestKey
from payouts.services import create_api_key, forget_request_keys, rejected_totals
from tests.factories import ACTOR, WALLET
from tests.lib.concurrency import PATIENCE_S, crew

pytestmark = pytest.mark.django_db

URL = "/api/v1/clients/"


@pytest.fixture
def post() -> Any:
    _, secret = create_api_key(name="operator", scopes=["ops"], actor=ACTOR)
    return partial(_post, secret)


def _post(secret: str, content: Any, key: str = "key-1", url: str = URL) -> Any:
    return Browser(raise_request_exception=False).post(
        url,
        json.dumps(content),
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}", "idempotency-key": key},
    )


def new(external_id: str = "bakery", **changes: Any) -> dict[str, Any]:
    return {"external_id": external_id, "wallet_address": WALLET, "payout_threshold_usd": "50", **changes}


def test_f5_the_same_request_again_gives_the_stored_answer(post: Any) -> None:
    first = post(new())
    Client.objects.update(name="renamed meanwhile")

    again = post(new())

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert ("Idempotent-Replayed" in first, again["Idempotent-Replayed"]) == (False, "true")
    assert again["Content-Type"] == first["Content-Type"]
    assert Client.objects.count() == 1


def test_a_refusal_is_an_answer_too(post: Any) -> None:
    first = post(new(wallet_address="nowhere"))
    again = post(new(wallet_address="nowhere"))

    assert (first.status_code, again.status_code, again.content) == (400, 400, first.content)
    assert again["Content-Type"] == "application/problem+json"


def test_f3_the_same_key_with_another_body_is_refused_without_effect(post: Any) -> None:
    post(new())

    answer = post(new("other"))

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert list(Client.objects.values_list("external_id", flat=True)) == ["bakery"]
    assert rejected_totals() == [("api_key", "idempotency_mismatch", 1)]


def test_the_same_key_of_another_caller_is_another_key(post: Any) -> None:
    post(new())
    _, secret = create_api_key(name="second", scopes=["ops"], actor=ACTOR)

    assert _post(secret, new("other")).status_code == 201


def test_a_request_in_flight_is_not_begun_again_while_its_process_may_live(post: Any) -> None:
    post(new())
    RequestKey.objects.update(status=None, body=b"", locked_until=timezone.now() + timedelta(seconds=60))

    waiting = post(new())
    RequestKey.objects.update(locked_until=timezone.now())
    taken_over = post(new())

    assert (waiting.status_code, waiting.json()["code"], waiting["Retry-After"]) == (409, "request_in_flight", "1")
    # Carried out again, and it finds what the first one did.
    assert (taken_over.status_code, taken_over.json()["code"]) == (409, "client_exists")


@pytest.mark.parametrize("key", ["", "two words", "x" * 129, "naïve"])
def test_it_refuses_what_is_no_key(post: Any, key: str) -> None:
    answer = post(new(), key)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert not Client.objects.exists()


def test_a_threshold_check_under_a_key_is_made_once(post: Any) -> None:
    url = "/api/v1/batches/check-threshold/"

    first, again = post({}, url=url), post({}, url=url)

    assert (first.status_code, first.content) == (200, again.content)
    assert ThresholdCheck.objects.count() == 1


@pytest.mark.parametrize("moment", ["storing the answer", "after the lease"])
@pytest.mark.django_db(transaction=True)
def test_f6_what_was_not_answered_was_not_done(post: Any, moment: str) -> None:
    """A process that dies before its answer is stored, and one that is so slow that another has taken its key over."""
    table = RequestKey._meta.db_table
    rule = {
        "storing the answer": "RAISE EXCEPTION 'the server is gone'",
        "after the lease": "OLD.locked_until := OLD.locked_until + interval '1 s'; RETURN NULL",
    }[moment]
    with connection.cursor() as cursor:
        cursor.execute(f"""
            CREATE FUNCTION unanswered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {rule}; END $$;
            CREATE TRIGGER unanswered BEFORE UPDATE OF status ON {table} FOR EACH ROW EXECUTE FUNCTION unanswered();
        """)
    try:
        first = post(new())
        made_meanwhile = Client.objects.exists()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION unanswered CASCADE")

    assert (first.status_code, made_meanwhile) == ({"storing the answer": 500, "after the lease": 409}[moment], False)
    again = post(new())
    assert (again.status_code, "Idempotent-Replayed" in again) == (201, False)
    assert Client.objects.count() == 1


def test_keys_are_forgotten_after_a_week(post: Any) -> None:
    post(new())
    post(new("other"), "key-2")
    RequestKey.objects.filter(key="key-1").update(created_at=timezone.now() - timedelta(days=7, seconds=1))

    assert forget_request_keys() == 1
    assert list(RequestKey.objects.values_list("key", flat=True)) == ["key-2"]


def test_without_the_right_scope_no_key_is_taken() -> None:
    _, secret = create_api_key(name="reader", scopes=["read"], actor=ACTOR)

    assert _post(secret, new()).status_code == 403
    assert not RequestKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_f2_sixteen_requests_at_once_under_one_key_make_one_client(post: Any) -> None:
    barrier = Barrier(16)

    def ask() -> Any:
        barrier.wait(PATIENCE_S)
        return post(new())

    with crew(16) as workers:
        answers = [one.result() for one in [workers.start(ask) for _ in range(16)]]

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert all(answer.json()["code"] == "request_in_flight" for answer in answers if answer.status_code == 409)
    assert sum("Idempotent-Replayed" not in answer for answer in answers if answer.status_code == 201) == 1
    assert Client.objects.count() == 1
    assert post(new()).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_what_breaks_off_on_our_side_can_be_tried_again(post: Any) -> None:
    table = Client._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (external_id <> 'bakery')")
    try:
        broken = post(new())
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT broken")

    assert (broken.status_code, RequestKey.objects.count()) == (500, 0)
    assert post(new()).status_code == 201
