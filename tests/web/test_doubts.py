"""What operators decide about a payment whose money is at the exchange."""

from __future__ import annotations

from django.test import Client

from hostpay.models import ExchangeOrder, HostPayment, PaymentStatus
from tests.web.scene import Scene
from tests.web.test_operations import confirm, operation_of, payment_of, said


def test_it_puts_a_doubt_aside_for_a_day(scene: Scene, operator: Client) -> None:
    doubt = scene.stuck.review_reason

    answer = confirm(operator, operation_of(scene.stuck, "wait"), reason="they send the rest")

    scene.stuck.refresh_from_db()
    assert "waits for the rest" in said(answer)
    assert (scene.stuck.status, scene.stuck.review_reason) == (PaymentStatus.FINAL, "")
    event = scene.stuck.status_changes.latest("pk")
    assert (event.actor, event.data["decision"], event.data["about"]) == ("admin:anna", "wait", doubt)
    assert scene.stuck.received_units is None


def test_it_notes_that_the_provider_was_asked_and_leaves_the_review_open(scene: Scene, operator: Client) -> None:
    confirm(operator, operation_of(scene.stuck, "escalate"), reason="ticket 4711")

    before = scene.stuck.review_reason
    scene.stuck.refresh_from_db()
    assert scene.stuck.review_reason == before
    assert scene.stuck.status_changes.latest("pk").reason == "escalated: ticket 4711"


def test_it_accepts_no_refund_where_none_was_named(scene: Scene, operator: Client) -> None:
    answer = operator.get(operation_of(scene.stuck, "accept-refund"))

    assert answer.status_code == 302
    assert "The exchange has named no refund of it." in said(answer)


def test_it_accepts_a_refund_that_is_in_doubt_once_that_is_typed(scene: Scene, operator: Client) -> None:
    ExchangeOrder.objects.filter(payment=scene.stuck, is_current=True).update(refund_hash="0x" + "11" * 32)
    url = operation_of(scene.stuck, "accept-refund")

    confirm(operator, url, typed="refund?")
    assert not scene.stuck.status_changes.filter(data__has_key="decision").exists()

    confirm(operator, url, typed="REFUND")
    assert scene.stuck.status_changes.get(data__decision="accept_refund").actor == "admin:anna"
    scene.stuck.refresh_from_db()
    assert scene.stuck.status == PaymentStatus.FINAL


def test_there_is_nothing_to_decide_before_the_money_is_there(scene: Scene, operator: Client) -> None:
    payment = payment_of(scene.waiting)

    for name in ("wait", "escalate"):
        answer = operator.get(operation_of(payment, name))
        assert "only while the exchange has the money" in said(answer)

    assert HostPayment.objects.get(pk=payment.pk).status == payment.status
