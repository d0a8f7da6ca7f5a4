"""Deliveries that are not in the books: whom they wait for, and how that ends."""

import pytest
from django.db import IntegrityError, connection, transaction

from config.admin_site.attention import attention
from config.lib.errors import RefusedError
from payouts.models import Accumulation, InboundEvent, InboundEventStatusChange, Outcome
from payouts.services import acknowledge_event, replay_event, replayable_events, settling
from payouts.services import unsettled_events as unsettled
from payouts.tasks import settle_sent_again
from tests.factories import ACTOR
from tests.payouts.sending import client, payment, post, send
from tests.payouts.test_api_payments_bulk import send_bulk

pytestmark = pytest.mark.django_db


def kinds() -> list[str]:
    """What “Needs me” lists of deliveries."""
    return sorted(item.kind for item in attention().items if item.kind.startswith("delivery"))


def test_f4_the_same_payment_with_other_content_waits_for_a_person_who_says_why_it_is_left_so() -> None:
    client()
    first = send(payment()).json()

    assert send(payment(amount_usd="26"), event_id="event-2").status_code == 409

    (event,) = unsettled()
    (item,) = attention().items
    assert (item.kind, item.since, item.url.endswith(f"/inboundevent/{event.pk}/change/")) == (
        "delivery conflict",
        event.received_at,
        True,
    )
    assert item.sentence == (
        f"Delivery api event-2: Payment payment-1 was recorded as accumulation {first['id']} with other content, which"
        " stands."
    )

    acknowledge_event(event_id=event.pk, actor=ACTOR, reason=" the shop sent it twice ")

    assert attention().items == []
    event.refresh_from_db()
    assert (event.outcome, event.acknowledged_at is None) == (Outcome.CONFLICT, False)
    (change,) = event.status_changes.all()
    assert (change.actor, change.reason) == (str(ACTOR), "left as it is: the shop sent it twice")
    assert Accumulation.objects.get().gross_usd == 25.50


def test_f4_a_conflict_in_a_bulk_waits_for_a_person_too() -> None:
    client()

    send_bulk([payment(), payment(amount_usd="26")])

    assert kinds() == ["delivery conflict"]
    acknowledge_event(event_id=unsettled()[0].pk, actor=ACTOR, reason="twice")
    assert kinds() == []


def test_inc08_a_payment_of_an_unknown_client_waits_until_it_is_recorded() -> None:
    assert send(payment()).status_code == 422
    assert kinds() == ["delivery refused"]
    client()

    replay_event(event_id=unsettled()[0].pk, actor=ACTOR)

    assert kinds() == []


def test_what_was_refused_and_then_sent_again_waits_for_nobody_after_the_next_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settling, "_SETTLED_AT_ONCE", 2)
    for number in range(3):
        send(payment(), event_id=f"event-{number}")
    send(payment(payment_id="another"), event_id="event-3")
    client()
    send(payment(), event_id="event-4")
    send(payment(amount_usd="26"), event_id="event-5")
    send(payment(amount_usd="1e1"), event_id="event-6")

    settle_sent_again()

    # What came after the payment was recorded is no older try of it.
    assert sorted(event.event_id for event in unsettled()) == ["event-3", "event-5", "event-6"]
    changes = InboundEventStatusChange.objects.values_list("subject__event_id", "actor", "reason").order_by("pk")
    assert list(changes) == [
        (f"event-{number}", "worker:settle_sent_again", "left as it is: sent again, and recorded")
        for number in range(3)
    ]


def test_what_was_left_as_it_is_can_still_be_processed_again_and_then_waits_again() -> None:
    send(payment())
    (event,) = unsettled()
    acknowledge_event(event_id=event.pk, actor=ACTOR, reason="a test of theirs")
    assert not replayable_events().exists()

    client("client-1")
    send(payment(amount_usd="30"), event_id="event-2")
    with pytest.raises(Exception, match="other content"):
        replay_event(event_id=event.pk, actor=ACTOR)

    assert kinds() == ["delivery conflict"]


def test_the_oldest_stand_first_and_no_more_than_fifty_of_a_kind() -> None:
    for number in range(52):
        send(payment(payment_id=f"payment-{number}"), event_id=f"event-{number}")

    found = attention()

    assert [item.sentence.split(":")[0] for item in found.items][:2] == [
        "Payment payment-0 of api",
        "Payment payment-1 of api",
    ]
    assert found.count_text == "50+"
    (more,) = found.more
    assert more[0] == "refused deliveries"


def test_what_nobody_signed_waits_for_nobody() -> None:
    post(b"{}", {})

    assert kinds() == []
    with pytest.raises(RefusedError, match="nobody must see to it"):
        acknowledge_event(event_id=InboundEvent.objects.get().pk, actor=ACTOR, reason="x")


def test_it_is_left_so_once_and_with_a_reason() -> None:
    send(payment())
    (event,) = unsettled()

    with pytest.raises(RefusedError, match="needs a reason"):
        acknowledge_event(event_id=event.pk, actor=ACTOR, reason=" ")
    acknowledge_event(event_id=event.pk, actor=ACTOR, reason="x")
    with pytest.raises(RefusedError, match="already"):
        acknowledge_event(event_id=event.pk, actor=ACTOR, reason="x")

    assert InboundEventStatusChange.objects.count() == 1


def test_f63_what_people_had_done_to_a_delivery_is_never_changed() -> None:
    send(payment())
    acknowledge_event(event_id=unsettled()[0].pk, actor=ACTOR, reason="x")

    for statement in ("UPDATE {} SET reason = 'y'", "DELETE FROM {}"):
        with (
            pytest.raises(IntegrityError, match="is refused"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format(InboundEventStatusChange._meta.db_table))
