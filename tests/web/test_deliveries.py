"""Deliveries in the admin: what became of each, and what an operator does about those that are not in the books."""

from __future__ import annotations

from django.test import Client

from config.admin_site.attention import attention
from payouts.models import InboundEvent, Outcome
from payouts.services import unsettled_events
from tests.payouts.sending import client, payment, send
from tests.web.scene import Scene
from tests.web.test_operations import ask, confirm, operation_of, said
from tests.web.test_pages import url_of


def conflict() -> InboundEvent:
    """Payment payment-1 told of twice, with two amounts."""
    client("shop")
    send(payment(client_id="shop"))
    send(payment(client_id="shop", amount_usd="26"), event_id="event-2")
    return InboundEvent.objects.get(outcome=Outcome.CONFLICT)


def test_f4_an_operator_leaves_a_conflict_as_it_is(scene: Scene, operator: Client) -> None:
    event = conflict()

    page, _ = ask(operator, operation_of(event, "acknowledge"))
    assert "Nothing is recorded and nothing in the books changes" in page
    assert "with other content, which stands." in page
    answer = confirm(operator, operation_of(event, "acknowledge"), reason="sent twice")

    assert "is left as it is" in said(answer)
    assert event not in unsettled_events()
    page = operator.get(url_of(InboundEvent, "change", event.pk)).content.decode()
    assert "left as it is: sent twice" in page
    assert "admin:anna" in page
    assert "is left as it is already." in page


def test_the_list_shows_what_waits_for_a_person(scene: Scene, operator: Client) -> None:
    event = conflict()
    (url,) = {item.url for item in attention().items if item.kind == "delivery conflict"}
    assert url == url_of(InboundEvent, "change", event.pk)

    page = operator.get(url_of(InboundEvent, "changelist"), {"unsettled": "yes"}).content.decode()

    assert url in page
    assert "msg-failed" in page
    assert "msg-refused" not in page
    assert "msg-recorded" not in page


def test_who_may_only_look_leaves_nothing_as_it_is(scene: Scene, viewer: Client) -> None:
    event = conflict()

    assert viewer.post(operation_of(event, "acknowledge"), {"reason": "x"}).status_code == 403
    assert event in unsettled_events()
