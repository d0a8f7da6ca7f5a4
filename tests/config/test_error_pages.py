"""What people and programs are shown when something is not there, not theirs, or broken: never what is inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser
from pytest_django import Settings

from config import logs
from payouts.services import create_api_key
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db

CANARY = "canary-5f1d2c9b7a3e"


@contextmanager
def broken_inside() -> Iterator[None]:
    """The next statement fails in a way that nobody foresaw, with a secret in its words and in its variables."""

    def fail(*_: Any) -> None:
        secret = CANARY
        raise RuntimeError(f"could not connect with password={secret}")

    with connection.execute_wrapper(fail):
        yield


def calling(**options: Any) -> Browser:
    return Browser(raise_request_exception=False, **options)


@pytest.mark.parametrize("path", ["/nothing", "/admin/nothing/"])
def test_a_page_that_is_not_there_is_a_plain_one_with_the_requests_id(path: str) -> None:
    browser = calling()
    browser.force_login(User.objects.create_superuser("root", "root@example.org"))

    answer = browser.get(path, headers={"x-request-id": "trace-4711"})

    page = answer.content.decode()
    assert (answer.status_code, answer["X-Request-ID"]) == (404, "trace-4711")
    assert "<code>trace-4711</code>" in page
    assert "There is nothing at this address." in page
    assert path not in page


def test_a_page_for_others_says_so() -> None:
    browser = calling()
    browser.force_login(User.objects.create_user("otto", is_staff=True))

    answer = browser.get("/admin/payouts/client/")

    assert (answer.status_code, "This is not for the caller." in answer.content.decode()) == (403, True)


def test_a_form_from_elsewhere_is_refused_in_plain_words() -> None:
    answer = calling(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})

    assert answer.status_code == 403
    assert "not sent from a page of ours" in answer.content.decode()


def test_f74_a_fault_of_ours_shows_no_secret_and_nothing_from_inside(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_inside():
        page = calling().get("/metrics", headers={"x-request-id": "trace-4711"})

    text = page.content.decode()
    assert (page.status_code, page["X-Request-ID"]) == (500, "trace-4711")
    assert "<code>trace-4711</code>" in text
    assert not [word for word in (CANARY, "Traceback", "RuntimeError", ".py", settings.SECRET_KEY) if word in text]
    # The log has it all, but for the secret.
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    line = logs.LineFormatter().format(record)
    assert "RuntimeError: could not connect" in line
    assert CANARY not in line


def test_f74_a_fault_of_ours_is_told_to_programs_as_a_problem() -> None:
    _, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)

    with broken_inside():
        answer = calling().get("/api/v1/clients/", headers={"authorization": f"Bearer {secret}"})

    assert (answer.status_code, answer["Content-Type"]) == (500, "application/problem+json")
    assert json.loads(answer.content)["code"] == "internal_error"
    assert CANARY not in answer.content.decode()


@pytest.mark.parametrize("path", ["/api/nothing", "/api/v1/payments/4711/"])
def test_a_program_is_told_what_is_not_there_as_a_problem(path: str) -> None:
    answer = calling().get(path, headers={"x-request-id": "trace-4711"})

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert (answer.json()["code"], answer["X-Request-ID"]) == ("not_found", "trace-4711")
    assert (answer.json()["title"], answer.json()["detail"]) == (
        "There is nothing here",
        "There is nothing at this address.",
    )


@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
@pytest.mark.parametrize("path", ["/api/v1/payments", "/api/v1/clients/7", "/api/docs"])
def test_a_program_is_told_of_a_missing_slash_and_not_sent_elsewhere_without_its_body(method: str, path: str) -> None:
    answer = getattr(calling(enforce_csrf_checks=True), method)(path)

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert (answer.json()["code"], answer.json()["detail"]) == (
        "not_found",
        f"There is nothing at this address. It is {path}/ with a slash at its end.",
    )


def test_a_program_that_accepts_no_json_is_told_so() -> None:
    _, secret = create_api_key(name="x", scopes=["read"], actor=ACTOR)

    answer = calling().get("/api/v1/clients/", headers={"authorization": f"Bearer {secret}", "accept": "text/csv"})

    assert (answer.status_code, answer["Content-Type"]) == (406, "application/problem+json")
    assert answer.json()["code"] == "not_acceptable"
    assert answer.json()["title"] == "Answers are application/json, which the request does not accept"


@pytest.mark.parametrize("query", ["status__exact=%00", "q=a%00b", "%00=1"])
def test_a_page_asked_for_with_nul_is_refused_and_no_fault_of_ours(query: str) -> None:
    browser = calling()
    browser.force_login(User.objects.create_superuser("root", "root@example.org"))

    answer = browser.get(f"/admin/payouts/accumulation/?{query}")

    assert answer.status_code == 400
    assert "The request cannot be read." in answer.content.decode()


@pytest.mark.parametrize("host", ["evil.example", "testserver<script>", "a@testserver", ""])
def test_another_host_is_refused_and_fills_no_log(host: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = calling(HTTP_HOST=host).get("/api/v1/clients/")

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == "bad_request"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not [record for record in caplog.records if record.exc_info]


def test_a_form_of_a_thousand_fields_is_refused_and_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    answer = calling().post("/admin/login/", {f"field-{number}": "1" for number in range(1001)})

    assert answer.status_code == 400
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not [record for record in caplog.records if record.exc_info]


def test_a_page_that_is_not_there_asks_the_database_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert calling().get("/nothing").status_code == 404
