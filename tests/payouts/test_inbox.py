"""Deliveries kept and processed again."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from config.lib.errors import RefusedError
from payouts.models import Accumulation, InboundEvent, InboundEventStatusChange, Outcome, Verdict
from payouts.services import UnknownClientError, acknowledge_event, replay_event, replayable_events
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
    (change,) = event.status_changes.all()
    assert (change.from_status, change.to_status, change.reason) == ("refused", "refused", "processed again")


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
    assert not replayable_events().exists()


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


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--error", "no client has"), ["a", "b", "c"]),
        (("--error", "no client has the id shop-b"), ["b"]),
        (("--payment-id", "c"), ["c"]),
        (("--client-id", "shop-a"), ["a"]),
        (("--outcome", "refused", "--source", "api"), ["a", "b", "c", "d"]),
        (("--outcome", "failed"), []),
        (("--source", "nowpayments"), []),
        (("--since", "2030-01-31T12:00:00Z"), ["b", "c", "d"]),
        (("--since", "2030-01-31T12:00:00Z", "--until", "2030-01-31T13:00:00+00:00"), ["b"]),
        (("--failed", "--client-id", "shop-c"), ["c"]),
        (("--failed",), ["a", "b", "c", "d"]),
    ],
)
def test_the_command_says_how_many_match_and_with_dry_run_does_no_more(
    options: tuple[str, ...], found: list[str]
) -> None:
    for minute, name in enumerate("abc"):
        send(payment(payment_id=name, client_id=f"shop-{name}"), event_id=f"event-{name}")
        at = datetime(2030, 1, 31, 11 + minute, 59, tzinfo=UTC)
        InboundEvent.objects.filter(event_id=f"event-{name}").update(received_at=at)
    send(b'{"payment_id": "d", "amount_usd": "x"}', event_id="event-d")
    InboundEvent.objects.filter(event_id="event-d").update(received_at=datetime(2030, 2, 1, tzinfo=UTC))
    send(payment(payment_id="e", client_id="shop-c"), event_id="event-e")
    left = InboundEvent.objects.get(event_id="event-e")
    acknowledge_event(event_id=left.pk, actor=ACTOR, reason="a test of theirs")
    out = StringIO()

    call_command("replay_inbox", *options, "--dry-run", stdout=out)

    assert out.getvalue().splitlines()[-1] == f"{len(found)} deliveries match."
    assert not InboundEvent.objects.filter(attempts__gt=1).exists()

    with suppress(CommandError):
        call_command("replay_inbox", *options, "--reason", "mended", stdout=StringIO(), stderr=StringIO())

    tried = InboundEvent.objects.filter(attempts=2).order_by("pk")
    assert list(tried.values_list("named_payment_id", flat=True)) == found
    assert set(InboundEventStatusChange.objects.exclude(subject=left).values_list("reason", flat=True)) <= {
        "processed again: mended"
    }


@pytest.mark.parametrize("options", [(), ("1", "--failed"), ("1", "--client-id", "x"), ("--since", "yesterday")])
def test_the_command_refuses_what_does_not_say_which(options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command("replay_inbox", *options, stdout=StringIO())


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
