"""A payment that is void, by its own id: also before it came, and in a race with it."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser

from batches.services import check_threshold, release_batch
from config.admin_site.attention import attention
from config.lib.errors import RefusedError
from config.lib.problems import InvalidFieldsError
from payouts.models import Accumulation, AccumulationStatus, InboundEvent, Outcome, VoidOrder
from payouts.services import carry_out_void_orders, create_api_key, void_payment
from payouts.services.bulk import record_payments
from payouts.services.members import credit_shares
from tests.factories import ACTOR, accumulation
from tests.lib.concurrency import crew
from tests.payouts.sending import client, payment, send
from tests.web.scene import batch_of

pytestmark = pytest.mark.django_db

URL = "/api/v1/accumulations/void/"


def void(payment_id: str = "payment-1", **changes: Any) -> Accumulation | VoidOrder:
    return void_payment(**{"source": "api", "payment_id": payment_id, "actor": ACTOR, "reason": "fraud", **changes})


def ask(**content: Any) -> Any:
    _, key = create_api_key(name="tests", scopes=["ops"], actor=ACTOR)
    body = json.dumps({"payment_id": "payment-1", "reason": "fraud", **content})
    return Browser().post(URL, body, content_type="application/json", headers={"authorization": f"Bearer {key}"})


@pytest.mark.parametrize("is_known", [False, True])
def test_f10_a_payment_that_comes_after_its_void_is_recorded_void(is_known: bool) -> None:
    client()
    if is_known:
        # The client's terms are in this process's memory: the way of a single statement.
        send(payment(payment_id="before"))
    order = void()

    answer = send(payment())

    row = Accumulation.objects.get(payment_id="payment-1")
    assert (answer.status_code, answer.json()["conversion_status"], answer.json()["id"]) == (201, "voided", row.pk)
    assert row.status == AccumulationStatus.VOIDED
    assert [(change.to_status, change.reason) for change in row.status_changes.all()] == [("voided", "fraud")]
    assert InboundEvent.objects.get(accumulation=row).outcome == Outcome.RECORDED
    order.refresh_from_db()
    assert isinstance(order, VoidOrder)
    assert order.accumulation == row
    # The same again is answered with what stands.
    assert (send(payment(), event_id="again").status_code, Accumulation.objects.get(pk=row.pk).status) == (
        200,
        "voided",
    )


def test_f10_so_it_is_in_bulk_and_of_a_payment_that_would_be_held() -> None:
    client()
    void("b")
    void("c")

    ended = record_payments(
        items=[payment(payment_id="a"), payment(payment_id="b"), payment(payment_id="c", amount_usd="20000")],
        source="api", delivery=None, actor=ACTOR,
    )  # fmt: skip

    assert [getattr(each, "status", each) for each in ended] == ["pending", "voided", "voided"]
    assert not VoidOrder.objects.filter(accumulation__isnull=True).exists()
    assert Accumulation.objects.get(payment_id="c").status_changes.get().reason == "fraud"


def test_f10_the_id_of_another_source_is_another_payment() -> None:
    client()
    void(source="nowpayments")

    assert send(payment()).json()["conversion_status"] == "pending"


def test_a_payment_that_came_is_voided_at_once_and_once() -> None:
    client()
    send(payment())

    assert [void().pk for _ in range(2)] == [Accumulation.objects.get().pk] * 2

    row = Accumulation.objects.get()
    assert (row.status, row.status_changes.count()) == ("voided", 1)
    assert not VoidOrder.objects.exists()


@pytest.mark.parametrize(("changes", "error"), [
    ({"payment_id": ""}, InvalidFieldsError), ({"payment_id": "a b"}, InvalidFieldsError),
    ({"source": "aip"}, InvalidFieldsError), ({"source": "2nd"}, InvalidFieldsError),
    ({"source": "a b"}, InvalidFieldsError), ({"source": "A" * 33}, InvalidFieldsError), ({"reason": " "}, RefusedError),
])  # fmt: skip
def test_it_refuses_what_cannot_be_meant(changes: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        void(**changes)

    assert not VoidOrder.objects.exists()


@pytest.mark.parametrize("source", ["api", "nowpayments", "import"])
def test_a_payment_can_be_void_before_it_comes_from_where_payments_come(source: str) -> None:
    assert isinstance(void(source=source), VoidOrder)


def test_a_source_is_known_by_what_was_imported_from_it(tmp_path: Path) -> None:
    client()
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps(payment(payment_id="old-1")), encoding="utf-8")
    with pytest.raises(InvalidFieldsError, match="must be api, import, nowpayments, or one that a payment came from"):
        void(source="Import2")
    with pytest.raises(CommandError, match="--source must have 1 to 32 letters"):
        call_command("import_payments", str(file), source="2nd import")

    call_command("import_payments", str(file), source="Import2", stdout=io.StringIO(), stderr=io.StringIO())

    assert isinstance(void(source="Import2", payment_id="old-1"), Accumulation)
    assert isinstance(void(source="Import2", payment_id="old-2"), VoidOrder)


def test_a_payment_systems_key_voids_what_it_sent_and_nothing_else() -> None:
    client()
    send(payment())
    _, secret = create_api_key(name="shop", scopes=["ingest"], actor=ACTOR)

    def post(url: str, content: dict[str, str]) -> Any:
        return Browser().post(
            url, json.dumps(content), content_type="application/json", headers={"authorization": f"Bearer {secret}"}
        )

    mine = post("/api/v1/accumulations/void/", {"payment_id": "payment-1", "reason": "cancelled"})
    others = post(
        "/api/v1/accumulations/void/", {"payment_id": "payment-1", "reason": "cancelled", "source": "nowpayments"}
    )
    unsigned = post("/api/v1/payments/", payment(payment_id="payment-2"))
    check = post("/api/v1/batches/check-threshold/", {})

    assert (mine.status_code, Accumulation.objects.get().status) == (200, "voided")
    assert (others.status_code, others.json()["code"]) == (403, "permission_denied")
    assert not VoidOrder.objects.exists()
    assert (unsigned.status_code, unsigned.json()["code"]) == (401, "bad_signature")
    assert "no API key stands for a signature" in unsigned.json()["detail"]
    assert (check.status_code, check.json()["code"]) == (403, "permission_denied")


def slipped_past() -> tuple[VoidOrder, Accumulation]:
    """An order, and its payment as it is when the two came at one moment and neither saw the other."""
    order = void()
    assert isinstance(order, VoidOrder)
    return order, accumulation(100, source="api", payment_id="payment-1")


def test_f11_an_order_that_a_batch_was_faster_than_waits_for_what_becomes_of_the_batch() -> None:
    order, row = slipped_past()
    batch, _ = batch_of("50")

    assert carry_out_void_orders(actor=ACTOR) == 0
    # The same again changes nothing, whatever it is told by then.
    assert void() == order
    assert [item.kind for item in attention().items] == ["void order"]

    release_batch(batch=batch, actor=ACTOR, reason="the exchange is gone")

    row.refresh_from_db()
    order.refresh_from_db()
    assert (row.status, order.accumulation) == ("voided", row)
    assert [(change.to_status, change.reason) for change in row.status_changes.order_by("pk")][-2:] == [
        ("pending", "the exchange is gone"), ("voided", "fraud"),
    ]  # fmt: skip
    assert Accumulation.objects.filter(status="pending").count() == 1
    assert "void order" not in [item.kind for item in attention().items]


def test_f11_an_order_for_what_was_converted_meanwhile_is_told_to_a_person(caplog: pytest.LogCaptureFixture) -> None:
    order, row = slipped_past()
    batch, _ = batch_of("50")
    credit_shares(batch_id=batch.pk, received_units=1_000_000)

    assert [carry_out_void_orders(actor=ACTOR) for _ in range(2)] == [1, 0]

    row.refresh_from_db()
    order.refresh_from_db()
    assert (row.status, order.accumulation) == ("completed", row)
    assert "void order came too late" in caplog.text
    (item,) = attention().items
    assert (item.kind, item.tone) == ("void order", "bad")
    assert "payment-1 is void (fraud), and was converted all the same" in item.sentence


def test_f11_the_threshold_check_looks_for_orders_before_it_claims() -> None:
    _, row = slipped_past()

    check_threshold(actor=ACTOR, dry_run=True)
    assert Accumulation.objects.get(pk=row.pk).status == "pending"
    check_threshold(actor=ACTOR)

    assert Accumulation.objects.get(pk=row.pk).status == "voided"


def test_over_the_api_it_is_202_before_the_payment_and_200_after() -> None:
    client()
    early = ask()
    send(payment())
    late = ask()

    assert (early.status_code, early.json()) == (
        202, {"source": "api", "payment_id": "payment-1", "accumulation_id": None},
    )  # fmt: skip
    assert (late.status_code, late.json()["accumulation_id"]) == (200, Accumulation.objects.get().pk)


@pytest.mark.django_db(transaction=True)
def test_f10_a_void_and_its_payment_at_once_leave_nothing_owed() -> None:
    client()
    send(payment(payment_id="warm"))
    names = [f"payment-{number}" for number in range(12)]
    with crew(8) as workers:
        voids = [workers.start(partial(void, name)) for name in names]
        sent = [workers.start(partial(send, payment(payment_id=name), event_id=name)) for name in names]
    assert [each.result().status_code for each in sent] == [201] * 12
    assert all(each.result() for each in voids)

    # What slipped past, being under way in one statement, is found by the sweep.
    carry_out_void_orders(actor=ACTOR)
    assert set(Accumulation.objects.filter(payment_id__in=names).values_list("status", flat=True)) == {"voided"}
