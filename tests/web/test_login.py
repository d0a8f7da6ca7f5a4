"""Logging in: slow for who guesses, and as talkative to a guesser as a wall."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client as Browser

from payouts.models import FailedTries
from payouts.services import forget_failed_tries, take_turn_to_log_in
from tests.lib.concurrency import crew
from tests.web.test_exports import proved

pytestmark = pytest.mark.django_db

NOON = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
PASSWORD = "a long pass phrase"


@pytest.fixture(autouse=True)
def anna(db: None) -> User:
    return User.objects.create_superuser("anna", "anna@example.org", PASSWORD)


def log_in(password: str = "wrong", username: str = "anna", address: str = "192.0.2.1") -> Any:
    return Browser(REMOTE_ADDR=address).post("/admin/login/", {"username": username, "password": password})


def said(answer: Any) -> str:
    return "".join(answer.context["form"].non_field_errors()) if answer.status_code == 200 else ""


def test_after_five_failures_even_the_right_password_has_to_wait() -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        words = {said(log_in()) for _ in range(5)}
        assert "Too many" not in "".join(words)

        assert said(log_in(PASSWORD)) == "Too many tries. Wait a minute."
        clock.shift(31)
        assert log_in(PASSWORD).status_code == 302


def test_each_further_failure_doubles_the_wait_up_to_a_quarter_of_an_hour() -> None:
    waits = []
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(12):
            wait_s = take_turn_to_log_in(username="anna", address="192.0.2.1")
            if wait_s:
                waits.append(wait_s)
                clock.shift(wait_s)
                assert take_turn_to_log_in(username="anna", address="192.0.2.1") == 0

    assert waits == [30, 60, 120, 240, 480, 900, 900]


def test_waiting_tries_are_not_counted_and_a_success_forgets() -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(5):
            log_in()
        for _ in range(10):
            log_in()
        clock.shift(31)
        assert log_in(PASSWORD).status_code == 302

        assert [said(log_in()) for _ in range(5)].count("Too many tries. Wait a minute.") == 0


def test_one_address_cannot_try_many_names() -> None:
    with time_machine.travel(NOON, tick=False):
        answers = [said(log_in(username=f"name-{number}")) for number in range(21)]

    assert all("Too many" not in each for each in answers[:20])
    assert "Too many" in answers[20]


def test_an_empty_password_forgives_no_guess(caplog: pytest.LogCaptureFixture) -> None:
    with time_machine.travel(NOON, tick=False):
        for _ in range(4):
            log_in()
        assert log_in("").status_code == 200

        assert said(log_in(PASSWORD)) == "Too many tries. Wait a minute."
    assert "logged in" not in caplog.text


def test_an_address_that_has_to_wait_leaves_no_further_rows() -> None:
    with time_machine.travel(NOON, tick=False):
        for number in range(50):
            log_in(username=f"name-{number}")

    # One for each of the twenty that were heard, and one for the address.
    assert FailedTries.objects.count() == 21


def test_nobody_else_is_kept_out() -> None:
    with time_machine.travel(NOON, tick=False):
        for _ in range(6):
            log_in()

        assert log_in(PASSWORD, address="192.0.2.2").status_code == 302


def test_an_ipv6_network_is_one_caller() -> None:
    with time_machine.travel(NOON, tick=False):
        for number in range(5):
            log_in(address=f"2001:db8:0:1::{number}")

        assert "Too many" in said(log_in(address="2001:db8:0:1:ffff::1"))
        assert "Too many" not in said(log_in(address="2001:db8:0:2::1"))


def test_an_ipv6_site_is_one_caller_with_more_room() -> None:
    with time_machine.travel(NOON, tick=False):
        answers = [
            said(log_in(username=f"name-{number}", address=f"2001:db8:1:{number:x}::1")) for number in range(202)
        ]

        assert ["Too many" in each for each in answers] == [False] * 200 + [True] * 2
        assert "Too many" not in said(log_in(address="2001:db8:2::1"))


def test_a_good_log_in_takes_its_try_back_from_every_network() -> None:
    for _ in range(30):
        assert log_in(PASSWORD, address="2001:db8:1:1::1").status_code == 302

    assert {row.failures for row in FailedTries.objects.all()} == {0}


def test_a_name_that_exists_and_one_that_does_not_are_answered_the_same() -> None:
    User.objects.create_user("customer", password=PASSWORD)

    known, unknown, no_staff = log_in(), log_in(username="nobody"), log_in(PASSWORD, username="customer")

    assert said(known) == said(unknown) == said(no_staff) != ""


def test_names_that_were_typed_are_not_kept() -> None:
    log_in(username="my secret password")

    assert not [row for row in FailedTries.objects.all() if "secret" in row.who]


@pytest.mark.django_db(transaction=True)
def test_many_tries_at_once_are_no_way_around() -> None:
    with crew(8) as workers:
        tries = [workers.start(lambda: take_turn_to_log_in(username="anna", address="192.0.2.1")) for _ in range(12)]

    assert sorted(each.result() > 0 for each in tries) == [False] * 5 + [True] * 7


def test_old_failures_are_forgotten() -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(8):
            take_turn_to_log_in(username="anna", address="192.0.2.1")
        clock.shift(timedelta(hours=1, seconds=1))
        assert [take_turn_to_log_in(username="anna", address="192.0.2.1") for _ in range(5)] == [0] * 5
        clock.shift(timedelta(days=1, seconds=1))
        assert forget_failed_tries() == 2


def test_f73_a_session_that_was_left_open_is_no_place_to_guess_its_owners_password() -> None:
    browser = Browser(REMOTE_ADDR="192.0.2.1")
    browser.post("/admin/login/", {"username": "anna", "password": PASSWORD})

    def change(old: str) -> Any:
        new = {"new_password1": "an evil pass phrase", "new_password2": "an evil pass phrase"}
        return browser.post("/admin/password_change/", {"old_password": old, **new})

    guesses = [change("guess") for _ in range(5)]
    late = change(PASSWORD)

    assert {answer.context["form"].errors["old_password"][0] for answer in guesses} == {"This is not your password."}
    assert late.context["form"].errors["old_password"] == ["Too many tries. Wait 1 minute."]
    assert User.objects.get().check_password(PASSWORD)


def test_who_knows_the_old_password_changes_it_and_stays_logged_in() -> None:
    browser = Browser(REMOTE_ADDR="192.0.2.1")
    browser.post("/admin/login/", {"username": "anna", "password": PASSWORD})
    new = "another long pass phrase"
    assert 'name="old_password"' in browser.get("/admin/password_change/").content.decode()

    answer = browser.post(
        "/admin/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    )

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/password_change/done/")
    assert User.objects.get().check_password(new)
    assert browser.get("/admin/").status_code == 200


def test_an_operator_lets_somebody_try_again_at_once() -> None:
    operator = Browser()
    operator.force_login(User.objects.get())
    proved(operator)
    for _ in range(6):
        log_in()
    rows = FailedTries.objects.all()

    for row in rows:
        url = f"/admin/payouts/failedtries/{row.pk}/do/forget/"
        token = re.search(r'name="token" value="([^"]+)"', operator.get(url).content.decode())
        assert token is not None
        operator.post(url, {"token": token[1], "reason": "it was the colleague next door"})

    assert log_in(PASSWORD).status_code == 302
