"""Webhooks in the admin: how an endpoint fares, what it was told, and what an operator does about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin_site.attention import attention
from config.lib.errors import RefusedError
from payouts.models import WebhookDelivery, WebhookEndpoint
from payouts.services import webhooks
from tests import factories
from tests.factories import ACTOR
from tests.web.scene import Scene
from tests.web.test_exports import proved
from tests.web.test_operations import ask, confirm, list_operation, operation_of, said
from tests.web.test_pages import url_of

NEW = {"name": "till", "url": "http://127.0.0.1:1/in", "events": ["payment.held"], "client": ""}


def test_the_list_shows_how_each_endpoint_fares(scene: Scene, operator: Client) -> None:
    page = operator.get(url_of(WebhookEndpoint, "changelist")).content.decode()

    assert "5 of the latest 6 tries were taken" in page
    assert ">83 %<" in page
    assert '<svg class="s-spark"' in page
    assert ">failing<" in page
    assert ">disabled<" in page
    # What stands behind the host is often a secret of the receiver's own.
    assert "key=abc" not in page


def test_the_page_of_an_endpoint_says_what_is_wrong_and_shows_no_seed(scene: Scene, operator: Client) -> None:
    page = operator.get(url_of(WebhookEndpoint, "change", scene.endpoint.pk)).content.decode()

    assert "It has taken nothing since" in page
    assert "HTTP 503" in page
    assert "http://127.0.0.1:9/hooks?key=abc" in page
    assert ">unknown<" in page
    assert scene.endpoint.secret_seed not in page


def test_who_may_only_look_sees_the_host_of_an_address(scene: Scene, viewer: Client) -> None:
    page = viewer.get(url_of(WebhookEndpoint, "change", scene.endpoint.pk)).content.decode()

    assert "127.0.0.1:9" in page
    assert "key=abc" not in page


def test_the_inspector_shows_request_and_answers_escaped(scene: Scene, operator: Client) -> None:
    page = operator.get(url_of(WebhookDelivery, "change", scene.given_up.pk)).content.decode()

    assert scene.given_up.message_id in page
    assert "&quot;type&quot;: &quot;payment.batched&quot;" in page
    assert "&lt;b&gt;unknown field&lt;/b&gt;" in page
    assert "<b>unknown" not in page
    assert "Given up; the last try: HTTP 422" in page


def test_events_are_found_by_payment_message_and_state(scene: Scene, operator: Client) -> None:
    url = url_of(WebhookDelivery, "changelist")
    told = scene.given_up.accumulation
    assert told is not None

    for query in ({"q": told.payment_id}, {"q": scene.given_up.message_id}, {"state": "given_up"}):
        page = operator.get(url, query).content.decode()
        assert url_of(WebhookDelivery, "change", scene.given_up.pk) in page
    assert "Nothing matches." in operator.get(url, {"q": "msg_1"}).content.decode()
    payment = operator.get(url_of(type(told), "change", told.pk)).content.decode()
    assert url_of(WebhookDelivery, "change", scene.given_up.pk) in payment


def test_an_operator_makes_an_endpoint_and_sees_its_secret_once(scene: Scene, operator: Client) -> None:
    url = list_operation(WebhookEndpoint, "create")

    answer = confirm(operator, url, **NEW)

    made = WebhookEndpoint.objects.get(name="till")
    assert answer.status_code == 200
    assert "whsec_" in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert (made.url, made.events, made.created_by) == (NEW["url"], ["payment.held"], "admin:anna")
    for page in (url_of(WebhookEndpoint, "change", made.pk), url_of(WebhookEndpoint, "changelist")):
        assert "whsec_" not in operator.get(page).content.decode()


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "ftp://example.com/", "http://2130706433/"])
def test_an_unfit_address_is_refused_in_the_form(scene: Scene, operator: Client, url: str) -> None:
    page = confirm(operator, list_operation(WebhookEndpoint, "create"), **{**NEW, "url": url}).content.decode()

    assert "It is refused: " in page
    assert not WebhookEndpoint.objects.filter(name="till").exists()


def test_an_endpoint_is_changed_rotated_disabled_and_enabled(scene: Scene, operator: Client) -> None:
    it = scene.endpoint

    confirm(operator, operation_of(it, "change"), **{**NEW, "url": "http://127.0.0.1:1/new"})
    rotated = confirm(operator, operation_of(it, "rotate-secret"), overlap="1")
    tested = confirm(operator, operation_of(it, "test"))
    disabled = confirm(operator, operation_of(it, "disable"), reason="maintenance")
    it.refresh_from_db()
    assert (it.name, it.url, it.status) == ("till", "http://127.0.0.1:1/new", "disabled")
    assert it.old_secret_until is not None
    assert "whsec_" in rotated.content.decode()
    assert "will be sent as msg_" in said(tested)
    assert "is disabled" in said(disabled)
    assert "not now. It is disabled." in said(operator.get(operation_of(it, "test")))

    confirm(operator, operation_of(it, "enable"), reason="done")
    it.refresh_from_db()
    assert it.status == "enabled"
    reasons = it.status_changes.order_by("pk").values_list("actor", "reason")
    assert list(reasons)[1:] == [
        ("admin:anna", "because"),
        ("admin:anna", "given a new secret: because"),
        ("admin:anna", "a test event was asked for"),
        ("admin:anna", "maintenance"),
        ("admin:anna", "done"),
    ]


def test_what_was_given_up_is_sent_again_one_or_all(scene: Scene, operator: Client) -> None:
    page, _ = ask(operator, operation_of(scene.endpoint, "resend-failed"))
    assert "1 event was given up" in page
    late = confirm(operator, operation_of(scene.endpoint, "resend-failed"), since="2100-01-01T00:00")
    assert "0 events will be sent again." in said(late)

    confirm(operator, operation_of(scene.given_up, "resend"))
    scene.given_up.refresh_from_db()
    assert scene.given_up.state == "waiting"
    confirm(operator, operation_of(scene.given_up, "give-up"))
    again = confirm(operator, operation_of(scene.endpoint, "resend-failed"), since="2020-01-01T00:00")
    scene.given_up.refresh_from_db()
    assert "1 event will be sent again." in said(again)
    assert scene.given_up.state == "waiting"


def test_a_failing_endpoint_is_tried_now_with_a_reason(scene: Scene, operator: Client) -> None:
    url = operation_of(scene.endpoint, "try-now")
    WebhookEndpoint.objects.filter(pk=scene.endpoint.pk).update(next_attempt_at="2100-01-01T12:00:00Z")

    page, _ = ask(operator, url)
    assert "now, and not at 2100-01-01 12:00:00 UTC" in page
    done = confirm(operator, url, reason="receiver mended")

    scene.endpoint.refresh_from_db()
    assert scene.endpoint.next_attempt_at <= timezone.now()
    assert "What waits for shop is tried now." in said(done)
    last = scene.endpoint.status_changes.order_by("pk").last()
    assert last is not None
    assert (last.actor, last.reason) == ("admin:anna", "tried before its time: receiver mended")
    assert "not now. What waits for it is due already." in said(operator.get(url))
    WebhookDelivery.objects.filter(delivered_at__isnull=True).update(given_up_at=timezone.now())
    assert "not now. Nothing waits for it: send a test" in said(operator.get(url))


def test_who_only_looks_does_nothing(scene: Scene, viewer: Client) -> None:
    for url in (
        list_operation(WebhookEndpoint, "create"),
        operation_of(scene.endpoint, "rotate-secret"),
        operation_of(scene.endpoint, "try-now"),
        operation_of(scene.endpoint, "disable"),
        operation_of(scene.given_up, "resend"),
    ):
        assert viewer.get(url).status_code == 403
        assert viewer.post(url, {"reason": "x"}).status_code == 403


def test_needs_me_names_endpoints_that_fail_are_gone_or_were_not_told(scene: Scene, operator: Client) -> None:
    page = operator.get(reverse("admin:needs_me")).content.decode()
    assert "Endpoint shop has taken nothing in 3 tries, the last: HTTP 503." in page
    assert "old shop" not in page, "an operator disabled it"

    kinds = [item.kind for item in attention().items if item.kind.startswith("webhooks")]
    assert kinds == ["webhooks failing"]
    WebhookEndpoint.objects.filter(pk=scene.endpoint.pk).update(failures=0, failing_since=None, last_error="")
    assert [item.kind for item in attention().items if item.kind.startswith("webhooks")] == ["webhooks given up"]
    WebhookDelivery.objects.filter(pk=scene.given_up.pk).update(given_up_at=timezone.now() - timedelta(days=9))
    assert [item.kind for item in attention().items if item.kind.startswith("webhooks")] == ["webhooks given up"]
    confirm(operator, operation_of(scene.endpoint, "acknowledge"), reason="they know")
    with pytest.raises(RefusedError, match="nobody knows of"):
        webhooks.acknowledge_given_up(endpoint_id=scene.endpoint.pk, actor=ACTOR, reason="again")
    assert not [item for item in attention().items if item.kind.startswith("webhooks")]
    WebhookDelivery.objects.filter(pk=scene.given_up.pk).update(given_up_at=timezone.now())
    assert [item.kind for item in attention().items if item.kind.startswith("webhooks")] == ["webhooks given up"]
    webhooks.acknowledge_given_up(endpoint_id=scene.endpoint.pk, actor=ACTOR, reason="they know")
    WebhookEndpoint.objects.filter(name="old shop").update(failures=1, failing_since=timezone.now())
    assert [item.kind for item in attention().items if item.kind.startswith("webhooks")] == ["webhooks off"]
    webhooks.enable_endpoint(endpoint=WebhookEndpoint.objects.get(name="old shop"), actor=ACTOR, reason="back")
    assert not [item for item in attention().items if item.kind.startswith("webhooks")]


def test_an_endpoint_of_one_client_is_made_by_the_clients_id(operator: Client) -> None:
    of, namesake = factories.client(name="Bakery"), factories.client(name="Bakery")
    url = list_operation(WebhookEndpoint, "create")

    unknown = confirm(proved(operator), url, **NEW | {"client": "nobody"})
    confirm(operator, url, **NEW | {"client": of.external_id})

    assert "No client has this id." in unknown.content.decode()
    assert WebhookEndpoint.objects.get().client == of
    # Of whom nobody asks, nothing is listed to choose from.
    assert namesake.external_id not in ask(operator, url)[0]
