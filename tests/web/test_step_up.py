"""The password anew before what lifts a guard, says where money goes, or hands out a secret. F72, F73."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from batches.models import ConversionPolicy
from config.lib.adminkit.operations import Operation
from hostpay import services
from hostpay.models import Breaker, BreakerCause, Pause, Switch
from payouts.models import ApiKey, Client, FailedTries, WebhookEndpoint
from payouts.services import create_api_key
from tests.factories import ACTOR, client, policy
from tests.web.test_exports import PASSWORD, proved, with_password
from tests.web.test_operations import ask, confirm, list_operation, operation_of
from tests.web.test_pages import OURS, url_of

pytestmark = pytest.mark.django_db

# Whoever finds a session open can do none of these.
ASKED_FOR = {
    "batches.batchconversion": {"release"},
    "batches.conversionpolicy": {"set"},
    "hostpay.approval": {"approve"},
    "hostpay.breaker": {"close"},
    "hostpay.hostpayment": {"accept", "attach"},
    "hostpay.pause": {"resume"},
    "hostpay.reconciliation": {"adopt", "sign_off"},
    "hostpay.wallet": {"lift_halt"},
    "payouts.accumulation": {"unhold"},
    "payouts.apikey": {"create"},
    "payouts.client": {"destination"},
    "payouts.destinationchange": {"request"},
    "payouts.failedtries": {"forget"},
    "payouts.nowpayment": {"close-review", "take-up-again"},
    "payouts.webhookendpoint": {"create", "change", "rotate-secret"},
}


@pytest.fixture
def left_open(operator: Browser) -> Browser:
    """A session whose owner gave the password a quarter of an hour ago."""
    with_password("anna")
    # The new password would end the session.
    operator.force_login(User.objects.get(username="anna"))
    return proved(operator, timedelta(minutes=15))


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def operations_of(model: Any) -> list[Operation[Any]]:
    of = admin.site._registry[model]
    return [*getattr(of, "operations", ()), *getattr(of, "list_operations", ())]


def test_f73_the_password_is_asked_for_where_it_must_be_and_nowhere_else() -> None:
    asked = {model._meta.label_lower: {op.name for op in operations_of(model) if op.needs_proof} for model in OURS}

    assert {label: names for label, names in asked.items() if names} == ASKED_FOR


def test_what_stops_something_never_waits_for_a_password(left_open: Browser) -> None:
    key, _ = create_api_key(name="x", scopes=["ops"], actor=ACTOR)

    confirm(left_open, list_operation(Pause, "pause"), switch=Switch.SIGNING.value, hours="")
    confirm(left_open, list_operation(Breaker, "open"))
    confirm(left_open, operation_of(key, "revoke"), reason="it was in a repository")

    assert (Pause.objects.count(), Breaker.objects.count()) == (1, 1)
    key.refresh_from_db()
    assert (key.revoked_by, key.revoke_reason) == ("admin:anna", "it was in a repository")
    assert "it was in a repository" in text_of(left_open.get(url_of(ApiKey, "change", key.pk)))


def test_an_onlooker_revokes_no_key(viewer: Browser) -> None:
    key, _ = create_api_key(name="x", scopes=["ops"], actor=ACTOR)

    assert viewer.post(operation_of(key, "revoke"), {"reason": "x", "token": "x"}).status_code == 403

    key.refresh_from_db()
    assert key.revoked_at is None


def test_f73_a_session_that_was_left_open_lifts_nothing_without_the_password(left_open: Browser) -> None:
    breaker = services.open_breaker(cause=BreakerCause.OPERATOR, detail="drill", actor=ACTOR)
    url = operation_of(breaker, "close")

    page, _ = ask(left_open, url)
    without = confirm(left_open, url, typed="CLOSE", reason="it was a drill")
    wrong = confirm(left_open, url, typed="CLOSE", reason="it was a drill", password="guess")

    assert 'type="password"' in page
    assert "This field is required." in text_of(without)
    assert "This is not your password." in text_of(wrong)
    # Nothing that was typed is lost, but for the password.
    assert "it was a drill" in text_of(wrong)
    assert 'value="CLOSE"' in text_of(wrong)
    assert "guess" not in text_of(wrong)
    breaker.refresh_from_db()
    assert breaker.closed_at is None


def test_f73_the_password_opens_five_minutes_and_reaches_no_service(
    left_open: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = services.open_breaker(cause=BreakerCause.OPERATOR, detail="drill", actor=ACTOR)

    confirm(left_open, operation_of(breaker, "close"), typed="CLOSE", password=PASSWORD)
    page, _ = ask(left_open, list_operation(ConversionPolicy, "set"))

    breaker.refresh_from_db()
    assert (breaker.closed_by, breaker.close_reason) == ("admin:anna", "because")
    assert 'type="password"' not in page
    assert PASSWORD not in caplog.text


def test_f73_who_has_to_mend_something_else_need_not_give_the_password_twice(left_open: Browser) -> None:
    policy(20)
    url = list_operation(ConversionPolicy, "set")

    answer = confirm(left_open, url, threshold_usd="1e5", tolerance_bps="100", password=PASSWORD)

    assert 'type="password"' not in text_of(answer)
    assert 'value="1e5"' in text_of(answer)
    assert ConversionPolicy.objects.latest("version").threshold_usd == 20
    confirm(left_open, url, threshold_usd="50", tolerance_bps="100")
    assert ConversionPolicy.objects.latest("version").threshold_usd == 50


def test_f73_what_was_asked_by_a_page_that_is_older_than_the_proof_is_not_lost(operator: Browser) -> None:
    """It was given when the page was opened, and is no longer good when the form comes."""
    with_password("anna")
    operator.force_login(User.objects.get(username="anna"))
    policy(20)
    url = list_operation(ConversionPolicy, "set")
    _, token = ask(proved(operator), url)
    proved(operator, timedelta(minutes=6))

    late = operator.post(url, {"token": token, "threshold_usd": "70", "tolerance_bps": "100", "reason": "a long one"})

    assert 'type="password"' in text_of(late)
    assert 'value="70"' in text_of(late)
    assert "a long one" in text_of(late)
    assert ConversionPolicy.objects.latest("version").threshold_usd == 20


def test_f72_guessing_waits_and_nobody_forgives_himself(left_open: Browser) -> None:
    for _ in range(5):
        confirm(left_open, list_operation(ApiKey, "create"), name="x", scopes=["ops"], password="guess")
    assert FailedTries.objects.exists()

    for row in FailedTries.objects.all():
        confirm(left_open, operation_of(row, "forget"))
        assert row.failures == FailedTries.objects.get(pk=row.pk).failures
    answer = confirm(left_open, list_operation(ApiKey, "create"), name="x", scopes=["ops"], password=PASSWORD)

    assert "Too many tries." in text_of(answer)
    assert not ApiKey.objects.exists()


def test_f73_no_secret_is_handed_to_a_session_that_was_left_open(left_open: Browser) -> None:
    given = {"name": "shop", "url": "https://shop.example.com/hook", "events": ["payment.held"]}

    answers = [
        confirm(left_open, list_operation(ApiKey, "create"), name="x", scopes=["read"]),
        confirm(left_open, list_operation(WebhookEndpoint, "create"), **given),
    ]

    assert not [answer for answer in answers if re.search(r"whsec_|sk_[0-9a-f]{8}_", text_of(answer))]
    assert not ApiKey.objects.exists()
    assert not WebhookEndpoint.objects.exists()


# --- Django's own forms


@pytest.fixture
def root(superuser: Browser) -> Browser:
    with_password("root")
    superuser.force_login(User.objects.get(username="root"))
    return proved(superuser, timedelta(minutes=15))


def relayed(page: str) -> dict[str, str]:
    """What travels through the page that asks for the password."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))


def test_f72_a_session_that_was_left_open_makes_no_user(root: Browser) -> None:
    new = {"username": "eve", "usable_password": "true", "password1": "an evil pass phrase", "password2": "an evil pass phrase"}  # fmt: skip

    page = root.post("/admin/auth/user/add/", new)
    wrong = root.post("/admin/auth/user/add/", {**relayed(text_of(page)), "proof-password": "guess"})

    assert "Nothing was changed yet." in text_of(page)
    assert "no-store" in page.headers["Cache-Control"]
    assert "This is not your password." in text_of(wrong)
    assert "guess" not in text_of(wrong)
    assert not User.objects.filter(username="eve").exists()

    right = root.post("/admin/auth/user/add/", {**relayed(text_of(wrong)), "proof-password": PASSWORD})

    # Somebody's new password travels through no page: the form asks for it again.
    assert "an evil pass phrase" not in text_of(page) + text_of(wrong) + text_of(right)
    assert "This field is required." in text_of(right)
    assert 'value="eve"' in text_of(right)
    assert root.post("/admin/auth/user/add/", new).status_code == 302
    assert User.objects.get(username="eve").check_password("an evil pass phrase")


def test_f72_a_session_that_was_left_open_gives_nobody_a_password_or_a_role(root: Browser) -> None:
    user = User.objects.get(username="root")
    new = {"usable_password": "true", "password1": "an evil pass phrase", "password2": "an evil pass phrase"}

    answers = [
        root.post(f"/admin/auth/user/{user.pk}/password/", new),
        root.post(f"/admin/auth/user/{user.pk}/change/", {"username": "eve"}),
        root.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}),
        root.post("/admin/auth/user/", {"action": "delete_selected", "_selected_action": user.pk, "post": "yes"}),
        root.post("/admin/auth/group/add/", {"name": "evil"}),
    ]

    assert all("Nothing was changed yet." in text_of(answer) for answer in answers)
    user.refresh_from_db()
    assert user.username == "root"
    assert user.check_password(PASSWORD)
    assert not Group.objects.filter(name="evil").exists()


def test_f72_a_session_that_was_left_open_changes_no_schedule(root: Browser) -> None:
    before = list(PeriodicTask.objects.values())
    of = "/admin/django_celery_beat"

    answers = [
        root.post(f"{of}/periodictask/add/", {"name": "evil", "task": "evil"}),
        root.post(f"{of}/intervalschedule/add/", {"every": "1000", "period": "days"}),
        root.post(f"{of}/crontabschedule/add/", {"minute": "*"}),
    ]

    assert all("Nothing was changed yet." in text_of(answer) for answer in answers)
    assert list(PeriodicTask.objects.values()) == before
    assert not IntervalSchedule.objects.filter(every=1000).exists()


def test_f72_a_session_that_was_left_open_changes_no_clients_terms(left_open: Browser) -> None:
    owner = client(fee_percent=3)
    url = url_of(Client, "change", owner.pk)
    seen = left_open.get(url).context["adminform"].form["seen"].value()
    given = {"name": owner.name, "strategy": owner.strategy, "payout_threshold_usd": "50", "fee_percent": "99", "reason": "x"}  # fmt: skip

    page = left_open.post(url, {**given, "seen": seen})
    owner.refresh_from_db()
    assert owner.fee_percent == 3

    left_open.post(url, {**relayed(text_of(page)), "proof-password": PASSWORD})
    owner.refresh_from_db()
    assert owner.fee_percent == 99
    assert left_open.get(url).status_code == 200
