"""Endpoints made, changed and switched, and events sent again: by services, and by the command."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from config.lib.errors import RefusedError
from config.lib.problems import InvalidFieldsError
from payouts import tasks
from payouts.models import SUBSCRIBABLE, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from payouts.services import hold_accumulation, unhold_accumulation, webhooks
from payouts.services.webhooks import resending
from payouts.services.webhooks.secrets import secret_of
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew
from tests.lib.scripted_http import Reply, ScriptedServer
from tests.payouts.webhooks.receiving import deliver, endpoint, make_due, outbox, told

pytestmark = pytest.mark.django_db

URL = "http://127.0.0.1:1/in"
RESENT: dict[str, Any] = {"actor": ACTOR, "reason": "receiver mended"}


def given_up(*reasons: str) -> tuple[WebhookEndpoint, list[WebhookDelivery]]:
    """An endpoint that was told all this in vain."""
    made = endpoint(URL, events=["payment.held"])
    for reason in reasons:
        hold_accumulation(accumulation=factories.accumulation(1), actor=ACTOR, reason=reason)
    WebhookDelivery.objects.update(given_up_at=Now())
    return made, list(WebhookDelivery.objects.order_by("pk"))


def test_an_endpoint_is_made_with_a_secret_that_is_stored_nowhere() -> None:
    made, secret = webhooks.create_endpoint(
        name=" shop ", url=URL, events=["payment.held", "payment.accumulated", "payment.held"], actor=ACTOR
    )

    assert (made.name, made.events, made.status) == ("shop", ["payment.accumulated", "payment.held"], "enabled")
    assert secret == secret_of(made.secret_seed, made.secret_key_id)
    assert secret.startswith("whsec_")
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(e)::text FROM payouts_webhookendpoint e")
        assert secret.removeprefix("whsec_") not in cursor.fetchone()[0]
    [born] = made.status_changes.all()
    assert (born.from_status, born.to_status, born.actor) == ("", "enabled", str(ACTOR))
    assert secret not in str(born.data)
    assert secret not in repr(made)


def as_admin_and_api_make_it(wanted: dict[str, Any]) -> None:
    """The address is looked up before the transaction."""
    webhooks.look_up_address(wanted["url"])
    webhooks.create_endpoint(**wanted)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://169.254.169.254/latest/meta-data/"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "http://2130706433/"}, "url"),
        ({"url": "x" * 501}, "url"),
        ({"name": "  "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"events": []}, "events"),
        ({"events": ["payment.paid"]}, "events"),
        ({"events": ["endpoint.test"]}, "events"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_with_the_field(changes: dict[str, Any], field: str) -> None:
    wanted: dict[str, Any] = {"name": "shop", "url": URL, "events": list(SUBSCRIBABLE), "actor": ACTOR, **changes}

    with pytest.raises(InvalidFieldsError) as refused:
        as_admin_and_api_make_it(wanted)

    assert [error.field for error in refused.value.errors] == [field]
    assert not WebhookEndpoint.objects.exists()


def test_in_live_mode_an_endpoint_of_our_own_network_is_refused(settings: Any) -> None:
    settings.LIVE = True

    for url in (
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://hooks.nowhere.invalid:22/in",
        "https://hooks.nowhere.invalid:5432/in",
    ):
        with pytest.raises(InvalidFieldsError):
            webhooks.look_up_address(url)

    # Its name is not known here; that may be so for a while, and each try looks again.
    webhooks.look_up_address("https://hooks.nowhere.invalid/in")
    assert endpoint("https://hooks.nowhere.invalid/in").is_enabled
    assert endpoint("https://hooks.nowhere.invalid:8443/in").is_enabled
    settings.WEBHOOK_PORTS = {443, 4711}
    assert endpoint("https://hooks.nowhere.invalid:4711/in").is_enabled


def test_an_address_has_one_enabled_endpoint_for_each_client() -> None:
    first = endpoint(URL)
    endpoint(URL, client=factories.client())

    with pytest.raises(webhooks.EndpointExistsError, match="has the address"):
        endpoint(URL)
    webhooks.disable_endpoint(endpoint=first, actor=ACTOR, reason="moved")
    endpoint(URL)
    with pytest.raises(webhooks.EndpointExistsError):
        webhooks.enable_endpoint(endpoint=WebhookEndpoint.objects.get(pk=first.pk), actor=ACTOR, reason="back")

    first.refresh_from_db()
    assert first.status == "disabled"


def test_not_more_than_five_are_told_of_all_clients() -> None:
    made = [endpoint(f"{URL}/{number}") for number in range(5)]

    with pytest.raises(webhooks.TooManyEndpointsError, match="5 enabled endpoints are told of all"):
        endpoint(URL)
    endpoint(URL, client=factories.client())
    webhooks.disable_endpoint(endpoint=made[0], actor=ACTOR, reason="moved")
    endpoint(URL)
    with pytest.raises(webhooks.TooManyEndpointsError):
        webhooks.enable_endpoint(endpoint=WebhookEndpoint.objects.get(pk=made[0].pk), actor=ACTOR, reason="back")

    made[0].refresh_from_db()
    assert made[0].status == "disabled"
    assert WebhookEndpoint.objects.count() == 7


def test_a_change_is_in_the_history_and_starts_over() -> None:
    made = endpoint(URL)
    before = made.subscribed_at
    WebhookEndpoint.objects.update(failures=7, failing_since=timezone.now(), last_error="HTTP 500")

    webhooks.change_endpoint(
        endpoint_id=made.pk,
        changes={"url": "http://127.0.0.1:2/new?key=abc", "events": ["payment.held"], "name": "shop 2"},
        actor=ACTOR,
        reason="they moved",
    )

    made.refresh_from_db()
    assert (made.url, made.events, made.name) == ("http://127.0.0.1:2/new?key=abc", ["payment.held"], "shop 2")
    assert (made.failures, made.failing_since, made.last_error) == (0, None, "")
    assert made.subscribed_at > before
    last = made.status_changes.last()
    assert last is not None
    assert (last.reason, last.data["before"]["url"], last.data["after"]["url"]) == (
        "they moved",
        "127.0.0.1:1",
        "127.0.0.1:2",
    )


def test_what_cannot_be_done_now_is_refused_and_changes_nothing() -> None:
    made, [event] = given_up("1")
    waiting = webhooks.send_test(endpoint=made, actor=ACTOR)

    for refused in (
        lambda: webhooks.enable_endpoint(endpoint=made, actor=ACTOR, reason="x"),
        lambda: webhooks.disable_endpoint(endpoint=made, actor=ACTOR, reason=" "),
        lambda: webhooks.rotate_secret(endpoint_id=made.pk, actor=ACTOR, reason=""),
        lambda: webhooks.rotate_secret(endpoint_id=made.pk, actor=ACTOR, reason="x", overlap=timedelta(days=8)),
        lambda: webhooks.resend_delivery(delivery_id=waiting.pk, **RESENT),
        lambda: webhooks.resend_delivery(delivery_id=event.pk, actor=ACTOR, reason=""),
        lambda: webhooks.give_up_delivery(delivery_id=event.pk, actor=ACTOR, reason="x"),
        lambda: webhooks.resend_failed(endpoint_id=made.pk, since=timezone.now(), actor=ACTOR, reason=""),
    ):
        with pytest.raises(RefusedError):
            refused()
    webhooks.disable_endpoint(endpoint=made, actor=ACTOR, reason="x")
    for refused in (
        lambda: webhooks.disable_endpoint(endpoint=made, actor=ACTOR, reason="x"),
        lambda: webhooks.send_test(endpoint=made, actor=ACTOR),
        lambda: webhooks.resend_delivery(delivery_id=event.pk, **RESENT),
        lambda: webhooks.resend_failed(endpoint_id=made.pk, since=timezone.now(), **RESENT),
    ):
        with pytest.raises(RefusedError):
            refused()

    assert [state for _, _, state in outbox()] == ["given_up", "waiting"]
    assert [change.reason for change in made.status_changes.all()] == ["made", "a test event was asked for", "x"]


@pytest.mark.django_db(transaction=True)
def test_a_test_event_reaches_the_receiver(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)

    delivery = webhooks.send_test(endpoint=made, actor=ACTOR)
    deliver()

    [asked] = receiver.asked
    assert (asked.json["type"], asked.json["data"]) == ("endpoint.test", {})
    assert asked.headers["webhook-id"] == delivery.message_id


@pytest.mark.django_db(transaction=True)
def test_a_test_has_a_failing_endpoint_tried_now(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    hold_accumulation(accumulation=factories.accumulation(1), actor=ACTOR, reason="1")
    receiver.say(Reply(status=500), Reply())
    deliver()
    WebhookEndpoint.objects.update(next_attempt_at=timezone.now() + timedelta(hours=6))

    webhooks.send_test(endpoint=made, actor=ACTOR)
    deliver()

    assert [event for event, _ in told(receiver)] == ["payment.held", "payment.held", "endpoint.test"]


def failing() -> WebhookEndpoint:
    """An endpoint that is not to be tried for hours, with an event that waits."""
    made = endpoint(URL)
    hold_accumulation(accumulation=factories.accumulation(1), actor=ACTOR, reason="odd")
    WebhookEndpoint.objects.update(
        failures=6, failing_since=timezone.now(), next_attempt_at=timezone.now() + timedelta(hours=1)
    )
    made.refresh_from_db()
    return made


@pytest.mark.django_db(transaction=True)
def test_a_failing_endpoint_is_tried_now_once_and_waits_on_as_it_would_have(receiver: ScriptedServer) -> None:
    made = failing()
    WebhookEndpoint.objects.update(url=receiver.url)
    hold_accumulation(accumulation=factories.accumulation(1), actor=ACTOR, reason="another")
    receiver.say(Reply(status=500), Reply())
    assert deliver() == 0
    assert receiver.asked == []

    webhooks.try_endpoint(endpoint_id=made.pk, **RESENT)
    assert deliver() == 0
    assert deliver() == 0

    assert len(receiver.asked) == 1, "once"
    before = made.next_attempt_at
    made.refresh_from_db()
    assert made.failures == 7
    assert made.next_attempt_at > timezone.now() + timedelta(hours=1.5)
    last = made.status_changes.last()
    assert last is not None
    assert (last.reason, last.actor) == ("tried before its time: receiver mended", str(ACTOR))
    assert last.data == {"instead_of": before.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    webhooks.try_endpoint(endpoint_id=made.pk, **RESENT)
    assert deliver() == 2


def test_a_try_before_its_time_is_refused_with_what_to_do_next() -> None:
    made = failing()

    def refusal(reason: str = "receiver mended") -> tuple[str, str]:
        with pytest.raises(RefusedError) as refused:
            webhooks.try_endpoint(endpoint_id=made.pk, actor=ACTOR, reason=reason)
        return refused.value.why, refused.value.next_step

    assert refusal(" ") == ("This needs a reason.", "Say why; it goes into the history.")
    WebhookEndpoint.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert refusal() == ("What waits for endpoint shop is due already.", "Look at its tries in a minute.")
    WebhookDelivery.objects.update(given_up_at=Now())
    assert refusal() == (
        "Nothing waits for endpoint shop.",
        "Send it a test, or send again what was given up.",
    )
    webhooks.disable_endpoint(endpoint=WebhookEndpoint.objects.get(), actor=ACTOR, reason="moved")
    assert refusal() == ("Endpoint shop is disabled.", "Enable it first, then ask again.")
    assert [change.reason for change in made.status_changes.all()] == ["made", "moved"]
    with pytest.raises(WebhookEndpoint.DoesNotExist):
        webhooks.try_endpoint(endpoint_id=10**9, **RESENT)


def test_the_command_has_failing_endpoints_tried_now() -> None:
    made = failing()
    said, wrong = StringIO(), StringIO()

    with pytest.raises(CommandError, match="1 of 2 endpoints were refused"):
        call_command("try_webhooks", made.pk, 10**9, reason="receiver mended", stdout=said, stderr=wrong)

    made.refresh_from_db()
    assert made.next_attempt_at <= timezone.now()
    assert said.getvalue() == f"endpoint {made.pk}: what waits for shop is tried now.\n"
    assert f"endpoint {10**9}: there is none.\n" in wrong.getvalue()


@pytest.mark.django_db(transaction=True)
def test_one_event_is_sent_again_under_its_id_in_its_old_place(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    row = factories.accumulation(1)
    hold_accumulation(accumulation=row, actor=ACTOR, reason="1")
    deliver()
    receiver.say(Reply(status=500), Reply())
    unhold_accumulation(accumulation=row, actor=ACTOR, reason="2")
    deliver()
    first = WebhookDelivery.objects.order_by("pk")[0]

    again = webhooks.resend_delivery(delivery_id=first.pk, **RESENT)
    deliver()

    assert again.state == "waiting"
    assert [event for event, _ in told(receiver)] == [
        "payment.held",
        "payment.released",
        "payment.held",
        "payment.released",
    ]
    assert receiver.asked[0].headers["webhook-id"] == receiver.asked[2].headers["webhook-id"]
    assert receiver.asked[0].body == receiver.asked[2].body
    assert [state for _, _, state in outbox()] == ["delivered"] * 2
    made.refresh_from_db()
    last = made.status_changes.last()
    assert last is not None
    assert (last.reason, last.data) == ("sent again: receiver mended", {"event": first.message_id})


@pytest.mark.django_db(transaction=True)
def test_a_poisonous_event_is_given_up_by_hand_and_the_others_go_on(receiver: ScriptedServer) -> None:
    endpoint(receiver.url)
    row = factories.accumulation(1)
    hold_accumulation(accumulation=row, actor=ACTOR, reason="1")
    unhold_accumulation(accumulation=row, actor=ACTOR, reason="2")
    receiver.say(Reply(status=422), Reply())
    deliver()

    webhooks.give_up_delivery(
        delivery_id=WebhookDelivery.objects.order_by("pk")[0].pk, actor=ACTOR, reason="they cannot read it"
    )
    deliver()

    assert [state for _, _, state in outbox()] == ["given_up", "delivered"]


def test_all_given_up_since_a_time_are_sent_again() -> None:
    made, events = given_up("1", "2", "3")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_webhookdelivery DISABLE TRIGGER payouts_webhookdelivery_says_one_thing")
        cursor.execute(
            "UPDATE payouts_webhookdelivery SET created_at = now() - interval '2 days' WHERE id = %s", [events[0].pk]
        )
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE payouts_webhookdelivery ENABLE TRIGGER payouts_webhookdelivery_says_one_thing")

    since = timezone.now() - timedelta(days=1)
    assert webhooks.resend_failed(endpoint_id=made.pk, since=since, **RESENT) == 2
    assert webhooks.resend_failed(endpoint_id=made.pk, since=since, **RESENT) == 0

    assert [state for _, _, state in outbox()] == ["given_up", "waiting", "waiting"]
    assert made.status_changes.filter(reason="all given up sent again: receiver mended").count() == 1


def test_many_given_up_are_sent_again_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = given_up("1", "2", "3")
    monkeypatch.setattr(resending, "_RESENT_AT_ONCE", 2)

    assert webhooks.resend_failed(endpoint_id=made.pk, since=timezone.now() - timedelta(days=1), **RESENT) == 3

    assert [state for _, _, state in outbox()] == ["waiting"] * 3
    noted = made.status_changes.filter(reason="all given up sent again: receiver mended").order_by("pk")
    assert [note.data["events"] for note in noted] == [2, 1]


def test_the_command_sends_single_events_and_all_of_an_endpoint() -> None:
    made, events = given_up("1", "2", "3")
    said, wrong = StringIO(), StringIO()

    with pytest.raises(CommandError, match="1 of 2 events were refused"):
        call_command("resend_webhooks", events[0].pk, 10**9, reason="receiver mended", stdout=said, stderr=wrong)
    call_command("resend_webhooks", endpoint=made.pk, reason="receiver mended", stdout=said)
    for options in ({}, {"since": "yesterday"}):
        with pytest.raises(CommandError):
            call_command("resend_webhooks", *([] if options else [1]), endpoint=made.pk, reason="x", **options)
    with pytest.raises(CommandError, match="endpoint 999999: there is none"):
        call_command("resend_webhooks", endpoint=999999, reason="x")

    assert "will be sent again" in said.getvalue()
    assert "2 events will be sent again." in said.getvalue()
    assert f"event {10**9}: there is none.\n" in wrong.getvalue()
    assert [state for _, _, state in outbox()] == ["waiting"] * 3


def test_what_was_told_is_forgotten_after_sixty_days_and_what_waits_is_not() -> None:
    made, events = given_up("1", "2", "3", "4")
    WebhookDelivery.objects.filter(pk=events[0].pk).update(given_up_at=None, delivered_at=timezone.now())
    WebhookDelivery.objects.filter(pk=events[1].pk).update(given_up_at=None)
    WebhookDelivery.objects.filter(pk=events[2].pk).update(resent_at=timezone.now())
    for event in events:
        WebhookAttempt.objects.create(endpoint=made, delivery=event)
    tasks.forget_webhooks()
    assert WebhookDelivery.objects.count() == 4

    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE payouts_webhookdelivery DISABLE TRIGGER payouts_webhookdelivery_says_one_thing")
        cursor.execute("UPDATE payouts_webhookdelivery SET created_at = now() - interval '61 days'")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE payouts_webhookdelivery ENABLE TRIGGER payouts_webhookdelivery_says_one_thing")
    tasks.forget_webhooks()

    left = set(WebhookDelivery.objects.values_list("pk", flat=True))
    assert left == {events[1].pk, events[2].pk}
    assert set(WebhookAttempt.objects.values_list("delivery_id", flat=True)) == left


@pytest.mark.django_db(transaction=True)
def test_what_is_sent_again_at_this_moment_is_not_forgotten() -> None:
    _, [event] = given_up("1")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_webhookdelivery DISABLE TRIGGER payouts_webhookdelivery_says_one_thing")
        cursor.execute("UPDATE payouts_webhookdelivery SET created_at = now() - interval '61 days'")
        cursor.execute("ALTER TABLE payouts_webhookdelivery ENABLE TRIGGER payouts_webhookdelivery_says_one_thing")

    with crew() as workers:
        with transaction.atomic():
            webhooks.resend_delivery(delivery_id=event.pk, **RESENT)
            assert workers.start(webhooks.forget_deliveries).result(PATIENCE_S) == 0
        assert webhooks.forget_deliveries() == 0

    event.refresh_from_db()
    assert event.state == "waiting"


@pytest.mark.django_db(transaction=True)
def test_what_waits_at_a_disabled_endpoint_goes_on_when_it_is_enabled(receiver: ScriptedServer) -> None:
    made = endpoint(receiver.url)
    row = factories.accumulation(1)
    hold_accumulation(accumulation=row, actor=ACTOR, reason="1")
    webhooks.disable_endpoint(endpoint=made, actor=ACTOR, reason="maintenance")
    make_due()
    deliver()
    unhold_accumulation(accumulation=row, actor=ACTOR, reason="nobody hears of it")
    assert receiver.asked == []

    webhooks.enable_endpoint(endpoint=WebhookEndpoint.objects.get(pk=made.pk), actor=ACTOR, reason="done")
    hold_accumulation(accumulation=row, actor=ACTOR, reason="3")
    deliver()

    assert [asked.headers["webhook-id"] for asked in receiver.asked] == [
        event.message_id for event in WebhookDelivery.objects.order_by("pk")
    ]
    assert list(WebhookDelivery.objects.order_by("pk").values_list("reason", flat=True)) == ["1", "3"]
