"""`X-Request-ID`: one name for a request, in the answer and in the log."""

import logging
import re

import pytest
from django.test import Client as Browser

from config import logs
from tests.payouts.sending import payment, send

pytestmark = pytest.mark.django_db


def test_an_answer_has_an_id_of_its_own() -> None:
    first, second = Browser().get("/livez")["X-Request-ID"], Browser().get("/livez")["X-Request-ID"]

    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert first != second


def test_the_caller_names_its_request() -> None:
    answer = Browser().get("/livez", headers={"x-request-id": "trace-4711.a"})

    assert answer["X-Request-ID"] == "trace-4711.a"


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "two words", 'quote"quote', "umlaut-ä-here"])
def test_what_would_harm_a_log_is_no_id(given: str) -> None:
    assert Browser().get("/livez", headers={"x-request-id": given})["X-Request-ID"] != given


def test_a_refusal_has_one_too() -> None:
    answer = Browser().get("/api/v1/nothing/", headers={"x-request-id": "trace-4711.a"})

    assert (answer.status_code, answer["X-Request-ID"]) == (404, "trace-4711.a")


def test_log_lines_name_the_request_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    lines = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logs.LineFormatter().format(record))

    handler = Keeping()
    logger = logging.getLogger("payouts.api.payments")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, logger.name)
    try:
        answer = send(payment(client_id="nobody"))
        logger.info("between requests")
    finally:
        logger.removeHandler(handler)

    refused, between = lines
    assert f"request_id={answer['X-Request-ID']}" in refused
    assert "request_id" not in between
