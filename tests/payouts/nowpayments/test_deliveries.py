"""Notifications that are not in the books: whom they wait for, processed again, counted, and forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command

from config.admin_site.attention import attention
from config.lib import clock
from payouts.models import Accumulation, InboundEvent, NowPayment, Outcome
from payouts.services import Which, ask_for_replays, carry_out_replays, forget_bodies, rejected_totals
from tests.payouts.nowpayments.sending import ACTOR, tell
from tests.payouts.sending import client

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_nowpayments_the_payment_speaks_and_else_the_notification() -> None:
    tell()
    tell(content=b"[]")
    tell(order_id="somebody:else")

    assert sorted(InboundEvent.objects.values_list("outcome", flat=True)) == sorted(
        [Outcome.REFUSED, Outcome.REFUSED, Outcome.CONFLICT]
    )
    assert sorted(item.kind for item in attention().items) == ["NOWPayments", "delivery refused"]


def test_notifications_are_processed_again_too() -> None:
    tell()
    client()

    which = Which(source="nowpayments", payment_id="5524759814")
    assert ask_for_replays(which=which, at_most=5, actor=ACTOR, reason="client added") == 1
    carry_out_replays(actor=ACTOR)

    assert Accumulation.objects.get().payment_id == "5524759814"
    (event,) = InboundEvent.objects.all()
    assert [(change.from_status, change.to_status) for change in event.status_changes.all()] == [
        ("refused", "refused"),
        ("refused", "recorded"),
    ]


def test_what_waits_for_a_client_is_processed_again_by_the_clients_id() -> None:
    tell()
    tell(payment_id=2, order_id="client-2:user-1")
    tell(payment_id=3, order_id="nobody")
    client()

    call_command("replay_inbox", client_id="client-1", verbosity=0)

    assert Accumulation.objects.get().payment_id == "5524759814"
    assert list(InboundEvent.objects.order_by("pk").values_list("named_client_id", flat=True)) == [
        "client-1",
        "client-2",
        "",
    ]
    found = Which(client_id="client-2").among(InboundEvent.objects.all())
    assert [event.event_id for event in found] == ["2"]


def test_a_notification_keeps_its_body_while_its_payment_waits_for_a_person() -> None:
    tell()
    InboundEvent.objects.update(received_at=clock.now() - timedelta(days=100))

    assert forget_bodies() == 0
    NowPayment.objects.update(review_reason="", review_cause="", review_since=None, next_action_at=clock.now())
    assert forget_bodies() == 1


def test_f3_conflicts_and_refusals_are_counted_for_an_alarm() -> None:
    tell(order_id="nobody:1")
    tell(order_id="somebody:1")
    tell(content=b"[]")

    assert rejected_totals() == [
        ("nowpayments", "bad_notice", 1),
        ("nowpayments", "conflicting_payment", 1),
        ("nowpayments", "unknown_client", 1),
    ]
