"""A receiver that is slow takes its own place: what others are to be told does not wait for it."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.utils import timezone

from config.lib import public_http
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from payouts.services import webhooks
from payouts.services.webhooks import delivering, rounds
from payouts.services.webhooks.telling import tell_of_payments
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import crew, wait_until
from tests.lib.scripted_http import Reply, ScriptedServer
from tests.payouts.webhooks.receiving import WORKER, deliver, endpoint, is_signed_with, mortal_sender, outbox

pytestmark = pytest.mark.django_db(transaction=True)

# Far below what an answer may take, and above what anything else in these tests does.
SLOWLY = Reply(pause_s=1.1)


@pytest.fixture
def slow() -> Iterator[ScriptedServer]:
    with ScriptedServer() as script:
        yield script


def tell(count: int) -> list[str]:
    """So many events happen; says their payments."""
    rows = factories.accumulations(*["1"] * count)
    tell_of_payments(event=WebhookEvent.HELD, accumulation_ids=[row.pk for row in rows], reason="a set")
    return [row.payment_id for row in rows]


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called where something changed: returns when the sweep under way has looked for changes since."""
    looks = itertools.count()
    latest = 0
    look = delivering._Run._call_off_what_changed

    def counted(run: delivering._Run) -> None:
        nonlocal latest
        look(run)
        latest = next(looks)

    def wait() -> None:
        # The one that ends next may have begun before.
        wanted = latest + 2
        wait_until(lambda: latest >= wanted)

    monkeypatch.setattr(delivering._Run, "_call_off_what_changed", counted)
    return wait


def payments(receiver: ScriptedServer) -> list[str]:
    return [asked.json["data"]["payment_id"] for asked in receiver.asked]


@pytest.mark.parametrize("run_s", [20, 0])
def test_what_happens_while_a_receiver_hangs_is_told_to_the_others_before_it_is_given_up_on(
    receiver: ScriptedServer, slow: ScriptedServer, run_s: int
) -> None:
    """Also when the sweep's own time is over, and only the one that hangs keeps it."""
    hanging = endpoint(slow.url)
    others = threading.Event()
    slow.say(Reply(until=others), Reply())
    tell(1)
    endpoint(receiver.url)

    with crew() as workers:
        sending = workers.start(lambda: webhooks.deliver_due(actor=WORKER, run_s=run_s))
        wait_until(lambda: slow.asked)
        told = [*tell(10), *tell(10)]
        wait_until(lambda: len(receiver.asked) == 20)
        others.set()
        sending.result()

    assert payments(receiver) == told
    # It was in time, so all the others were told within the time that one answer may take.
    first = WebhookAttempt.objects.filter(endpoint=hanging).order_by("pk")[0]
    assert (first.outcome, first.error) == ("delivered", "")


def test_an_answer_that_drips_keeps_nobody_either(receiver: ScriptedServer, slow: ScriptedServer) -> None:
    dripping = endpoint(slow.url)
    others = threading.Event()
    # As long as an answer may take, if need be.
    slow.say(Reply(body=b"x" * 45, drip=True, pause_s=0.2, until=others), Reply())
    tell(1)
    endpoint(receiver.url)

    with crew() as workers:
        sending = workers.start(deliver)
        wait_until(lambda: slow.asked)
        told = tell(20)
        wait_until(lambda: len(receiver.asked) == 20)
        assert not WebhookAttempt.objects.filter(endpoint=dripping, ended_at__isnull=False).exists()
        others.set()
        sending.result()

    assert payments(receiver) == told
    assert WebhookAttempt.objects.order_by("pk")[0].outcome == "delivered"


def test_however_many_are_known_as_slow_places_are_left_for_the_others(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(delivering, "MOST_SLOW", 2)
    with ExitStack() as stack, crew() as workers:
        slow = [stack.enter_context(ScriptedServer()) for _ in range(4)]
        free = threading.Event()
        for each in slow:
            each.say(Reply(until=free))
            endpoint(each.url)
        WebhookEndpoint.objects.update(last_took_ms=1000)
        endpoint(receiver.url)
        told = tell(20)
        WebhookEndpoint.objects.filter(last_took_ms=0).update(next_attempt_at=timezone.now())

        sending = workers.start(deliver)
        wait_until(lambda: len(receiver.asked) == 20)
        assert sum(len(each.asked) for each in slow) == 2
        free.set()
        sending.result()

        assert payments(receiver) == told
        assert [payments(each) for each in slow] == [told] * 4, "each gets its turn, in its own order"


def test_one_host_has_a_few_places(receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "MOST_OF_A_HOST", 2)
    with ScriptedServer() as busy, crew() as workers:
        free = threading.Event()
        busy.say(Reply(until=free))
        for number in range(4):
            endpoint(f"{busy.url}/{number}")
        endpoint(receiver.url)
        tell(1)

        sending = workers.start(deliver)
        wait_until(lambda: receiver.asked and len(busy.asked) >= 2)
        tell(1)
        wait_until(lambda: len(receiver.asked) == 2)
        assert len(busy.asked) == 2
        free.set()
        assert sending.result() == 10


def test_a_receiver_that_took_long_waits_apart_until_it_is_quick_again(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    receiver.say(SLOWLY, Reply())
    tell(3)

    assert webhooks.deliver_due(actor=WORKER, run_s=0) == 1, "its round ends with the slow answer"
    made.refresh_from_db()
    assert made.last_took_ms >= 1000
    assert (made.failures, made.leased_until) == (0, None)
    assert deliver() == 2

    made.refresh_from_db()
    assert made.last_took_ms < 1000


def test_a_failure_by_time_is_slow_and_another_address_starts_over(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_http, "DEADLINE_S", 1.1)
    made = endpoint(receiver.url)
    receiver.say(Reply(pause_s=3))
    tell(1)

    deliver()
    made.refresh_from_db()
    assert (made.failures, made.last_took_ms >= 1000) == (1, True)

    webhooks.change_endpoint(
        endpoint_id=made.pk, changes={"url": f"{receiver.url}/new"}, actor=ACTOR, reason="they moved"
    )
    made.refresh_from_db()
    assert made.last_took_ms == 0


def test_what_is_disabled_meanwhile_is_sent_no_further_event(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch, looked_up: Callable[[], None]
) -> None:
    monkeypatch.setattr(rounds, "SLOW_MS", 60_000)
    made = endpoint(receiver.url)
    told = tell(5)
    noticed = threading.Event()
    receiver.say(Reply(), Reply(until=noticed), Reply())

    with crew() as workers:
        sending = workers.start(deliver)
        wait_until(lambda: len(receiver.asked) == 2)
        webhooks.disable_endpoint(endpoint=WebhookEndpoint.objects.get(pk=made.pk), actor=ACTOR, reason="maintenance")
        looked_up()
        noticed.set()
        assert sending.result() == 2

    assert payments(receiver) == told[:2]
    assert [state for _, _, state in outbox()] == ["delivered"] * 2 + ["waiting"] * 3
    assert list(WebhookDelivery.objects.order_by("pk").values_list("attempts", flat=True)) == [1, 1, 0, 0, 0]


def test_a_secret_that_is_rotated_meanwhile_signs_the_next_event(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch, looked_up: Callable[[], None]
) -> None:
    monkeypatch.setattr(rounds, "SLOW_MS", 60_000)
    made, old = webhooks.create_endpoint(name="shop", url=receiver.url, events=["payment.held"], actor=ACTOR)
    told = tell(5)
    noticed = threading.Event()
    receiver.say(Reply(until=noticed), Reply())

    with crew() as workers:
        sending = workers.start(deliver)
        wait_until(lambda: receiver.asked)
        new = webhooks.rotate_secret(endpoint_id=made.pk, overlap=timedelta(0), actor=ACTOR, reason="leaked")
        looked_up()
        noticed.set()
        assert sending.result() == 5

    assert payments(receiver) == told
    assert [is_signed_with(asked, old) for asked in receiver.asked] == [True] + [False] * 4
    assert [is_signed_with(asked, new) for asked in receiver.asked] == [False] + [True] * 4


@pytest.mark.slow
def test_f67_a_killed_sender_leaves_only_the_endpoint_it_was_sending_to(
    receiver: ScriptedServer, slow: ScriptedServer
) -> None:
    hanging = endpoint(slow.url)
    slow.say(Reply(pause_s=30), Reply())
    [first] = tell(1)
    with mortal_sender() as mortal:
        wait_until(lambda: slow.asked)
        mortal.kill()
    assert mortal.returncode == -signal.SIGKILL
    endpoint(receiver.url)
    [second] = tell(1)

    # Until the server has noticed that the sender is gone.
    wait_until(lambda: deliver() == 1)

    assert payments(receiver) == [second]
    assert payments(slow) == [first]
    WebhookEndpoint.objects.filter(pk=hanging.pk).update(leased_until=timezone.now())
    assert deliver() == 2
    assert payments(slow) == [first, first, second]
