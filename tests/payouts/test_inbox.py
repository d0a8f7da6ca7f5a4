"""Deliveries kept and processed again."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from config.lib.errors import RefusedError
from payouts.models import Accumulation, InboundEvent, Outcome, Verdict
from payouts.services import UnknownClientError, failed_events, replay_event
from payouts.tasks import bound_rejected_events
from tests.factories import ACTOR
from tests.payouts.sending import client, payment, post, send

pytestmark = pytest.mark.django_db


def test_a_refused_delivery_is_recorded_once_its_client_exists() -> None:
    send(payment())
    event = InboundEvent.objects.get()
    client()

    accumulation = replay_event(event_id=event.pk, actor=ACTOR)

    event.refresh_from_db()
    assert (event.outcome, event.accumulation, event.attempts, event.error) == (Outcome.RECORDED, accumulation, 2, "")
    assert accumulation is not None
    assert accumulation.gross_usd == Decimal("25.5")


def test_a_replay_that_is_refused_again_says_why_and_counts() -> None:
    send(payment())
    event = InboundEvent.objects.get()

    with pytest.raises(UnknownClientError):
        replay_event(event_id=event.pk, actor=ACTOR)

    event.refresh_from_db()
    assert (event.outcome, event.attempts) == (Outcome.REFUSED, 2)
    assert not Accumulation.objects.exists()


def test_replaying_what_was_recorded_changes_nothing() -> None:
    client()
    send(payment())
    event = InboundEvent.objects.get()

    assert replay_event(event_id=event.pk, actor=ACTOR) == Accumulation.objects.get()

    event.refresh_from_db()
    assert event.attempts == 1


def test_a_replay_of_a_payment_recorded_meanwhile_finds_it() -> None:
    send(payment())
    event = InboundEvent.objects.get()
    client()
    send(payment())

    assert replay_event(event_id=event.pk, actor=ACTOR) == Accumulation.objects.get()

    event.refresh_from_db()
    assert event.outcome == Outcome.REPLAYED


def test_what_is_not_authentic_cannot_be_replayed() -> None:
    client()
    post(b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":"5"}', {})

    with pytest.raises(RefusedError, match="not authentic"):
        replay_event(event_id=InboundEvent.objects.get().pk, actor=ACTOR)

    assert not Accumulation.objects.exists()
    assert failed_events() == []


def test_a_conflict_cannot_be_replayed() -> None:
    client()
    send(payment())
    send(payment(amount_usd="26"))

    with pytest.raises(RefusedError, match="other content"):
        replay_event(event_id=InboundEvent.objects.get(outcome=Outcome.CONFLICT).pk, actor=ACTOR)


def test_the_command_replays_all_that_failed() -> None:
    send(payment(payment_id="a"))
    send(payment(payment_id="b", client_id="nobody"))
    client()
    out, err = StringIO(), StringIO()

    with pytest.raises(CommandError, match="1 of 2 deliveries were not recorded"):
        call_command("replay_inbox", "--failed", stdout=out, stderr=err)

    assert Accumulation.objects.get().payment_id == "a"
    assert "1 recorded, 1 refused." in out.getvalue()
    assert "No client has the id nobody" in err.getvalue()


def test_the_command_says_that_an_event_does_not_exist() -> None:
    err = StringIO()

    with pytest.raises(CommandError):
        call_command("replay_inbox", "4711", stdout=StringIO(), stderr=err)

    assert err.getvalue() == "event 4711: there is none.\n"


def test_the_sweep_keeps_the_newest_thousand() -> None:
    rows = [InboundEvent(source="api", body=b"", verdict=Verdict.INVALID, outcome=Outcome.REFUSED) for _ in range(1005)]
    made = InboundEvent.objects.bulk_create(rows)

    bound_rejected_events()

    assert InboundEvent.objects.count() == 1000
    assert InboundEvent.objects.order_by("pk").values_list("pk", flat=True)[0] == made[5].pk
