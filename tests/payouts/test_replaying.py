"""Many deliveries processed again, as somebody asked."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

from config.lib import clock
from config.lib.errors import RefusedError
from hostpay.models import Switch
from hostpay.services import pause, resume
from payouts.models import Accumulation, InboundEvent, InboundEventStatusChange, Outcome
from payouts.services import (
    TooManyError,
    Which,
    acknowledge_events,
    ask_for_replays,
    carry_out_replays,
    replay_event,
    replayable_events,
    unsettled_events,
    waiting_replays,
)
from payouts.tasks import replay_deliveries
from tests.factories import ACTOR
from tests.payouts.sending import client, payment, send
from tests.payouts.test_api_payments_bulk import send_bulk

pytestmark = pytest.mark.django_db


def refused(*names: str) -> list[InboundEvent]:
    """Payments of clients that nobody has, each its own."""
    for name in names:
        send(payment(payment_id=name, client_id=f"shop-{name}"), event_id=f"event-{name}")
    return list(replayable_events())


def ask(**which: Any) -> int:
    return ask_for_replays(which=Which(**which), at_most=10, actor=ACTOR, reason="mended")


def test_all_that_match_are_processed_again_by_the_sweep_oldest_first() -> None:
    a, b, c = refused("a", "b", "c")
    client("shop-a")
    client("shop-c")

    assert ask(error="no client has the id shop-") == 3
    assert (waiting_replays(), Accumulation.objects.count()) == (3, 0)
    replay_deliveries()

    assert waiting_replays() == 0
    assert list(Accumulation.objects.order_by("pk").values_list("payment_id", flat=True)) == ["a", "c"]
    assert list(unsettled_events()) == [b]
    assert [
        (change.actor, change.from_status, change.to_status, change.reason)
        for change in InboundEventStatusChange.objects.filter(subject=c)
    ] == [
        (str(ACTOR), "refused", "refused", "to be processed again: mended"),
        ("worker:replay_deliveries", "refused", "recorded", "processed again"),
    ]
    a.refresh_from_db()
    assert (a.attempts, a.error) == (2, "")


def test_only_what_matches_is_processed_again() -> None:
    refused("a", "b")
    client("shop-a")
    client("shop-b")

    assert ask(payment_id="b") == 1
    carry_out_replays(actor=ACTOR)

    assert Accumulation.objects.get().payment_id == "b"


def test_i19_asked_for_twice_and_swept_twice_it_is_done_once() -> None:
    refused("a")
    client("shop-a")

    assert (ask(), ask()) == (1, 0)
    assert (carry_out_replays(actor=ACTOR), carry_out_replays(actor=ACTOR)) == (1, 0)

    assert InboundEvent.objects.get().attempts == 2
    assert InboundEventStatusChange.objects.count() == 2


def test_more_than_were_allowed_are_none() -> None:
    refused("a", "b", "c")

    with pytest.raises(TooManyError, match="More than 2 deliveries match; nothing was changed"):
        ask_for_replays(which=Which(), at_most=2, actor=ACTOR, reason="mended")
    with pytest.raises(RefusedError, match="needs a reason"):
        ask_for_replays(which=Which(), at_most=3, actor=ACTOR, reason=" ")

    assert waiting_replays() == 0
    assert not InboundEventStatusChange.objects.exists()


def test_what_a_worker_is_at_is_no_other_workers_until_its_lease_is_out() -> None:
    (event,) = refused("a")
    ask()
    InboundEvent.objects.update(replay_at=clock.now() + timedelta(minutes=4))

    assert carry_out_replays(actor=ACTOR) == 0
    InboundEvent.objects.update(replay_at=clock.now() - timedelta(seconds=1))
    assert carry_out_replays(actor=ACTOR) == 1

    event.refresh_from_db()
    assert (event.outcome, event.replay_at) == (Outcome.REFUSED, None)


def test_it_waits_while_the_intake_is_paused() -> None:
    refused("a", "b")
    client("shop-a")
    ask()
    pause(switch=Switch.INTAKE, reason="repair", actor=ACTOR)

    carry_out_replays(actor=ACTOR)

    assert (waiting_replays(), Accumulation.objects.count()) == (2, 0)
    assert InboundEvent.objects.filter(attempts=1).count() == 2
    resume(switch=Switch.INTAKE, actor=ACTOR)
    carry_out_replays(actor=ACTOR)
    assert (waiting_replays(), Accumulation.objects.count()) == (0, 1)


def test_the_command_stops_at_a_pause_and_says_it_once() -> None:
    refused("a", "b", "c")
    client("shop-b")
    pause(switch=Switch.INTAKE, reason="repair", actor=ACTOR)
    told = StringIO()

    with pytest.raises(CommandError, match=r"repair.* start again when it is lifted"):
        call_command("replay_inbox", failed=True, stdout=told, stderr=told)

    assert "repair" not in told.getvalue()
    assert not Accumulation.objects.exists()


def test_a_fault_of_ours_at_one_ends_its_run_and_not_the_others() -> None:
    refused("a", "b")
    client("shop-a")
    client("shop-b")
    ask()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_accumulation ADD CONSTRAINT broken CHECK (payment_id <> 'a')")

    with pytest.raises(IntegrityError, match="broken"):
        carry_out_replays(actor=ACTOR)
    carry_out_replays(actor=ACTOR)

    assert Accumulation.objects.get().payment_id == "b"
    assert [event.named_payment_id for event in unsettled_events()] == ["a"]
    assert waiting_replays() == 0


def test_what_is_not_in_the_books_is_found_by_what_it_names() -> None:
    client()
    send(payment(payment_id="same"))
    send(payment(payment_id="same", amount_usd="26"), event_id="event-2")
    send(b'{"payment_id": 17, "client_id": "no words", "amount_usd": 1}', event_id="event-3")
    send(b'[{"payment_id": "list"}]', event_id="event-4")
    send_bulk([{"payment_id": "one", "client_id": "shop-9"}, payment(payment_id="same", amount_usd="27"), 5])

    named = InboundEvent.objects.order_by("pk").values_list("outcome", "named_payment_id", "named_client_id")

    assert list(named) == [
        ("recorded", "", ""),
        ("conflict", "same", "client-1"),
        ("refused", "17", ""),
        ("refused", "", ""),
        ("divided", "", ""),
        ("refused", "one", "shop-9"),
        ("conflict", "same", "client-1"),
        ("refused", "", ""),
    ]


def test_all_that_match_are_left_as_they_are() -> None:
    a, b, _ = refused("a", "b", "c")

    assert acknowledge_events(which=Which(client_id="shop-c"), at_most=5, actor=ACTOR, reason="a test") == 1

    assert list(unsettled_events().order_by("pk")) == [a, b]
    assert InboundEventStatusChange.objects.get().reason == "left as it is: a test"


def test_a_list_that_was_refused_whole_is_not_read_as_one_payment() -> None:
    send_bulk({"payments": [payment()] * 5001})
    event = InboundEvent.objects.get()
    why = event.error

    with pytest.raises(RefusedError, match=r"only its sender can mend it. payments: must hold 1 to 5000 payments"):
        replay_event(event_id=event.pk, actor=ACTOR)

    event.refresh_from_db()
    assert (event.error, event.attempts) == (why, 1)
    assert not event.status_changes.exists()
    assert ask_for_replays(which=Which(), at_most=5, actor=ACTOR, reason="a test") == 1
    carry_out_replays(actor=ACTOR)
    asked, refused = event.status_changes.order_by("pk")
    assert asked.reason == "to be processed again: a test"
    assert refused.reason.startswith(f"not processed again: Event {event.pk} is a list that was refused as a whole")
    # One of its payments, which is a delivery of its own, is processed again.
    send_bulk({"payments": [payment(client_id="shop-1")]}, event_id="event-2")
    client("shop-1")
    (alone,) = [each for each in replayable_events() if each.named_client_id == "shop-1"]
    assert replay_event(event_id=alone.pk, actor=ACTOR) is not None
