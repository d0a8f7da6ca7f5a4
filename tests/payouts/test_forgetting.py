"""Bodies of old deliveries: which go, what stays, and what waits for somebody keeps its own."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from config.lib import clock
from config.lib.errors import RefusedError
from payouts.models import Accumulation, InboundEvent, Outcome, Verdict
from payouts.services import (
    Which,
    acknowledge_event,
    ask_for_replays,
    carry_out_replays,
    forget_bodies,
    forgetting,
    replay_event,
    replayable_events,
)
from payouts.tasks import forget_bodies as sweep
from tests.factories import ACTOR
from tests.payouts.sending import client, payment, post, send

pytestmark = pytest.mark.django_db


def delivery(*, days: float, outcome: Outcome = Outcome.NOTED, **columns: object) -> InboundEvent:
    """One that came so many days ago."""
    return InboundEvent.objects.create(
        **{
            "source": "api",
            "event_id": f"event-{days}",
            "headers": {"user-agent": "till"},
            "body": f'{{"days": {days}}}'.encode(),
            "verdict": Verdict.VALID,
            "outcome": outcome,
            "received_at": clock.now() - timedelta(days=days),
            **columns,
        }
    )


def bodies() -> dict[str, bytes]:
    """Of every delivery, what is there of its body."""
    return {event.event_id: bytes(event.body) for event in InboundEvent.objects.order_by("pk")}


def test_a_body_goes_when_its_time_is_over_and_its_hash_and_all_else_stay() -> None:
    client()
    send(payment())
    InboundEvent.objects.update(received_at=clock.now() - timedelta(days=90, seconds=1))
    before = InboundEvent.objects.get()

    sweep()

    event = InboundEvent.objects.get()
    assert (bytes(event.body), event.body_sha256) == (b"", hashlib.sha256(bytes(before.body)).hexdigest())
    for field in InboundEvent._meta.concrete_fields:
        if not field.name.startswith("body"):
            assert getattr(event, field.attname) == getattr(before, field.attname), field.name
    assert replay_event(event_id=event.pk, actor=ACTOR) == Accumulation.objects.get()
    assert send(payment(), event_id="event-2").status_code == 200


def test_only_old_ones_go_and_the_next_sweep_goes_on_from_there(settings: Settings) -> None:
    settings.INBOX_BODIES_KEPT_DAYS = 30
    for days in (32, 31, 29, 28):
        delivery(days=days)

    assert forget_bodies() == 2
    assert [event_id for event_id, body in bodies().items() if body] == ["event-29", "event-28"]
    settings.INBOX_BODIES_KEPT_DAYS = 29
    assert (forget_bodies(), forget_bodies()) == (1, 0)


def test_one_whose_time_and_id_crossed_is_not_passed_by() -> None:
    delivery(days=92)
    late = delivery(days=89.9)
    delivery(days=91)

    assert forget_bodies() == 1
    InboundEvent.objects.filter(pk=late.pk).update(received_at=clock.now() - timedelta(days=90.1))

    assert forget_bodies() == 2


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REFUSED, Outcome.CONFLICT, Outcome.RECEIVED])
def test_what_waits_for_somebody_keeps_its_body_until_it_does_not(outcome: Outcome) -> None:
    waits = delivery(days=200, outcome=outcome)
    delivery(days=100)

    assert (forget_bodies(), forget_bodies()) == (1, 0)
    assert bodies()["event-200"]

    if outcome == Outcome.RECEIVED:
        InboundEvent.objects.filter(pk=waits.pk).update(outcome=Outcome.NOTED)
    else:
        acknowledge_event(event_id=waits.pk, actor=ACTOR, reason="a test of theirs")
    assert forget_bodies() == 1
    assert not bodies()["event-200"]


def test_an_old_one_that_waits_can_be_processed_again_and_goes_then() -> None:
    send(payment())
    InboundEvent.objects.update(received_at=clock.now() - timedelta(days=100))
    forget_bodies()
    client()
    ask_for_replays(which=Which(), at_most=5, actor=ACTOR, reason="client added")

    assert forget_bodies() == 0
    carry_out_replays(actor=ACTOR)

    assert Accumulation.objects.get().payment_id == "payment-1"
    assert forget_bodies() == 1


def test_one_whose_body_is_gone_is_refused_a_replay_with_why() -> None:
    event = delivery(days=100, outcome=Outcome.REFUSED)
    acknowledge_event(event_id=event.pk, actor=ACTOR, reason="a test of theirs")
    forget_bodies()

    with pytest.raises(RefusedError, match=r"was forgotten: it is older than 90 days"):
        replay_event(event_id=event.pk, actor=ACTOR)

    event.refresh_from_db()
    assert (event.attempts, event.status_changes.count()) == (1, 1)
    assert not replayable_events().exists()


def test_what_nobody_signed_goes_too() -> None:
    post(b"{}", {})
    InboundEvent.objects.update(received_at=clock.now() - timedelta(days=100))

    assert forget_bodies() == 1


def test_it_goes_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "_FORGOTTEN_AT_ONCE", 3)
    for number in range(10):
        delivery(days=200 - number, outcome=Outcome.FAILED if number % 3 == 0 else Outcome.NOTED)

    assert forget_bodies() == 6
    assert [bool(body) for body in bodies().values()] == [number % 3 == 0 for number in range(10)]


def test_a_body_never_goes_without_leaving_its_hash() -> None:
    event = delivery(days=100)

    for columns in ({"body_state": "forgotten"}, {"body_state": "forgotten", "body_sha256": "x"}, {"body_sha256": "x"}):
        with pytest.raises(IntegrityError, match="forgotten_body_has_left_its_hash"), transaction.atomic():
            InboundEvent.objects.filter(pk=event.pk).update(**columns)
