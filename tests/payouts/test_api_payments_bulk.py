"""`POST /api/v1/payments/bulk/`."""

import json
from datetime import timedelta
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings

from config.lib.errors import SluiceError
from config.lib.problems import CONTENT_TYPE
from hostpay.models import Pause, Switch
from payouts.models import Accumulation, AccumulationStatus, InboundEvent, Outcome, Verdict
from payouts.services import forget_bodies, rejected_totals, replay_event, void_payment
from payouts.services.bulk import MOST_PAYMENTS
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew
from tests.payouts.sending import client, payment, send, signed_headers

URL = "/api/v1/payments/bulk/"

pytestmark = pytest.mark.django_db


def send_bulk(content: Any, **signing: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Browser().post(URL, body, content_type="application/json", headers=signed_headers(body, **signing))


def payments(*numbers: int, **changes: Any) -> dict[str, Any]:
    return {"payments": [payment(payment_id=f"payment-{number}", **changes) for number in numbers]}


def test_it_records_each_payment_as_if_it_had_come_alone() -> None:
    of = client()

    answer = send_bulk(payments(2, 1, paid_at="2026-01-02T03:04:05+02:00", subscription_id="sub-1"))
    alone = send(payment(payment_id="payment-3", paid_at="2026-01-02T03:04:05+02:00", subscription_id="sub-1"))

    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    shown = answer.json()
    assert (shown["recorded"], shown["replayed"], shown["refused"]) == (2, 0, 0)
    assert [result["status"] for result in shown["results"]] == [201, 201]
    assert [result["payment"]["payment_id"] for result in shown["results"]] == ["payment-2", "payment-1"]
    rows = {row.payment_id: row for row in Accumulation.objects.all()}
    assert shown["results"][0]["payment"] == {
        **alone.json(),
        "id": rows["payment-2"].pk,
        "payment_id": "payment-2",
    }
    own = {"id", "payment_id", "content_sha256", "created_at", "status_changed_at"}
    columns = [field.attname for field in Accumulation._meta.concrete_fields if field.attname not in own]
    for name in columns:
        assert getattr(rows["payment-1"], name) == getattr(rows["payment-3"], name), name
    assert rows["payment-1"].client == of
    (event,) = InboundEvent.objects.filter(outcome=Outcome.DIVIDED)
    assert (event.verdict, event.error, event.event_id) == (Verdict.VALID, "", event.headers["webhook-id"])
    assert len(json.loads(bytes(event.body))["payments"]) == 2
    assert "webhook-signature" not in event.headers


def test_a_list_alone_is_a_body_too() -> None:
    client()

    assert send_bulk(payments(1)["payments"]).json()["recorded"] == 1


def test_the_same_payment_alone_and_in_a_bulk_is_one_payment() -> None:
    client()
    first = send(payment()).json()

    shown = send_bulk(payments(1, 2), event_id="event-2").json()

    assert (shown["recorded"], shown["replayed"], shown["refused"]) == (1, 1, 0)
    assert shown["results"][0] == {"status": 200, "payment": first}
    assert send(payment(payment_id="payment-2"), event_id="event-3").status_code == 200
    assert Accumulation.objects.count() == 2


def test_an_id_is_stored_as_it_was_written_whatever_it_means_to_a_csv_file() -> None:
    client()
    odd = ["a,b", '"quoted"', 'half"', "\\N", "\\.", "back\\slash", "'", "#", "NULL"]

    shown = send_bulk({"payments": [payment(payment_id=name) for name in odd]}).json()

    assert shown["recorded"] == len(odd)
    assert set(Accumulation.objects.values_list("payment_id", flat=True)) == set(odd)
    again = send_bulk({"payments": [payment(payment_id=name) for name in odd]}, event_id="event-2").json()
    assert again["replayed"] == len(odd)


def test_of_two_with_one_id_the_first_that_can_be_recorded_is() -> None:
    client()

    nothing = payment(outcome_amount="0", outcome_currency="eth")
    answer = send_bulk([nothing, payment(), payment(amount_usd="25.5"), nothing, payment(amount_usd="11")]).json()

    statuses = [result["status"] for result in answer["results"]]
    assert statuses == [422, 201, 200, 422, 409]
    assert Accumulation.objects.get().gross_usd == Decimal("25.5")


def test_what_stood_before_is_met_wherever_it_is_in_the_request() -> None:
    client()
    send_bulk(payments(10, 500, 990))

    # More than COPY is given at a time, and what is refused or void among them.
    void_payment(source="api", payment_id="payment-700", actor=ACTOR, reason="fraud")
    few = [
        payment(payment_id="payment-300", outcome_amount="0", outcome_currency="eth"),
        payment(payment_id="payment-500", user_id="other"),
    ]
    shown = send_bulk([*payments(*range(1000))["payments"], *few], event_id="event-2").json()

    assert (shown["recorded"], shown["replayed"], shown["refused"]) == (997, 3, 2)
    assert [result["status"] for result in shown["results"][-2:]] == [422, 409]
    ids = [result["payment"]["id"] for result in shown["results"][:1000]]
    rows = Accumulation.objects.in_bulk(ids)
    assert [rows[pk].payment_id for pk in ids] == [f"payment-{number}" for number in range(1000)]
    assert Accumulation.objects.exclude(status=AccumulationStatus.PENDING).get().payment_id == "payment-700"


def test_another_broken_rule_is_no_repetition_and_records_nothing() -> None:
    client()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_accumulation ADD CONSTRAINT nothing_of_user_13 CHECK (user_id <> '13')")

    with pytest.raises(IntegrityError, match="nothing_of_user_13"):
        send_bulk({"payments": [payment(payment_id="one"), payment(payment_id="two", user_id="13")]})

    assert not Accumulation.objects.exists()
    assert InboundEvent.objects.filter(outcome=Outcome.FAILED).count() == 2


def test_what_cannot_be_recorded_stops_nothing_else_and_can_be_replayed() -> None:
    client()
    items = [
        payment(payment_id="good"),
        payment(payment_id="stranger", client_id="client-2"),
        payment(payment_id="odd", amount_usd="1e5", user_id=None),
        "no object",
        payment(payment_id="small", amount_usd="0.00000001", outcome_amount=None, outcome_currency=None),
        payment(payment_id="good", amount_usd="30"),
        payment(payment_id="good"),
    ]

    shown = send_bulk(items).json()

    assert [result["status"] for result in shown["results"]] == [201, 422, 400, 400, 201, 409, 200]
    assert [result["problem"]["code"] for result in shown["results"] if "problem" in result] == [
        "unknown_client",
        "invalid_fields",
        "invalid_fields",
        "conflicting_payment",
    ]
    assert {error["field"] for error in shown["results"][2]["problem"]["errors"]} == {"amount_usd", "user_id"}
    assert set(Accumulation.objects.values_list("payment_id", flat=True)) == {"good", "small"}
    assert sorted(InboundEvent.objects.values_list("outcome", flat=True)) == sorted(
        [Outcome.DIVIDED, Outcome.REFUSED, Outcome.REFUSED, Outcome.REFUSED, Outcome.CONFLICT]
    )

    client("client-2")
    stranger = InboundEvent.objects.get(error__contains="client-2")
    replayed = replay_event(event_id=stranger.pk, actor=ACTOR)

    assert replayed is not None
    assert replayed.payment_id == "stranger"
    assert replayed.content_sha256 == _hash_of_the_same_sent_alone("stranger", client_id="client-2")


@pytest.mark.parametrize("is_first_alone", [True, False])
def test_f13_an_id_that_stood_for_another_request_is_a_conflict_for_a_person(*, is_first_alone: bool) -> None:
    client()
    if is_first_alone:
        send(payment(), event_id="event-1")
    else:
        send_bulk(payments(1), event_id="event-1")

    answer = send_bulk(payments(2, 3), event_id="event-1")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflicting_delivery")
    assert Accumulation.objects.get().payment_id == "payment-1"
    (conflict,) = InboundEvent.objects.unsettled()
    assert (conflict.outcome, len(json.loads(bytes(conflict.body))["payments"])) == (Outcome.CONFLICT, 2)
    assert "event-1 was processed before with another body" in conflict.error
    assert rejected_totals() == [("api", "conflicting_delivery", 1)]
    assert send_bulk(payments(2, 3), event_id="event-2").json()["recorded"] == 2


def test_f13_while_the_intake_is_paused_a_conflict_too_is_told_to_come_again() -> None:
    client()
    send_bulk(payments(1), event_id="event-1")
    Pause.objects.create(switch=Switch.INTAKE, actor="alice", reason="maintenance")

    assert send_bulk(payments(2), event_id="event-1").json()["code"] == "intake_paused"

    assert InboundEvent.objects.count() == 1


def test_f1_the_same_list_under_its_id_again_is_answered_again() -> None:
    client()
    items = [*payments(1)["payments"], payment(payment_id="stranger", client_id="client-2")]
    send_bulk(items, event_id="event-1")
    client("client-2")
    # Processed again alone, it has the list's id and a body of its own.
    replay_event(event_id=InboundEvent.objects.get(outcome=Outcome.REFUSED).pk, actor=ACTOR)

    again = send_bulk(items, event_id="event-1").json()

    assert (again["recorded"], again["replayed"], again["refused"]) == (0, 2, 0)


def test_f1_the_same_list_is_known_though_its_body_was_forgotten(settings: Settings) -> None:
    client()
    send_bulk(payments(1), event_id="event-1")
    InboundEvent.objects.update(received_at=timezone.now() - timedelta(days=settings.INBOX_BODIES_KEPT_DAYS + 1))
    assert forget_bodies() == 1

    assert send_bulk(payments(1), event_id="event-1").json()["replayed"] == 1
    assert send_bulk(payments(2), event_id="event-1").status_code == 409


def test_f13_the_id_of_a_list_that_was_no_list_can_be_sent_again() -> None:
    client()

    assert send_bulk(b"{}", event_id="event-1").status_code == 400
    assert send_bulk(payments(1), event_id="event-1").json()["recorded"] == 1


ODD = [
    '{"payment_id":"scientific","client_id":"client-1","user_id":"u","amount_usd":1e1}',
    '{"payment_id":1.5,"client_id":"client-1","user_id":"u","amount_usd":"5"}',
    '{ "user_id" : "u","client_id":"client-2", "payment_id":"\\u0061\\"]},\\\\é", "amount_usd":10.50 }',
    '{"payment_id":"ü☃𝄞","client_id":"client-1","user_id":"u","amount_usd":"5"}',
    '{"payment_id":"big","client_id":"client-1","user_id":"u","amount_usd":' + "9" * 60 + "}",
    '[1.0,-0.0,{"a":"[,]"}]',
    '{"payment_id":"stranger","client_id":"client-2","user_id":"u","amount_usd":10.50}',
]


@pytest.mark.parametrize("frame", ['{"payments": [%s]}', '{"\\u0070ayments":[\n%s\n]}', " [%s] "])
def test_f7_what_is_refused_is_kept_as_it_was_written_and_refused_again(frame: str) -> None:
    client()

    shown = send_bulk((frame % " ,\n ".join(ODD)).encode()).json()

    assert (shown["recorded"], shown["refused"]) == (0, len(ODD))
    kept = list(InboundEvent.objects.filter(outcome=Outcome.REFUSED).order_by("pk"))
    assert [bytes(event.body).decode() for event in kept] == ODD
    for event in kept:
        with pytest.raises(SluiceError):
            replay_event(event_id=event.pk, actor=ACTOR)
    assert not Accumulation.objects.exists()

    client("client-2")
    assert replay_event(event_id=kept[-1].pk, actor=ACTOR) == Accumulation.objects.get(gross_usd="10.50")


def _hash_of_the_same_sent_alone(payment_id: str, **changes: Any) -> str:
    """The same content is a replay and no conflict."""
    assert send(payment(payment_id=payment_id, **changes), event_id="event-9").status_code == 200
    return Accumulation.objects.get(payment_id=payment_id).content_sha256


def test_a_payment_to_look_at_first_is_held_with_its_own_history(settings: Any) -> None:
    client()

    shown = send_bulk({"payments": [payment(amount_usd="10000.01"), payment(payment_id="payment-2")]}).json()

    held = Accumulation.objects.get(payment_id="payment-1")
    assert held.status == AccumulationStatus.HELD
    assert shown["results"][0]["payment"]["hold_reason"] == "Above the limit of 10000 USD for one payment."
    (change,) = held.status_changes.all()
    assert (change.from_status, change.to_status, change.actor) == ("", "held", "api:api")
    assert not Accumulation.objects.get(payment_id="payment-2").status_changes.exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b'"payments"', "invalid_json"),
        (b'{"payments": {}}', "invalid_json"),
        (b'{"payments": []}', "invalid_fields"),
        (b'{"payments": [], "more": 1}', "invalid_fields"),
        (b"[" + b",".join([b"0"] * (MOST_PAYMENTS + 1)) + b"]", "invalid_fields"),
    ],
)
def test_it_refuses_what_is_no_list_of_payments(body: bytes, code: str) -> None:
    answer = send_bulk(body)

    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (400, CONTENT_TYPE, code)
    (event,) = InboundEvent.objects.all()
    assert (event.outcome, bytes(event.body)) == (Outcome.REFUSED, body)


def test_f12_it_refuses_a_list_that_nobody_signed() -> None:
    client()
    body = json.dumps(payments(1)).encode()

    answer = Browser().post(URL, body, content_type="application/json", headers=signed_headers(body + b" "))

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature")
    assert not Accumulation.objects.exists()


def test_f16_it_refuses_too_large_a_list_without_reading_it() -> None:
    answer = send_bulk(b" " * (4 * 1024 * 1024 + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert not InboundEvent.objects.exists()


def test_nothing_is_recorded_while_the_intake_is_paused() -> None:
    client()
    Pause.objects.create(switch=Switch.INTAKE, reason="repair", actor=str(ACTOR))

    answer = send_bulk(payments(1))

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "intake_paused", "30")
    assert not Accumulation.objects.exists()
    assert not InboundEvent.objects.exists()


def test_it_takes_the_same_few_statements_however_many(django_assert_max_num_queries: Any) -> None:
    client()

    with django_assert_max_num_queries(13):
        shown = send_bulk(payments(*range(2000))).json()

    assert shown["recorded"] == 2000
    assert Accumulation.objects.count() == 2000


@pytest.mark.django_db(transaction=True)
def test_f2_of_sixteen_bulks_at_once_each_payment_is_recorded_once() -> None:
    client()
    barrier = Barrier(16)

    def deliver(number: int) -> Any:
        barrier.wait(PATIENCE_S)
        numbers = range(20) if number % 2 else reversed(range(20))
        return send_bulk(payments(*numbers), event_id=f"event-{number}").json()

    with crew(16) as workers:
        answers = [one.result() for one in [workers.start(partial(deliver, number)) for number in range(16)]]

    assert sum(answer["recorded"] for answer in answers) == 20
    assert sum(answer["replayed"] for answer in answers) == 15 * 20
    assert Accumulation.objects.count() == 20
    assert InboundEvent.objects.filter(outcome=Outcome.DIVIDED).count() == 16


@pytest.mark.django_db(transaction=True)
def test_f6_a_bulk_that_breaks_off_leaves_its_payments_in_the_inbox_one_by_one() -> None:
    client()
    table = Accumulation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (payment_id <> 'payment-2')")
    try:
        answer = Browser(raise_request_exception=False).post(
            URL,
            body := json.dumps(payments(1, 2)).encode(),
            content_type="application/json",
            headers=signed_headers(body, event_id="event-1"),
        )
        events = list(InboundEvent.objects.order_by("pk"))
        recorded_meanwhile = Accumulation.objects.count()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT broken")

    assert (answer.status_code, recorded_meanwhile) == (500, 0)
    assert [event.outcome for event in events] == [Outcome.FAILED, Outcome.FAILED]
    for event in events:
        replay_event(event_id=event.pk, actor=ACTOR)
    assert set(Accumulation.objects.values_list("payment_id", flat=True)) == {"payment-1", "payment-2"}
    # Its sender, who heard of no success, sends the same again.
    assert send_bulk(payments(1, 2), event_id="event-1").json()["replayed"] == 2
    assert send_bulk(payments(1, 3), event_id="event-1").status_code == 409
