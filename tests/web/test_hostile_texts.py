"""What outsiders can write into our tables, and what a stolen session or a foreign page can do with the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from batches.models import BatchConversion
from hostpay.models import ExchangeOrder, HostPayment, ServiceHealth
from payouts.models import Client, InboundEvent, NowPayment, Outcome, Verdict
from tests.payouts.sending import client, payment, send
from tests.web.scene import Scene
from tests.web.test_pages import MODELS, OURS, url_of

pytestmark = pytest.mark.django_db

SCRIPT = "<script>alert(1)</script>"
BREAKOUT = "\"'><img/src=x/onerror=alert(1)>"


@pytest.fixture
def hostile(scene: Scene) -> Scene:
    """Every text that comes from outside tries to be a part of the page."""
    client(SCRIPT, name=BREAKOUT)
    send(payment(payment_id=SCRIPT, client_id=SCRIPT, user_id=BREAKOUT, subscription_id=SCRIPT, outcome_currency="eth"))
    send(payment(payment_id=BREAKOUT, client_id="nobody"), event_id=SCRIPT)
    InboundEvent.objects.create(
        source="api", event_id=BREAKOUT, headers={"user-agent": SCRIPT}, body=SCRIPT.encode(),
        verdict=Verdict.INVALID, outcome=Outcome.REFUSED, error=SCRIPT,
    )  # fmt: skip
    now = timezone.now()
    HostPayment.objects.filter(pk=scene.stuck.pk).update(last_error=SCRIPT, review_reason=BREAKOUT, review_since=now)
    ExchangeOrder.objects.update(provider_status=SCRIPT, latest_answer={"message": SCRIPT})
    NowPayment.objects.update(
        review_reason=SCRIPT, review_cause="refused", review_since=now, order_id=BREAKOUT, last_error=SCRIPT
    )
    ServiceHealth.objects.update(last_error=SCRIPT)
    return scene


def assert_tame(page: str) -> None:
    assert SCRIPT not in page
    assert "<img/src=x" not in page


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label_lower)
def test_f73_what_outsiders_write_is_text_on_every_page(model: Any, hostile: Scene, superuser: Browser) -> None:
    assert_tame(superuser.get(url_of(model, "changelist")).content.decode())
    for obj in model._default_manager.all()[:6]:
        assert_tame(superuser.get(url_of(model, "change", obj.pk)).content.decode())


def test_f73_so_it_is_on_the_overview_and_in_a_search(hostile: Scene, superuser: Browser) -> None:
    for path in (reverse("admin:index"), reverse("admin:needs_me")):
        assert_tame(superuser.get(path).content.decode())
    assert_tame(superuser.get(url_of(Client, "changelist"), {"q": SCRIPT}).content.decode())
    assert_tame(superuser.get("/admin/search/", {"s": SCRIPT}).content.decode())


def test_f73_no_script_runs_that_is_not_our_file(hostile: Scene, superuser: Browser) -> None:
    policy = superuser.get(reverse("admin:index"))["Content-Security-Policy"]

    (scripts,) = [part for part in policy.split("; ") if part.startswith("script-src")]
    assert "'unsafe-inline'" not in scripts
    assert "http" not in scripts
    assert {"frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'", "object-src 'none'"} <= set(
        policy.split("; ")
    )


def test_f73_no_form_works_from_another_page(scene: Scene) -> None:
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("root", "root@example.org"))
    url = reverse("admin:payouts_accumulation_operate", args=(scene.pending[0].pk, "hold"))

    assert browser.post(url, {"reason": "x", "token": "x"}).status_code == 403

    scene.pending[0].refresh_from_db()
    assert scene.pending[0].status == "pending"


def test_f73_the_sessions_cookie_is_for_our_own_pages_alone() -> None:
    User.objects.create_superuser("anna", "anna@example.org", "a long pass phrase")
    browser = Browser()

    browser.post("/admin/login/", {"username": "anna", "password": "a long pass phrase"})

    cookie = browser.cookies["sessionid"]
    assert (bool(cookie["httponly"]), cookie["samesite"]) == (True, "Strict")
    assert int(cookie["max-age"]) <= 8 * 3600


def test_f73_a_session_ends_when_its_user_is_no_longer_let_in() -> None:
    user = User.objects.create_superuser("anna", "anna@example.org")
    browser = Browser()
    browser.force_login(user)
    assert browser.get(url_of(Client, "changelist")).status_code == 200

    User.objects.filter(pk=user.pk).update(is_active=False)

    assert browser.get(url_of(Client, "changelist")).status_code == 302


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label_lower)
def test_f72_nothing_is_done_in_bulk_nothing_is_deleted_and_nothing_is_edited_past_a_service(
    model: Any, superuser: Browser
) -> None:
    of = admin.site._registry[model]
    request = superuser.get(url_of(model, "changelist")).wsgi_request

    assert not of.get_actions(request)
    assert not of.has_delete_permission(request)
    # Clients are made and edited in a form, but not their destinations.
    assert of.has_add_permission(request) == of.has_change_permission(request) == (model is Client)


def test_f72_a_batch_has_no_form_even_for_a_superuser(scene: Scene, superuser: Browser) -> None:
    url = url_of(BatchConversion, "change", scene.done.pk)

    superuser.post(url, {"total_usd": "1", "status": "cancelled"})

    was = scene.done.total_usd
    scene.done.refresh_from_db()
    assert (scene.done.total_usd, scene.done.status) == (was, "completed")
