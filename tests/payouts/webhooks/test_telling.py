"""I12: what must be told is in the outbox in the same commit, for whoever asks for it, and for nobody else."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from concurrent.futures import Future
from decimal import Decimal
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from batches.services import check_threshold, release_batch
from batches.services.settling import distribute
from payouts.models import (
    SUBSCRIBABLE,
    Accumulation,
    AccumulationStatus,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from payouts.services import hold_accumulation, unhold_accumulation, void_accumulation, void_payment, webhooks
from payouts.services.members import claim_pending
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew, wait_until_blocked
from tests.lib.world import World
from tests.payouts.sending import client, payment, send, signed_headers
from tests.payouts.webhooks.receiving import endpoint, outbox

URL = "http://127.0.0.1:1/in"


def _post_bulk(payments: list[dict[str, Any]]) -> None:
    body = json.dumps({"payments": payments}).encode()
    headers = signed_headers(body, event_id=f"bulk-{uuid.uuid4().hex}")
    answer = Browser().post("/api/v1/payments/bulk/", body, content_type="application/json", headers=headers)
    assert answer.status_code == 200


@pytest.mark.django_db
def test_i12_a_recorded_payment_is_told_once_however_often_it_is_sent() -> None:
    client()
    endpoint(URL)
    for number in range(3):
        send(payment(payment_id="first"), event_id=f"event-{number}")
    send(payment(payment_id="second"), event_id="event-9")
    send(payment(payment_id="second", amount_usd="7"), event_id="event-10")

    assert outbox() == [
        ("payment.accumulated", "first", "waiting"),
        ("payment.accumulated", "second", "waiting"),
    ]


@pytest.mark.django_db
def test_i12_an_endpoint_is_told_of_the_first_payment_after_it_was_made_by_every_process() -> None:
    """The process has seen the client while nobody listened; what it remembers of that decides nothing."""
    client()
    send(payment(payment_id="before"), event_id="event-1")
    made = endpoint(URL)
    send(payment(payment_id="after"), event_id="event-2")
    send(payment(payment_id="later"), event_id="event-3")
    webhooks.disable_endpoint(endpoint=made, actor=ACTOR, reason="for a test")
    send(payment(payment_id="unheard"), event_id="event-4")

    assert [payment_id for _, payment_id, _ in outbox()] == ["after", "later"]
    assert Accumulation.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_i12_an_endpoint_made_while_payments_come_in_misses_none_that_came_after_it() -> None:
    client()
    made, stop = Event(), Event()
    sent: list[tuple[str, bool]] = []

    def pay(sender: int) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            payment_id, is_after = f"p{sender}-{number}", made.is_set()
            assert send(payment(payment_id=payment_id), event_id=payment_id).status_code == 201
            sent.append((payment_id, is_after))

    with crew(4) as workers:
        paying = [workers.start(partial(pay, sender)) for sender in range(4)]
        deadline = time.monotonic() + PATIENCE_S
        while len(sent) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        endpoint(URL)
        made.set()
        while sum(is_after for _, is_after in sent) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        stop.set()
        for one in paying:
            one.result()

    told = [payment_id for _, payment_id, _ in outbox()]
    assert len(set(told)) == len(told)
    assert {payment_id for payment_id, is_after in sent if is_after} <= set(told)
    assert sent[0][0] not in told


@pytest.mark.django_db
def test_the_usual_payment_is_one_statement_listened_for_or_not() -> None:
    client()
    send(payment(payment_id="seen"), event_id="event-0")

    def inserts(payment_id: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            send(payment(payment_id=payment_id), event_id=payment_id)
        return len([query for query in queries if query["sql"].startswith("EXECUTE record_payment")])

    assert inserts("unheard") == 1
    endpoint(URL)
    send(payment(payment_id="the-endpoint-comes-up"), event_id="event-1")
    assert inserts("heard") == 1
    assert outbox()[-1] == ("payment.accumulated", "heard", "waiting")


@pytest.mark.django_db
def test_what_is_recorded_as_held_is_told_as_held_with_the_reason() -> None:
    client()
    endpoint(URL)
    send(payment(payment_id="large", amount_usd="20000"))

    [row] = WebhookDelivery.objects.all()
    assert (row.event, row.reason) == ("payment.held", "Above the limit of 10000 USD for one payment.")


@pytest.mark.django_db
def test_f10_a_payment_that_was_void_before_it_came_is_told_as_void() -> None:
    client()
    endpoint(URL)
    for payment_id in ("alone", "of-many"):
        void_payment(source="api", payment_id=payment_id, actor=ACTOR, reason=f"{payment_id} was twice")
    send(payment(payment_id="alone"))
    _post_bulk([payment(payment_id="of-many"), payment(payment_id="sound")])

    assert sorted(WebhookDelivery.objects.values_list("event", "accumulation__payment_id", "reason")) == [
        ("payment.accumulated", "sound", ""),
        ("payment.voided", "alone", "alone was twice"),
        ("payment.voided", "of-many", "of-many was twice"),
    ]


@pytest.mark.django_db
def test_only_those_hear_of_it_who_ask_for_it() -> None:
    bakery, other = client("bakery"), client("other")
    of_bakery = endpoint("http://127.0.0.1:1/bakery", client=bakery)
    of_holds = endpoint("http://127.0.0.1:1/holds", events=["payment.held"])
    silent = endpoint("http://127.0.0.1:1/silent")
    webhooks.disable_endpoint(endpoint=silent, actor=ACTOR, reason="for a test")
    for number, whose in enumerate((bakery, other, bakery)):
        send(payment(payment_id=f"p{number}", client_id=whose.external_id), event_id=f"event-{number}")

    held = Accumulation.objects.get(payment_id="p1")
    hold_accumulation(accumulation=held, actor=ACTOR, reason="odd")

    assert outbox(of_bakery) == [("payment.accumulated", "p0", "waiting"), ("payment.accumulated", "p2", "waiting")]
    assert outbox(of_holds) == [("payment.held", "p1", "waiting")]
    assert outbox(silent) == []


@pytest.mark.django_db
def test_a_bulk_is_told_whole_and_each_as_it_was_recorded() -> None:
    client()
    endpoint(URL)
    payments = [payment(payment_id=f"p{number}") for number in range(3)]

    _post_bulk([*payments, payment(payment_id="large", amount_usd="20000"), payment(payment_id="p0")])
    _post_bulk(payments)

    assert sorted(outbox()) == [
        *(("payment.accumulated", f"p{number}", "waiting") for number in range(3)),
        ("payment.held", "large", "waiting"),
    ]


@pytest.mark.django_db
def test_hold_release_and_void_are_told_with_their_reasons() -> None:
    row = factories.accumulation(5)
    endpoint(URL)

    hold_accumulation(accumulation=row, actor=ACTOR, reason=" odd ")
    unhold_accumulation(accumulation=row, actor=ACTOR, reason="asked")
    void_accumulation(accumulation=row, actor=ACTOR, reason="a test")

    found = WebhookDelivery.objects.order_by("pk").values_list("event", "reason")
    assert list(found) == [("payment.held", "odd"), ("payment.released", "asked"), ("payment.voided", "a test")]


@pytest.mark.django_db
def test_i12_an_event_goes_where_its_transaction_goes() -> None:
    row = factories.accumulation(5)
    endpoint(URL)

    with transaction.atomic():
        hold_accumulation(accumulation=row, actor=ACTOR, reason="odd")
        assert len(outbox()) == 1
        transaction.set_rollback(True)

    assert outbox() == []


@pytest.mark.django_db(transaction=True)
def test_i12_a_claim_that_is_undone_tells_nobody(settings: Settings, world: World) -> None:
    """Between the look and the claim a payment is voided, and what is left does not reach the threshold."""
    factories.policy(20)
    small, large = factories.accumulations(5, 16)
    endpoint(URL, events=["payment.batched"])
    voided, claimed = Event(), Event()

    def void() -> None:
        with transaction.atomic():
            void_accumulation(accumulation=Accumulation.objects.get(pk=large.pk), actor=ACTOR, reason="twice")
            voided.set()
            assert claimed.wait(PATIENCE_S)

    with crew() as workers:
        voiding: Future[None] = workers.start(void)
        assert voided.wait(PATIENCE_S)
        checking = workers.start(lambda: check_threshold(actor=ACTOR))
        wait_until_blocked()
        claimed.set()
        voiding.result()
        assert checking.result().batch is None

    small.refresh_from_db()
    assert small.status == AccumulationStatus.PENDING
    assert outbox() == []


@pytest.mark.django_db(transaction=True)
def test_i12_claim_and_distribution_tell_of_every_member_with_its_batch_and_share(world: World) -> None:
    factories.policy(20)
    members = factories.accumulations("10", "5.55", "6.45")
    first, second = endpoint("http://127.0.0.1:1/1"), endpoint("http://127.0.0.1:1/2", events=["payment.converted"])

    batch = check_threshold(actor=ACTOR).batch
    assert batch is not None
    distribute(batch_id=batch.pk, received_units=21_000_001, actor=ACTOR)
    distribute(batch_id=batch.pk, received_units=21_000_001, actor=ACTOR)

    names = [row.payment_id for row in members]
    assert outbox(first) == [
        *(("payment.batched", name, "waiting") for name in names),
        *(("payment.converted", name, "waiting") for name in names),
    ]
    assert outbox(second) == [("payment.converted", name, "waiting") for name in names]
    shares: dict[int | None, Any] = dict(Accumulation.objects.values_list("pk", "converted_usdt_amount"))
    for row in WebhookDelivery.objects.filter(endpoint=second):
        assert row.batch_id == batch.pk
        assert row.converted_usdt_amount == shares[row.accumulation_id]
    batched = WebhookDelivery.objects.filter(event="payment.batched")
    assert set(batched.values_list("batch_id", "converted_usdt_amount")) == {(batch.pk, None)}
    assert sum(shares.values(), Decimal(0)) == Decimal("21.000001")


@pytest.mark.django_db(transaction=True)
def test_i12_members_that_are_given_back_are_told_so(world: World) -> None:
    factories.policy(20)
    factories.accumulations("10", "15")
    endpoint(URL, events=["payment.returned"])
    batch = check_threshold(actor=ACTOR).batch
    assert batch is not None

    release_batch(batch=batch, actor=ACTOR, reason="wrong rate")

    found = WebhookDelivery.objects.values_list("event", "batch_id", "reason")
    assert list(found) == [("payment.returned", batch.pk, "wrong rate")] * 2


@pytest.mark.django_db
def test_a_large_set_is_told_in_two_statements() -> None:
    factories.accumulations(*["1"] * 500)
    endpoint(URL)
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        claim_pending(batch_id=uuid.uuid4(), converts_unreceipted=True, max_wei=None)
        transaction.set_rollback(True)

    said = [query["sql"] for query in queries if "payouts_webhook" in query["sql"]]
    assert len(said) == 2
    assert said[1].lstrip().startswith("INSERT INTO payouts_webhookdelivery")


@pytest.mark.django_db
def test_nobody_listening_costs_one_look() -> None:
    row = factories.accumulation(5)
    with CaptureQueriesContext(connection) as queries:
        hold_accumulation(accumulation=row, actor=ACTOR, reason="odd")

    assert len([query for query in queries if "webhook" in query["sql"]]) == 1


@pytest.mark.django_db(transaction=True)
def test_i12_for_each_payment_the_order_of_events_is_the_order_of_their_numbers() -> None:
    """Whatever runs at the same time: an event's number is drawn under the lock of its accumulation."""
    rows = factories.accumulations(*["5"] * 4)
    endpoint(URL)

    def turn(row: Accumulation) -> None:
        for number in range(8):
            hold_accumulation(accumulation=row, actor=ACTOR, reason=f"{number}")
            unhold_accumulation(accumulation=row, actor=ACTOR, reason=f"{number}")

    with crew(4) as workers:
        for turning in [workers.start(partial(turn, row)) for row in rows]:
            turning.result()

    for row in rows:
        told = WebhookDelivery.objects.filter(accumulation=row).order_by("pk").values_list("event", "reason")
        assert list(told) == [
            (event, str(number)) for number in range(8) for event in ("payment.held", "payment.released")
        ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        "event = 'payment.voided'",
        "reason = 'another'",
        "converted_usdt_amount = 1",
        "nonce = gen_random_uuid()",
        "created_at = now() - interval '1 day'",
    ],
)
def test_what_an_event_says_is_never_changed(change: str) -> None:
    row = factories.accumulation(5)
    endpoint(URL)
    hold_accumulation(accumulation=row, actor=ACTOR, reason="odd")

    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE payouts_webhookdelivery SET {change}")  # noqa: S608 (the test's own words)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "columns",
    [
        {"event": "payment.lost"},
        {"event": WebhookEvent.TEST},
        {"accumulation": None},
        {"delivered_at": "2026-01-01T00:00:00Z", "given_up_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_the_database_refuses_an_event_that_cannot_be(columns: dict[str, Any]) -> None:
    of = endpoint(URL)
    values = {"endpoint": of, "event": WebhookEvent.HELD, "accumulation": factories.accumulation(1), **columns}

    with pytest.raises(IntegrityError), transaction.atomic():
        WebhookDelivery.objects.create(**values)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "columns",
    [
        {"events": []},
        {"events": ["payment.paid"]},
        {"status": "disabled"},
        {"status": "asleep"},
        {"secret_seed": ""},
        {"old_secret_seed": "seed"},
        {"failures": 3},
        {"url": ""},
    ],
)
def test_the_database_refuses_an_endpoint_that_cannot_be(columns: dict[str, Any]) -> None:
    made = endpoint(URL)

    with pytest.raises(IntegrityError), transaction.atomic():
        WebhookEndpoint.objects.filter(pk=made.pk).update(**columns)


def test_what_can_be_asked_for_is_what_is_told() -> None:
    assert set(SUBSCRIBABLE) == set(WebhookEvent.values) - {WebhookEvent.TEST.value}
