"""Deliveries in the admin: what became of each, and what an operator does about those that are not in the books."""

from __future__ import annotations

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from config.admin_site.attention import attention
from payouts.models import Accumulation, InboundEvent, Outcome
from payouts.services import forget_bodies, unsettled_events, waiting_replays
from payouts.tasks import replay_deliveries
from tests.payouts.sending import client, payment, send
from tests.web.scene import Scene
from tests.web.test_operations import ask, confirm, list_operation, operation_of, said
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


def refused(*names: str) -> list[InboundEvent]:
    """Payments of clients that nobody has."""
    for name in names:
        send(payment(payment_id=name, client_id=f"shop-{name}"), event_id=f"event-{name}")
    return list(InboundEvent.objects.filter(named_payment_id__in=names).order_by("pk"))


def test_an_operator_processes_one_again(scene: Scene, operator: Client) -> None:
    (event,) = refused("a")
    url = operation_of(event, "replay")
    page, _ = ask(operator, url)
    assert "No client has the id shop-a" in page

    still = confirm(operator, url)
    assert "refused. No client has the id shop-a" in said(still)
    client("shop-a")
    done = confirm(operator, url, reason="client added")

    assert "payment a is recorded" in said(done)
    event.refresh_from_db()
    assert (event.outcome, event.attempts) == (Outcome.RECORDED, 3)
    page = operator.get(url_of(InboundEvent, "change", event.pk)).content.decode()
    assert "processed again: client added" in page
    assert "only an authentic delivery that failed or was refused can be processed again" in page


def test_an_operator_has_all_processed_again_that_failed_since(scene: Scene, operator: Client) -> None:
    refused("a", "b")
    client("shop-a")
    client("shop-b")
    url = list_operation(InboundEvent, "replay")
    which = {"since": "2020-01-01T00:00", "error": "no client has the id shop-", "at_most": "10"}

    page, _ = ask(operator, url)
    assert "No client has the id shop-a." in page
    few = confirm(operator, url, **{**which, "at_most": "1"})
    assert "2 match: narrow it down" in few.content.decode()
    none = confirm(operator, url, **{**which, "payment_id": "c"})
    assert "No delivery matches." in none.content.decode()
    assert waiting_replays() == 0

    done = confirm(operator, url, **which)

    assert "2 deliveries will be processed again" in said(done)
    page = operator.get(url_of(InboundEvent, "changelist"), {"unsettled": "replay"}).content.decode()
    assert "event-a" in page
    assert "msg-failed" not in page
    replay_deliveries()
    assert set(Accumulation.objects.filter(payment_id__in="ab").values_list("payment_id", flat=True)) == {"a", "b"}


def test_f71_two_submissions_of_one_order_are_one(scene: Scene, operator: Client) -> None:
    (event,) = refused("a")
    url = list_operation(InboundEvent, "replay")
    _, token = ask(operator, url)
    given = {"token": token, "reason": "x", "since": "2020-01-01T00:00", "payment_id": "a", "at_most": "10"}

    operator.post(url, given)
    replay_deliveries()
    again = operator.post(url, given)

    assert "already done" in said(again)
    assert (waiting_replays(), event.status_changes.count()) == (0, 2)


def test_an_operator_leaves_all_as_they_are_that_match(scene: Scene, operator: Client) -> None:
    a, b = refused("a", "b")
    url = list_operation(InboundEvent, "acknowledge")

    done = confirm(operator, url, since="2020-01-01T00:00", client_id="shop-b", at_most="10", reason="a test of theirs")

    assert "1 delivery left as" in said(done)
    assert a in unsettled_events()
    assert b not in unsettled_events()


def test_deliveries_are_found_by_payment_client_sender_and_error(scene: Scene, operator: Client) -> None:
    a, b = refused("a", "b")
    url = url_of(InboundEvent, "changelist")
    page_of_a, page_of_b = (url_of(InboundEvent, "change", event.pk) for event in (a, b))

    for query in ({"q": "a"}, {"q": "shop-a"}, {"q": "event-a"}, {"error": "ID SHOP-A."}):
        page = operator.get(url, query).content.decode()
        assert page_of_a in page, query
        assert page_of_b not in page, query
    assert "Nothing matches." in operator.get(url, {"q": "shop-"}).content.decode()
    recorded = InboundEvent.objects.filter(outcome=Outcome.RECORDED).latest("pk")
    assert recorded.accumulation is not None
    page = operator.get(url, {"q": recorded.accumulation.payment_id}).content.decode()
    assert url_of(InboundEvent, "change", recorded.pk) in page


def test_the_page_of_one_whose_body_is_gone_shows_its_hash_and_why_it_is_not_processed_again(
    scene: Scene, operator: Client
) -> None:
    event = InboundEvent.objects.get(event_id="msg-refused")
    InboundEvent.objects.update(received_at=timezone.now() - timedelta(days=100))
    assert forget_bodies() > 0

    page = operator.get(url_of(InboundEvent, "change", event.pk)).content.decode()

    event.refresh_from_db()
    assert event.body_sha256 in page
    assert "Forgotten after 90 days." in page
    assert f"The body of event {event.pk} was forgotten" in page


def test_who_may_only_look_leaves_nothing_as_it_is(scene: Scene, viewer: Client) -> None:
    event = conflict()

    assert viewer.post(operation_of(event, "acknowledge"), {"reason": "x"}).status_code == 403
    assert event in unsettled_events()
