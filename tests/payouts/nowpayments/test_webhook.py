"""`POST /api/v1/webhooks/nowpayments/`: stored, answered, and processed afterwards."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from django.test import Client as Browser
from pytest_django import Settings

from payouts.models import Accumulation, InboundEvent, NowPayment, Outcome, Verdict
from payouts.services import waiting_notifications
from payouts.tasks import sweep_nowpayments
from tests.payouts.nowpayments.sending import FINISHED, URL, body, post, signature

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_stores_the_bytes_as_they_came_and_processes_nothing_yet() -> None:
    answer = post(FINISHED, signature(FINISHED))

    event = InboundEvent.objects.get()
    assert (answer.status_code, answer.json()) == (200, {"stored": event.pk})
    assert (bytes(event.body), event.source, event.event_id) == (FINISHED, "nowpayments", "5524759814")
    assert (event.verdict, event.outcome, event.attempts) == (Verdict.VALID, Outcome.RECEIVED, 0)
    assert not NowPayment.objects.exists()


def test_it_keeps_no_signature() -> None:
    post(FINISHED, signature(FINISHED))

    assert signature(FINISHED) not in str(InboundEvent.objects.get().headers)


@pytest.mark.parametrize("signed", [None, "", "0" * 128, signature(body(payment_id=1), "x" * 20)], ids=range(4))
def test_f12_it_refuses_a_forged_one_and_keeps_it_within_bounds(signed: str | None) -> None:
    answer = post(FINISHED, signed)

    event = InboundEvent.objects.get()
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature")
    assert (event.verdict, event.outcome) == (Verdict.INVALID, Outcome.REFUSED)
    assert not NowPayment.objects.exists()


def test_f17_it_takes_both_secrets_during_a_rotation(settings: Settings) -> None:
    settings.NOWPAYMENTS_IPN_SECRETS = ["the-new-secret-0123", "the-old-secret-0123"]

    answers = [post(FINISHED, signature(FINISHED, secret)) for secret in settings.NOWPAYMENTS_IPN_SECRETS]

    assert [answer.status_code for answer in answers] == [200, 200]


def test_f16_it_refuses_what_it_does_not_even_read() -> None:
    browser = Browser()
    big = b"x" * (64 * 1024 + 1)

    assert browser.post(URL, big, content_type="application/json").status_code == 413
    assert browser.post(URL, FINISHED, content_type="text/plain").status_code == 415
    gzip = {"content-encoding": "gzip"}
    assert browser.post(URL, FINISHED, content_type="application/json", headers=gzip).status_code == 415
    assert browser.get(URL).status_code == 405
    assert not InboundEvent.objects.exists()


def test_a_signed_body_that_is_no_json_is_kept_and_answered() -> None:
    answer = post(b"signed nonsense", signature(b"signed nonsense"))

    assert answer.status_code == 200
    assert InboundEvent.objects.get().event_id == ""


def test_without_a_broker_it_is_answered_in_time_and_found_by_the_sweep(
    live_server: Any, broker_down: None, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    headers = {"x-nowpayments-sig": signature(FINISHED), "content-type": "application/json"}
    answer = httpx.post(live_server.url + URL, content=FINISHED, headers=headers, trust_env=False)
    took_s = time.monotonic() - started
    # The server's thread has its connection to the database until it has given the hint up.
    while "waits for the sweep" not in caplog.text and time.monotonic() < started + 20:
        time.sleep(0.05)

    assert answer.status_code == 200
    assert took_s < 3
    assert "notification waits for the sweep: no broker" in caplog.text
    InboundEvent.objects.update(received_at="2025-01-01T00:00:00Z")
    assert waiting_notifications(limit=10) == [InboundEvent.objects.get().pk]


def test_the_sweep_leaves_a_young_one_to_its_own_message() -> None:
    post(FINISHED, signature(FINISHED))

    assert waiting_notifications(limit=10) == []
    sweep_nowpayments()
    assert not Accumulation.objects.exists()
