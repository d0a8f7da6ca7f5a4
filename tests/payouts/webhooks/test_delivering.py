"""Events reach their receivers at least once, in their order, under one id; or fail where everybody can see it."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook

from config.admin_site.attention import attention
from config.lib import public_http
from config.lib.http import CallInTransactionError, forbid_in_transaction
from config.simulation.boundaries import Boundaries
from payouts import gateways, tasks
from payouts.models import (
    TRIED_FOR,
    Accumulation,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from payouts.services import hold_accumulation, unhold_accumulation, webhooks
from payouts.services.webhooks import delivering
from payouts.services.webhooks.schedule import next_try
from payouts.services.webhooks.telling import tell_of_payments
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew, wait_until
from tests.lib.ports import own_port
from tests.lib.scripted_http import Reply, ScriptedServer
from tests.payouts.sending import client, payment, send
from tests.payouts.webhooks.receiving import (
    WORKER,
    deliver,
    endpoint,
    is_signed_with,
    make_due,
    mortal_sender,
    outbox,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)


def record(*payment_ids: str) -> None:
    client()
    for payment_id in payment_ids:
        assert send(payment(payment_id=payment_id), event_id=payment_id).status_code == 201


def happened(ago: timedelta) -> None:
    """Let what waits have happened so long ago."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_webhookdelivery DISABLE TRIGGER payouts_webhookdelivery_says_one_thing")
        cursor.execute("UPDATE payouts_webhookdelivery SET created_at = %s", [timezone.now() - ago])
        cursor.execute("ALTER TABLE payouts_webhookdelivery ENABLE TRIGGER payouts_webhookdelivery_says_one_thing")


def test_it_tells_what_happened_signed_and_in_order(receiver: ScriptedServer) -> None:
    made, secret = webhooks.create_endpoint(
        name="shop", url=f"{receiver.url}/in?a=1", events=["payment.accumulated", "payment.held"], actor=ACTOR
    )
    record("one", "two")
    row = Accumulation.objects.get(payment_id="one")
    hold_accumulation(accumulation=row, actor=ACTOR, reason="looks odd")

    assert deliver() == 3

    assert told(receiver) == [("payment.accumulated", "one"), ("payment.accumulated", "two"), ("payment.held", "one")]
    asked = receiver.asked[2]
    first = WebhookDelivery.objects.order_by("pk").last()
    assert first is not None
    assert asked.path == "/in?a=1"
    assert asked.headers["webhook-id"] == first.message_id
    assert is_signed_with(asked, secret)
    assert Webhook(secret).verify(asked.body, asked.headers) == {
        "type": "payment.held",
        "timestamp": first.created_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "accumulation_id": row.pk,
            "source": row.source,
            "payment_id": "one",
            "client_id": "client-1",
            "user_id": "user-1",
            "subscription_id": "",
            "conversion_status": "held",
            "gross_usd": "25.50000000",
            "fee_usd": "0.76500000",
            "pending_usd_amount": "24.73500000",
            "converted_usdt_amount": None,
            "batch_conversion_id": None,
            "reason": "under_review",
        },
    }
    assert b"looks odd" not in asked.body, "an operator's words are for the house"
    made.refresh_from_db()
    assert (made.failures, made.last_error, made.leased_until) == (0, "", None)
    assert made.last_success_at is not None
    assert [(each.status_code, each.error, each.response_body) for each in WebhookAttempt.objects.all()] == [
        (200, "", "{}")
    ] * 3
    assert deliver() == 0
    assert len(receiver.asked) == 3


def test_the_receiver_in_the_readme_verifies_what_is_sent(receiver: ScriptedServer) -> None:
    made, secret = webhooks.create_endpoint(name="shop", url=receiver.url, events=["payment.accumulated"], actor=ACTOR)
    newer = webhooks.rotate_secret(endpoint_id=made.pk, actor=ACTOR, reason="yearly")
    record("one")
    deliver()
    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- receiver -->\n```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    receiving: dict[str, Any] = {}
    exec(found[1], receiving)  # noqa: S102 (our own page)

    [asked] = receiver.asked
    for known in (secret, newer):
        assert receiving["verify"](known, asked.headers, asked.body)
    assert not receiving["verify"](secret, asked.headers, asked.body + b" ")
    assert not receiving["verify"]("whsec_c29tZWJvZHkgZWxzZQ==", asked.headers, asked.body)
    assert not receiving["verify"](secret, {**asked.headers, "webhook-timestamp": "1700000000"}, asked.body)


def test_the_receiver_in_the_readme_that_prints_takes_an_event() -> None:
    port = own_port()
    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    found = re.search(r"python -c '\n(from http.server .*?)' &\n", readme, re.DOTALL)
    assert found is not None
    program = found[1].replace("9000", str(port))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as printing:
        try:
            wait_until(lambda: _is_listening(port))
            endpoint(f"http://127.0.0.1:{port}/")
            record("one")

            assert deliver() == 1
            assert printing.stdout is not None
            assert json.loads(printing.stdout.readline())["data"]["payment_id"] == "one"
        finally:
            printing.terminate()


def _is_listening(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@pytest.mark.parametrize("status", [500, 503, 404, 400, 301, 307])
def test_what_is_not_taken_is_tried_again_later_under_the_same_id(receiver: ScriptedServer, status: int) -> None:
    made = endpoint(receiver.url)
    record("one")
    receiver.say(
        Reply(status=status, body=b"no \x00 thanks", headers={"location": "http://127.0.0.1:1/"}), Reply(status=204)
    )

    assert deliver() == 0
    assert deliver() == 0
    made.refresh_from_db()
    assert len(receiver.asked) == 1
    assert made.failures == 1
    assert made.last_error.startswith(f"HTTP {status}")
    assert timezone.now() < made.next_attempt_at < timezone.now() + timedelta(seconds=10)
    make_due()
    assert deliver() == 1

    first, second = receiver.asked
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    tries = WebhookAttempt.objects.order_by("pk")
    assert [(each.status_code, each.outcome) for each in tries] == [(status, "failed"), (204, "delivered")]
    assert tries[0].response_body == "no \N{REPLACEMENT CHARACTER} thanks"
    made.refresh_from_db()
    assert (made.failures, made.failing_since, made.last_error) == (0, None, "")


def test_a_machine_whose_clock_is_days_ahead_gives_nothing_up_and_waits_as_long(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record("one")
    WebhookDelivery.objects.update(attempts=3)
    receiver.say(Reply(status=500))

    with time_machine.travel(timezone.now() + 2 * TRIED_FOR):
        deliver()

    made.refresh_from_db()
    assert outbox() == [("payment.accumulated", "one", "waiting")]
    assert made.next_attempt_at < timezone.now() + timedelta(seconds=10)


def test_an_event_that_is_not_taken_holds_up_those_after_it_and_no_other_endpoint(receiver: ScriptedServer) -> None:
    with ScriptedServer() as sound:
        endpoint(receiver.url)
        endpoint(sound.url)
        receiver.say(Reply(status=500), Reply(status=500), Reply())
        record("one", "two", "three")

        for _ in range(3):
            deliver()
            make_due()
        deliver()

        assert told(sound) == [("payment.accumulated", name) for name in ("one", "two", "three")]
    assert told(receiver) == [("payment.accumulated", name) for name in ("one", "one", "one", "two", "three")]


def test_a_round_ends_with_the_event_that_is_not_taken_and_the_tries_behind_it_were_not_made(
    receiver: ScriptedServer,
) -> None:
    made = endpoint(receiver.url)
    record(*(f"p{number}" for number in range(5)))
    receiver.say(Reply(), Reply(), Reply(status=500), Reply())

    assert deliver() == 2

    tries = WebhookAttempt.objects.order_by("pk")
    assert [each.outcome for each in tries] == ["delivered", "delivered", "failed"]
    counted = WebhookDelivery.objects.order_by("pk").values_list("attempts", flat=True)
    assert list(counted) == [1, 1, 1, 0, 0]
    make_due()
    assert deliver() == 3
    assert [name for _, name in told(receiver)] == ["p0", "p1", "p2", "p2", "p3", "p4"]
    made.refresh_from_db()
    assert made.failures == 0


def test_more_than_a_round_holds_is_sent_in_one_sweep_and_in_order(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    rows = factories.accumulations(*["1"] * 45)
    tell_of_payments(event=WebhookEvent.HELD, accumulation_ids=[row.pk for row in rows], reason="a set")

    assert deliver() == 45

    assert [name for _, name in told(receiver)] == [row.payment_id for row in rows]


def test_a_receiver_that_is_gone_is_told_nothing_more(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record("one", "two")
    receiver.say(Reply(status=410))

    assert deliver() == 0
    make_due()
    deliver()
    send(payment(payment_id="three"), event_id="three")

    made.refresh_from_db()
    assert len(receiver.asked) == 1
    assert (made.status, made.disabled_reason) == ("disabled", "The receiver says that it is gone for good (HTTP 410).")
    assert [(change.to_status, change.actor) for change in made.status_changes.all()] == [
        ("enabled", str(ACTOR)),
        ("disabled", str(WORKER)),
    ]
    assert outbox() == [("payment.accumulated", "one", "waiting"), ("payment.accumulated", "two", "waiting")]

    receiver.say(Reply())
    webhooks.enable_endpoint(endpoint=made, actor=ACTOR, reason="it is back")
    send(payment(payment_id="four"), event_id="four")
    assert deliver() == 3
    assert told(receiver)[1:] == [("payment.accumulated", name) for name in ("one", "two", "four")]


def test_after_three_days_an_event_is_given_up_and_those_behind_it_go_on(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record("poison")
    happened(TRIED_FOR + timedelta(seconds=1))
    WebhookDelivery.objects.update(attempts=12)
    send(payment(payment_id="young"), event_id="young")
    receiver.say(Reply(status=400), Reply())

    assert deliver() == 0
    made.refresh_from_db()
    assert outbox() == [("payment.accumulated", "poison", "given_up"), ("payment.accumulated", "young", "waiting")]
    assert made.next_attempt_at <= timezone.now() + timedelta(minutes=1)
    make_due()
    assert deliver() == 1

    assert told(receiver) == [("payment.accumulated", "poison"), ("payment.accumulated", "young")]
    assert outbox()[1] == ("payment.accumulated", "young", "delivered")


def test_a_poisonous_event_takes_nothing_along_that_was_never_tried(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record("poison", "two", "three")
    happened(TRIED_FOR + timedelta(seconds=1))
    receiver.say(*[Reply(status=422)] * 3, Reply())

    for _ in range(3):
        assert deliver() == 0
        make_due()
    assert [state for _, _, state in outbox()] == ["given_up", "waiting", "waiting"]
    deliver()

    assert told(receiver)[3:] == [("payment.accumulated", "two"), ("payment.accumulated", "three")]
    assert [state for _, _, state in outbox()] == ["given_up", "delivered", "delivered"]
    made.refresh_from_db()
    assert made.given_up_in_a_row == 0


def test_one_failure_after_we_were_down_for_days_gives_nothing_up(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    record("one", "two")
    happened(2 * TRIED_FOR)
    receiver.say(Reply(status=500), Reply())

    deliver()
    make_due()
    assert deliver() == 2

    assert [state for _, _, state in outbox()] == ["delivered", "delivered"]


def test_what_waited_for_a_dead_endpoint_is_given_up_when_several_in_a_row_were(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record(*(f"p{number}" for number in range(8)))
    happened(TRIED_FOR + timedelta(seconds=1))
    send(payment(payment_id="young"), event_id="young")
    receiver.say(Reply(status=502))

    for _ in range(3 * 5):
        deliver()
        make_due()
    assert [state for _, _, state in outbox()] == ["given_up"] * 5 + ["waiting"] * 4
    deliver()

    assert len(receiver.asked) == 16
    assert [state for _, _, state in outbox()] == ["given_up"] * 8 + ["waiting"]
    made.refresh_from_db()
    assert made.failures == 16


def test_what_waits_for_a_disabled_endpoint_is_given_up_too(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record("one")
    webhooks.disable_endpoint(endpoint=made, actor=ACTOR, reason="maintenance")
    deliver()
    tasks.forget_webhooks()
    assert outbox() == [("payment.accumulated", "one", "waiting")]

    happened(TRIED_FOR + timedelta(seconds=1))
    tasks.forget_webhooks()

    assert outbox() == [("payment.accumulated", "one", "given_up")]
    assert receiver.asked == []


def test_a_process_that_dies_between_request_and_outcome_leads_to_the_same_event_again(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(receiver.url)
    record("one", "two")

    class KilledError(BaseException):
        """What a signal does, without ending the test."""

    def die(**_what: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(delivering, "record", die)
        with pytest.raises(KilledError):
            deliver()

    assert deliver() == 0, "the lease still runs"
    lost = list(WebhookAttempt.objects.all())
    assert [each.outcome for each in lost] == ["unknown"] * 2
    WebhookEndpoint.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert deliver() == 2

    assert told(receiver) == [("payment.accumulated", name) for name in ("one", "two", "one", "two")]
    ids = [asked.headers["webhook-id"] for asked in receiver.asked]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2
    assert WebhookAttempt.objects.filter(pk__in=[each.pk for each in lost], ended_at__isnull=True).count() == 2


@pytest.mark.slow
def test_f67_a_crash_at_any_boundary_of_a_sweep_loses_nothing_and_keeps_the_order(receiver: ScriptedServer) -> None:
    """As everywhere, where a process can die is found out: one sweep without a crash names the places."""
    endpoint(receiver.url)

    def sweep(*, die_at: str = "") -> Boundaries:
        rows = factories.accumulations(*["1"] * 3)
        tell_of_payments(event=WebhookEvent.HELD, accumulation_ids=[row.pk for row in rows], reason="a set")
        receiver.asked.clear()
        receiver.say(Reply(), Reply(status=500), Reply())
        boundaries = Boundaries(die_at=die_at)
        boundaries.survive(deliver)
        return boundaries

    def drain() -> None:
        for _ in range(4):
            make_due()
            deliver()

    places = sweep().places
    drain()
    assert any("commit in rounds" in place for place in places), places
    assert any("commit in outcomes" in place for place in places), places
    for place in places:
        assert sweep(die_at=place).is_dead, place
        drain()

        expected = list(WebhookDelivery.objects.order_by("-pk")[:3])[::-1]
        seen = list(dict.fromkeys(asked.headers["webhook-id"] for asked in receiver.asked))
        assert seen == [each.message_id for each in expected], place
        assert {each.state for each in WebhookDelivery.objects.all()} == {"delivered"}, place


@pytest.mark.slow
def test_f67_a_sender_killed_while_the_receiver_works_leads_to_the_same_event_again(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    record("one")
    receiver.say(Reply(pause_s=30), Reply())
    with mortal_sender() as mortal:
        wait_until(lambda: receiver.asked)
        mortal.kill()
    assert mortal.returncode == -signal.SIGKILL

    assert outbox() == [("payment.accumulated", "one", "waiting")]
    assert deliver() == 0
    WebhookEndpoint.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    # Until the server has noticed that the sender is gone.
    wait_until(lambda: deliver() == 1)

    first, second = receiver.asked
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [each.outcome for each in WebhookAttempt.objects.order_by("pk")] == ["unknown", "delivered"]


def test_f18_two_sweeps_at_once_send_each_event_once(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    with ScriptedServer() as other:
        endpoint(other.url)
        record(*(f"p{number}" for number in range(10)))
        start = threading.Barrier(4)

        def sweep() -> int:
            start.wait(PATIENCE_S)
            return deliver()

        with crew(4) as workers:
            sent = sum(running.result() for running in [workers.start(sweep) for _ in range(4)])
        sent += deliver()

        expected = [("payment.accumulated", f"p{number}") for number in range(10)]
        assert (told(receiver), told(other), sent) == (expected, expected, 20)


def test_a_late_answer_counts_though_its_lease_has_run_out(receiver: ScriptedServer) -> None:
    """What another worker has done meanwhile to the endpoint's times stays as it is."""
    made = endpoint(receiver.url)
    record("one")
    has_run_out = threading.Event()
    receiver.say(Reply(until=has_run_out))

    with crew() as workers:
        sending = workers.start(deliver)
        wait_until(lambda: receiver.asked)
        later = timezone.now() + timedelta(minutes=5)
        WebhookEndpoint.objects.update(leased_until=later)
        has_run_out.set()
        assert sending.result() == 1

    made.refresh_from_db()
    assert made.leased_until == later
    assert outbox() == [("payment.accumulated", "one", "delivered")]


@pytest.mark.parametrize("status", [410, 500])
def test_what_the_old_address_answers_is_not_charged_to_the_new_one(receiver: ScriptedServer, status: int) -> None:
    made = endpoint(receiver.url)
    record("one")
    have_moved = threading.Event()
    receiver.say(Reply(status=status, until=have_moved))

    with ScriptedServer() as new, crew() as workers:
        sending = workers.start(deliver)
        wait_until(lambda: receiver.asked)
        webhooks.change_endpoint(endpoint_id=made.pk, changes={"url": new.url}, actor=ACTOR, reason="they moved")
        have_moved.set()
        sending.result()
        deliver()

        assert told(new) == [("payment.accumulated", "one")]
    made.refresh_from_db()
    assert (made.status, made.failures, made.last_error) == ("enabled", 0, "")
    assert outbox() == [("payment.accumulated", "one", "delivered")]
    assert sorted(each.outcome for each in WebhookAttempt.objects.all()) == ["delivered", "failed"]


def test_slow_receivers_do_not_keep_a_quick_one_waiting(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_http, "DEADLINE_S", 3)
    with ScriptedServer() as slow, ScriptedServer() as dripping:
        over = threading.Event()
        slow.say(Reply(until=over))
        dripping.say(Reply(status=500, body=b"x" * 1000, drip=True, pause_s=0.1))
        for url in (slow.url, dripping.url, receiver.url):
            endpoint(url)
        record(*(f"p{number}" for number in range(20)))
        started = time.monotonic()

        assert webhooks.deliver_due(actor=WORKER, run_s=20) >= 20

        # Each of the two slow ones would keep it for a minute.
        assert time.monotonic() - started < 40
        assert len(receiver.asked) == 20
        over.set()
        errors = set(WebhookAttempt.objects.exclude(error="").values_list("error", flat=True))
    assert errors == {"127.0.0.1: no answer within 3 s (ReadTimeout)", "HTTP 500"}


def test_a_sweep_ends_in_time_and_the_next_goes_on(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    receiver.say(Reply(pause_s=0.2))
    record(*(f"p{number}" for number in range(8)))

    first = webhooks.deliver_due(actor=WORKER, run_s=0)

    assert first == 1
    assert first + deliver() == 8
    assert [name for _, name in told(receiver)] == [f"p{number}" for number in range(8)]


def test_of_a_huge_answer_only_the_beginning_is_kept(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    record("one")
    receiver.say(Reply(status=500, body=b"<p>" * 10**6))

    deliver()

    [attempt] = WebhookAttempt.objects.all()
    assert (attempt.status_code, len(attempt.response_body)) == (500, 4096)


def test_a_receiver_that_asks_for_time_gets_it(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    record("one")
    receiver.say(Reply(status=429, headers={"retry-after": "600"}))

    deliver()

    made.refresh_from_db()
    assert timedelta(seconds=590) < made.next_attempt_at - timezone.now() <= timedelta(seconds=600)


def test_an_inner_address_is_never_reached_however_it_came_there(receiver: ScriptedServer, settings: Settings) -> None:
    made = endpoint(receiver.url)
    record("one")
    settings.LIVE = True

    deliver()
    port = int(receiver.url.rpartition(":")[2])
    WebhookEndpoint.objects.update(url=f"https://127.0.0.1:{port}/")
    make_due()
    deliver()
    settings.WEBHOOK_PORTS = {port}
    make_due()
    deliver()

    made.refresh_from_db()
    assert receiver.asked == []
    errors = list(WebhookAttempt.objects.order_by("pk").values_list("error", flat=True))
    assert errors == [
        "it must begin with https://",
        "its port must be 443 or 8443",
        "127.0.0.1 stands for 127.0.0.1, which is not a public address",
    ]
    assert made.failures == 3


def test_while_two_secrets_are_in_force_each_signs(receiver: ScriptedServer) -> None:
    made, old = webhooks.create_endpoint(name="shop", url=receiver.url, events=["payment.held"], actor=ACTOR)
    row = factories.accumulation(5)
    new = webhooks.rotate_secret(endpoint_id=made.pk, actor=ACTOR, reason="yearly")
    hold_accumulation(accumulation=row, actor=ACTOR, reason="1")
    deliver()
    WebhookEndpoint.objects.update(old_secret_until=timezone.now())
    unhold_accumulation(accumulation=row, actor=ACTOR, reason="2")
    hold_accumulation(accumulation=row, actor=ACTOR, reason="3")
    deliver()
    newest = webhooks.rotate_secret(endpoint_id=made.pk, actor=ACTOR, reason="leaked", overlap=timedelta(0))
    unhold_accumulation(accumulation=row, actor=ACTOR, reason="4")
    hold_accumulation(accumulation=row, actor=ACTOR, reason="5")
    deliver()

    assert len({old, new, newest}) == 3
    assert [[is_signed_with(asked, secret) for secret in (old, new, newest)] for asked in receiver.asked] == [
        [True, True, False],
        [False, True, False],
        [False, False, True],
    ]


def test_a_key_that_is_gone_from_the_settings_is_said_and_nothing_is_sent(
    receiver: ScriptedServer, settings: Settings
) -> None:
    made = endpoint(receiver.url)
    record("one")
    before = settings.WEBHOOK_SECRET_KEYS
    settings.WEBHOOK_SECRET_KEYS = ["another-key-another-key-another-key"]

    deliver()
    made.refresh_from_db()
    assert receiver.asked == []
    assert "not in WEBHOOK_SECRET_KEYS: put that key back" in made.last_error
    assert (made.failures, made.failing_since) == (0, None)
    assert timezone.now() < made.next_attempt_at < timezone.now() + timedelta(minutes=6)
    happened(TRIED_FOR + timedelta(seconds=1))
    for _ in range(3):
        make_due()
        deliver()
    [event] = WebhookDelivery.objects.all()
    assert (event.state, event.attempts) == ("waiting", 0), "nobody but us is to blame"
    [item] = [item for item in attention().items if item.kind == "webhooks not sent"]
    assert "put that key back" in item.sentence

    settings.WEBHOOK_SECRET_KEYS = ["another-key-another-key-another-key", *before]
    make_due()
    assert deliver() == 1


def test_an_old_secret_whose_key_is_gone_signs_no_longer_and_the_present_one_does(
    receiver: ScriptedServer, settings: Settings
) -> None:
    made = endpoint(receiver.url)
    before = settings.WEBHOOK_SECRET_KEYS
    settings.WEBHOOK_SECRET_KEYS = ["another-key-another-key-another-key", *before]
    new = webhooks.rotate_secret(endpoint_id=made.pk, actor=ACTOR, reason="new key")
    settings.WEBHOOK_SECRET_KEYS = ["another-key-another-key-another-key"]
    record("one")

    assert deliver() == 1

    assert is_signed_with(receiver.asked[0], new)


def test_a_fault_of_ours_is_one_endpoints_wait_and_the_sweeps_failure(
    receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = endpoint("http://127.0.0.1:9/broken")
    endpoint(receiver.url)
    record("one")
    poster = gateways.webhook_poster

    def faulty(url: str) -> Any:
        if url == broken.url:
            raise ZeroDivisionError
        return poster(url)

    monkeypatch.setattr(gateways, "webhook_poster", faulty)
    with pytest.raises(ZeroDivisionError):
        deliver()

    broken.refresh_from_db()
    assert told(receiver) == [("payment.accumulated", "one")]
    assert "broke off on our side (ZeroDivisionError)" in broken.last_error
    assert broken.leased_until is None


def test_a_round_that_cannot_be_written_down_leaves_what_others_learned(
    receiver: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer() as other, crew() as workers:
        held, free = endpoint(receiver.url), endpoint(other.url)
        record("one")
        is_locked, was_not_written = threading.Event(), threading.Event()
        receiver.say(Reply(until=is_locked))
        other.say(Reply(until=was_not_written))

        def deliver_impatiently() -> int:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")
            return deliver()

        sending = workers.start(deliver_impatiently)
        wait_until(lambda: receiver.asked and other.asked)
        with transaction.atomic():
            WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=held.pk)
            is_locked.set()
            wait_until(lambda: "what came of webhooks was not written down" in caplog.text)
            was_not_written.set()
            with pytest.raises(OperationalError, match="lock timeout"):
                sending.result()

    assert [outbox(each) for each in (held, free)] == [
        [("payment.accumulated", "one", "waiting")],
        [("payment.accumulated", "one", "delivered")],
    ]


def test_nothing_is_sent_in_a_database_transaction(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    record("one")
    before = forbid_in_transaction(lambda: connection.in_atomic_block)
    try:
        with transaction.atomic(), pytest.raises(CallInTransactionError):
            deliver()
    finally:
        forbid_in_transaction(before)

    assert receiver.asked == []


def test_f74_no_secret_and_no_path_reaches_the_log(receiver: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, secret = webhooks.create_endpoint(
        name="shop", url=f"{receiver.url}/hook/T0KEN", events=["payment.accumulated"], actor=ACTOR
    )
    record("one")
    receiver.say(Reply(status=500, body=f"bad signature for {secret}".encode()))
    deliver()

    said = " ".join(str(vars(line)) for line in caplog.records)
    assert "webhook sent" in said
    assert "T0KEN" not in said
    assert secret not in said
    [attempt] = WebhookAttempt.objects.all()
    assert secret.removeprefix("whsec_") not in attempt.response_body
    assert json.dumps(list(WebhookEndpoint.objects.values()), default=str).count(secret.removeprefix("whsec_")) == 0


def test_f74_half_a_secret_is_kept_no_more_than_a_whole_one(receiver: ScriptedServer) -> None:
    _, secret = webhooks.create_endpoint(name="shop", url=receiver.url, events=["payment.accumulated"], actor=ACTOR)
    record("one")
    receiver.say(Reply(status=500, body=f"{'x' * (4096 - 20)}{secret}".encode()))

    deliver()

    [attempt] = WebhookAttempt.objects.all()
    assert secret[len("whsec_") :][:8] not in attempt.response_body
    assert attempt.response_body.endswith("xwhsec_***")


def test_the_wait_grows_and_the_last_try_is_when_the_time_is_over() -> None:
    now = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

    def wait(failures: int, left: timedelta = TRIED_FOR, asked_for_s: int | None = None) -> float:
        then = next_try(now=now, failures=failures, tried_until=now + left, asked_for_s=asked_for_s)
        return (then - now).total_seconds()

    for failures, seconds in enumerate((5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 21_600, 21_600), start=1):
        assert 0.8 * seconds <= wait(failures) <= 1.2 * seconds
    assert wait(9, timedelta(hours=1)) == 3600
    assert wait(9, timedelta(0)) == wait(9, timedelta(days=-1)) == 60
    assert wait(1, timedelta(seconds=2)) <= 6
    assert wait(1, asked_for_s=300) == 300
    assert wait(1, asked_for_s=86_400) == 6 * 3600
