"""The admin in a real browser: no error in its console, nothing fetched from elsewhere, usable without a script."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.urls import reverse
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from hostpay.models import Reconciliation
from payouts.models import Export, InboundEvent
from tests.lib.browsers import CHROMIUM
from tests.web.scene import Scene, play

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    # Playwright's loop runs in this thread, and Django takes that for asynchronous code.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=os.fspath(CHROMIUM), args=["--no-sandbox"])
        yield running
        # While its loop runs, this thread has database connections of its own.
        connections.close_all()
        running.close()


@pytest.fixture
def stage(transactional_db: None) -> Scene:
    User.objects.create_superuser("anna", "anna@example.org", "a long pass phrase")
    return play()


@contextmanager
def watched(browser: Browser, server: LiveServer, **options: object) -> Iterator[tuple[Page, list[str]]]:
    """A logged-in page, and the list of what went wrong on it."""
    wrong: list[str] = []
    context = browser.new_context(**options)  # type: ignore[arg-type]
    # A machine with other work to do may need longer than the half minute that is usual.
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((server.url, "data:")) else wrong.append(f"outside: {asked.url}"),
    )
    try:
        page.goto(f"{server.url}{reverse('admin:login')}")
        page.fill("#id_username", "anna")
        page.fill("#id_password", "a long pass phrase")
        page.click("button[type=submit]")
        page.wait_for_url("**/admin/")
        yield page, wrong
    finally:
        context.close()


def test_it_opens_without_an_error_or_an_outside_request(
    browser: Browser, live_server: LiveServer, stage: Scene
) -> None:
    paths = [
        reverse("admin:index"),
        reverse("admin:needs_me"),
        reverse("admin:payouts_accumulation_changelist"),
        reverse("admin:batches_batchconversion_change", args=(stage.done.pk,)),
        reverse("admin:hostpay_hostpayment_change", args=(stage.stuck.pk,)),
        reverse("admin:hostpay_reconciliation_change", args=(Reconciliation.objects.get().pk,)),
        reverse("admin:batches_conversionpolicy_do", args=("set",)),
        reverse("admin:django_celery_beat_periodictask_changelist"),
        reverse("admin:payouts_inboundevent_changelist"),
        reverse("admin:payouts_inboundevent_change", args=(InboundEvent.objects.latest("pk").pk,)),
        reverse("admin:payouts_inboundevent_do", args=("replay",)),
        reverse("admin:payouts_webhookendpoint_changelist"),
        reverse("admin:payouts_webhookendpoint_change", args=(stage.endpoint.pk,)),
        reverse("admin:payouts_webhookendpoint_do", args=("create",)),
        reverse("admin:payouts_webhookendpoint_operate", args=(stage.endpoint.pk, "resend-failed")),
        reverse("admin:payouts_webhookdelivery_changelist"),
        reverse("admin:payouts_webhookdelivery_change", args=(stage.given_up.pk,)),
        reverse("admin:payouts_webhookattempt_changelist"),
        f"{reverse('admin:payouts_accumulation_export')}?status__exact=pending&q=nobody",
        reverse("admin:batches_batchconversion_export_table", args=(stage.done.pk, "members")),
        reverse("admin:payouts_export_changelist"),
    ]
    for width in (1440, 390):
        with watched(browser, live_server, viewport={"width": width, "height": 900}) as (page, wrong):
            for path in paths:
                page.goto(f"{live_server.url}{path}")
                page.wait_for_load_state("load")
                assert page.locator(".s-page, .s-list-head").first.is_visible(), path
                overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                assert overflow <= 0, f"{path} is {overflow} px too wide at {width}"
            assert wrong == []


def test_it_holds_an_accumulation_by_hand(browser: Browser, live_server: LiveServer, stage: Scene) -> None:
    it = stage.pending[0]
    with watched(browser, live_server) as (page, wrong):
        page.goto(f"{live_server.url}{reverse('admin:payouts_accumulation_change', args=(it.pk,))}")
        page.get_by_role("link", name="Hold", exact=True).click()
        page.fill("#id_reason", "the customer asked")
        page.get_by_role("button", name="Hold", exact=True).click()
        page.get_by_text(f"Payment {it.payment_id} is held.").wait_for()
        assert wrong == []
    it.refresh_from_db()
    assert (it.status, it.hold_reason) == ("held", "the customer asked")


def test_f73_it_downloads_a_list_by_the_key_e_as_it_is_filtered(
    browser: Browser, live_server: LiveServer, stage: Scene, tmp_path: Path
) -> None:
    with watched(browser, live_server, accept_downloads=True) as (page, wrong):
        page.goto(f"{live_server.url}{reverse('admin:payouts_accumulation_changelist')}?status__exact=held")
        page.keyboard.press("e")
        page.wait_for_url("**/payouts/accumulation/export/?status__exact=held")
        assert page.get_by_text("1 row", exact=True).is_visible()
        # The log-in was just now.
        assert page.locator("input[type=password]").count() == 0
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download CSV").click()
        waiting.value.save_as(tmp_path / "file.csv")
        page.get_by_text("The file is being made.").wait_for()
        assert waiting.value.suggested_filename.endswith("-1-rows.csv")
        assert wrong == []
    with (tmp_path / "file.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file, strict=True)
    assert (row["payment_id"], row["gross_usd"]) == (stage.held.payment_id, f"{stage.held.gross_usd:.8f}")
    assert Export.objects.latest("pk").row_count == 1


def test_it_works_without_a_script(browser: Browser, live_server: LiveServer, stage: Scene) -> None:
    with watched(browser, live_server, java_script_enabled=False) as (page, _):
        page.goto(f"{live_server.url}{reverse('admin:payouts_accumulation_change', args=(stage.held.pk,))}")
        page.get_by_role("link", name="Let go on", exact=True).click()
        page.fill("#id_reason", "it was no duplicate")
        page.get_by_role("button", name="Let go on", exact=True).click()
        page.get_by_text(f"Payment {stage.held.payment_id} is pending.").wait_for()
    stage.held.refresh_from_db()
    assert stage.held.status == "pending"
