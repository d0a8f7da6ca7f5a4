"""Callers who prove nothing: whom they are counted for, what they may send, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client as Browser
from pytest_django import DjangoAssertNumQueries, Settings

from payouts.models import FailedTries, InboundEvent, TryKind
from payouts.services import rejected_totals, unproven
from payouts.services import shut_out as shutting_out
from payouts.services.callers import counted_as
from payouts.services.shut_out import ShutOut
from payouts.services.unproven import shut_out
from tests.lib.concurrency import crew
from tests.payouts.sending import URL, client, payment, post, send

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_look_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers outlasts a test of it on any machine, and no row is the one in 64 that is tidied up after."""
    monkeypatch.setattr(shutting_out, "_LOOKED_AT_EVERY_S", 600.0)
    monkeypatch.setattr(unproven, "_TRIMMED_EVERY", 10**12)


def unsigned(address: str = "192.0.2.1", url: str = URL) -> Any:
    return Browser(REMOTE_ADDR=address).post(url, b"{}", content_type="application/json")


@pytest.mark.parametrize(
    ("address", "callers"),
    [
        ("192.0.2.1", (("192.0.2.1", 1),)),
        ("2001:db8:1:2:3:4:5:6", (("2001:db8:1::/48", 10), ("2001:db8:1:2::/64", 1))),
        # The same caller in other clothes: mapped, by a tunnel, by a translator.
        ("::ffff:192.0.2.1", (("192.0.2.1", 1),)),
        ("2002:c000:201:7::1", (("192.0.2.1", 1),)),
        ("64:ff9b::c000:201", (("192.0.2.1", 1),)),
        ("fe80::1%eth0", (("fe80::/48", 10), ("fe80::/64", 1))),
        # Through a socket file, or nonsense.
        ("", (("nobody", 1),)),
        ("unknown", (("nobody", 1),)),
    ],
)
def test_f12_an_address_is_counted_as_its_owner(address: str, callers: tuple[tuple[str, int], ...]) -> None:
    assert counted_as(address) == callers


def test_f12_a_site_of_ipv6_has_a_bound_of_its_own_however_many_lines_it_uses(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 2

    answers = [unsigned(f"2001:db8:1:{line:x}::1").status_code for line in range(22)]

    assert answers == [401] * 20 + [429] * 2
    assert InboundEvent.objects.count() == 20
    assert rejected_totals() == [("api", "signature", 21)]
    assert unsigned("2001:db8:2::1").status_code == 401
    # The next one that is looked at brings the figures up to date.
    assert rejected_totals() == [("api", "signature", 23)]


def test_f12_a_line_of_ipv6_that_is_shut_out_shuts_out_no_neighbour(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 2

    answers = [unsigned("2001:db8:1:1::1").status_code for _ in range(50)]

    assert answers == [401] * 2 + [429] * 48
    assert unsigned("2001:db8:1:2::1").status_code == 401


@pytest.mark.parametrize("url", [URL, "/api/v1/webhooks/nowpayments/"])
def test_f12_a_refused_delivery_costs_one_statement_and_none_beyond_the_bound(
    settings: Settings, django_assert_num_queries: DjangoAssertNumQueries, url: str
) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 2
    InboundEvent.objects.all().delete()

    for _ in range(3):
        with django_assert_num_queries(1):
            unsigned(url=url)
    with django_assert_num_queries(0):
        assert [unsigned(url=url).status_code for _ in range(20)] == [429] * 20


def test_f12_a_wrong_key_costs_a_statement_and_none_beyond_the_bound(
    settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 1

    def ask() -> int:
        return Browser().get("/api/v1/clients/", headers={"authorization": "Bearer sk_no_key_at_all"}).status_code

    with django_assert_num_queries(2):
        assert [ask() for _ in range(2)] == [401, 429]
    with django_assert_num_queries(0):
        assert [ask() for _ in range(20)] == [429] * 20


def test_f12_what_one_process_has_found_out_holds_for_another_that_knows_nothing(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 2
    for _ in range(3):
        unsigned()

    shut_out.forget()

    assert unsigned().status_code == 429
    assert FailedTries.objects.get(kind=TryKind.SIGNATURE).failures == 4


def test_f12_what_is_signed_is_taken_from_a_site_that_is_shut_out(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 1
    client()
    for _ in range(3):
        post(b"{}", {})

    assert send(payment()).status_code == 201


def test_a_count_that_did_not_reach_the_database_is_told_the_next_time() -> None:
    remembered = ShutOut()
    remembered.count(("api", "stale"))

    with pytest.raises(OperationalError), remembered.uncounted(also=("api", "signature")):
        raise OperationalError

    with remembered.uncounted(also=("api", "signature")) as told:
        assert told == {("api", "stale"): 1, ("api", "signature"): 2}
    with remembered.uncounted(also=("api", "stale")) as told:
        assert told == {("api", "stale"): 1}


def test_f12_a_flood_is_bounded_before_the_sweep_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unproven, "_TRIMMED_EVERY", 1)
    monkeypatch.setattr(unproven, "UNAUTHENTIC_KEPT", 2)

    for number in range(4):
        unsigned(f"192.0.2.{number}")

    assert InboundEvent.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_counted_exactly(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 10

    with crew(8) as workers:
        tries = [workers.start(lambda: unsigned("2001:db8:1:1::1").status_code) for _ in range(30)]

    assert sorted(each.result() for each in tries) == [401] * 10 + [429] * 20
    assert InboundEvent.objects.count() == 10
