"""Many deliveries of one payment at once, and deliveries whose processing breaks off."""

import json
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser

from payouts.models import Accumulation, InboundEvent, Outcome
from payouts.services import replay_event
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew
from tests.payouts.sending import URL, client, payment, send, signed_headers

pytestmark = pytest.mark.django_db(transaction=True)

DELIVERIES = 16


def _at_once(contents: list[Any]) -> list[Any]:
    barrier = Barrier(len(contents))

    def deliver(content: Any, number: int) -> Any:
        barrier.wait(PATIENCE_S)
        return send(content, event_id=f"event-{number}")

    with crew(len(contents)) as workers:
        started = [workers.start(partial(deliver, content, number)) for number, content in enumerate(contents)]
        return [one.result() for one in started]


@pytest.mark.parametrize("is_client_seen_before", [False, True])
def test_f2_sixteen_deliveries_at_once_make_one_accumulation(is_client_seen_before: bool) -> None:
    client()
    if is_client_seen_before:
        send(payment(payment_id="payment-0"), event_id="earlier")

    answers = _at_once([payment()] * DELIVERIES)

    assert sorted(answer.status_code for answer in answers) == [200] * (DELIVERIES - 1) + [201]
    assert {answer.json()["id"] for answer in answers} == {Accumulation.objects.get(payment_id="payment-1").pk}
    events = InboundEvent.objects.exclude(event_id="earlier")
    assert events.filter(outcome=Outcome.RECORDED).count() == 1
    assert events.filter(outcome=Outcome.REPLAYED).count() == DELIVERIES - 1


def test_f2_of_different_contents_at_once_one_stands() -> None:
    client()

    answers = _at_once([payment(amount_usd=f"{number + 1}") for number in range(DELIVERIES)])

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (DELIVERIES - 1)
    won = next(answer.json() for answer in answers if answer.status_code == 201)
    assert f"{Accumulation.objects.get().gross_usd:f}" == won["gross_usd"]


def test_f2_held_payments_too_are_recorded_once() -> None:
    client()

    answers = _at_once([payment(outcome_currency="btc")] * DELIVERIES)

    assert sorted(answer.status_code for answer in answers) == [200] * (DELIVERIES - 1) + [201]
    assert Accumulation.objects.get().status_changes.count() == 1


@pytest.fixture
def broken_inserts() -> Any:
    """The database refuses every accumulation, for a reason nobody foresaw."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'disk on fire' USING ERRCODE = '58030'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse_it BEFORE INSERT ON payouts_accumulation FOR EACH ROW EXECUTE FUNCTION refuse_it()"
        )

    def mend() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER IF EXISTS refuse_it ON payouts_accumulation")
            cursor.execute("DROP FUNCTION IF EXISTS refuse_it()")

    yield mend
    mend()


def test_f6_a_delivery_whose_processing_breaks_is_kept_and_can_be_replayed(broken_inserts: Any) -> None:
    client()

    answer = send(payment())

    assert answer.status_code == 503
    assert json.loads(answer.content)["code"] == "database_unavailable"
    assert "disk" not in answer.content.decode()
    assert not Accumulation.objects.exists()
    event = InboundEvent.objects.get()
    assert (event.outcome, event.accumulation) == (Outcome.FAILED, None)

    broken_inserts()
    accumulation = replay_event(event_id=event.pk, actor=ACTOR)

    assert Accumulation.objects.get() == accumulation
    event.refresh_from_db()
    assert (event.outcome, event.attempts, event.error) == (Outcome.RECORDED, 2, "")


def test_f6_a_connection_lost_before_the_commit_leaves_nothing_and_the_sender_repeats() -> None:
    client()
    send(payment(payment_id="warm-up"))
    with connection.cursor() as cursor:
        # What a crash of the server between two of our statements looks like from here.
        cursor.execute(
            "CREATE FUNCTION lose_it() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER lose_it BEFORE INSERT ON payouts_accumulation FOR EACH ROW EXECUTE FUNCTION lose_it()"
        )
    try:
        with crew(1) as workers:
            answer = workers.start(lambda: send(payment())).result()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER lose_it ON payouts_accumulation")
            cursor.execute("DROP FUNCTION lose_it()")

    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert not Accumulation.objects.filter(payment_id="payment-1").exists()
    assert send(payment()).status_code == 201


def test_an_unforeseen_error_is_a_500_without_internals() -> None:
    client()
    browser = Browser(raise_request_exception=False)
    body = json.dumps(payment()).encode()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_accumulation RENAME COLUMN user_id TO elsewhere")
    try:
        answer = browser.post(URL, body, content_type="application/json", headers=signed_headers(body))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE payouts_accumulation RENAME COLUMN elsewhere TO user_id")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer["Content-Type"] == "application/problem+json"
    assert "user_id" not in answer.content.decode()
    assert InboundEvent.objects.get().outcome == Outcome.FAILED
