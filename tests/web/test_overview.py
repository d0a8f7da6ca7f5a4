"""The admin's home."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from config.admin_site.overview import next_check
from config.lib.adminkit import cells, charts
from config.lib.money import usd_text
from hostpay import gateways
from tests.factories import accumulation
from tests.web.scene import Scene


def home(client: Client) -> str:
    answer = client.get(reverse("admin:index"))
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_shows_the_pool_against_its_threshold(scene: Scene, operator: Client) -> None:
    page = home(operator)

    assert "$18.75" in page
    assert "18 %; $81.25 below the threshold." in page
    assert 'aria-valuenow="18"' in page
    assert "every 15 min" in page


def test_it_shows_what_needs_a_person(scene: Scene, operator: Client) -> None:
    page = operator.get(reverse("admin:needs_me")).content.decode()

    assert "less arrived than the policy allows" in page
    assert "paid twice?" in page
    assert "the database went away" in page
    assert "an unknown nonce" in page
    assert page.index("an unknown nonce") < page.index("paid twice?")


def test_it_shows_the_wallet_and_what_is_stopped(scene: Scene, operator: Client) -> None:
    page = home(operator)

    assert "12,004.118220 USDT" in page
    assert "1.8342 ETH" in page
    assert "Paused: new signatures" in page
    assert "keystore rotation" in page
    assert "SANDBOX" in page


@pytest.mark.django_db(transaction=True)
def test_it_opens_when_the_node_is_down_and_asks_it_once(operator: Client, settings: Settings) -> None:
    cache.clear()
    gateways.node.cache_clear()
    settings.ETH_RPC_URLS = ["http://127.0.0.1:9"]
    try:
        page = home(operator)
    finally:
        gateways.node.cache_clear()

    assert "The balances could not be read" in page
    assert "ETH</dt>" not in page
    settings.ETH_RPC_URLS = ["http://127.0.0.1:10"]
    assert "The balances could not be read" in home(operator)


def test_it_costs_a_bounded_number_of_queries(scene: Scene, operator: Client) -> None:
    home(operator)
    with CaptureQueriesContext(connection) as queries:
        home(operator)
    assert len(queries) <= 45, len(queries)


def test_it_shows_no_figures_to_who_may_not_see_them(scene: Scene) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))

    page = home(client)

    assert "$18.75" not in page
    assert "paid twice?" not in page
    assert client.get(reverse("admin:needs_me")).status_code == 403


def test_it_says_when_the_check_is_switched_off(scene: Scene) -> None:
    assert next_check(None).note == "every 15 min"
    PeriodicTask.objects.update(enabled=False)
    assert next_check(None).at is None
    assert next_check(None).note == "switched off in the schedule"
    PeriodicTask.objects.all().delete()
    assert next_check(None).note == "beat has not started yet"


def test_it_finds_objects_by_their_whole_id(scene: Scene, operator: Client) -> None:
    for term in (str(scene.done.pk), "order-1", scene.held.payment_id):
        answer = operator.get(reverse("admin:search"), {"s": term, "extended": "1"})
        assert "/change/" in answer.content.decode(), term
    assert "/change/" not in operator.get(reverse("admin:search"), {"s": "order-", "extended": "1"}).content.decode()


def test_it_finds_what_is_written_in_capitals(scene: Scene, operator: Client) -> None:
    accumulation(5, payment_id="Pay-7X")

    answer = operator.get(reverse("admin:search"), {"s": "Pay-7X", "extended": "1"})

    assert "Pay-7X" in answer.content.decode()


@pytest.mark.parametrize("page", ["x", "0", "99", "-1", "\u0661"])
def test_a_page_of_the_search_that_there_is_not_is_not_found(operator: Client, page: str) -> None:
    assert operator.get(reverse("admin:search"), {"s": "batch", "page": page}).status_code == 404


def test_it_writes_amounts_exactly() -> None:
    assert usd_text(Decimal("1234.5")) == "$1,234.50"
    assert usd_text(Decimal("0.12345678")) == "$0.12345678"
    assert cells.usdt_text(12_004_118_220) == "12,004.118220"
    assert ">0.133210… ETH<" in cells.eth(133_210_000_000_000_001)
    assert "0.133210000000000001 ETH" in cells.eth(133_210_000_000_000_001)
    assert ">1 ETH<" in cells.eth(10**18)
    assert ">23.411002113 gwei<" in cells.gwei(23_411_002_113)


def test_it_shortens_ids_and_escapes_them() -> None:
    shown = cells.short("0x1234567890abcdef1234567890abcdef12345678")
    assert ">0x123456…5678<" in shown
    assert 'data-copy="0x1234567890abcdef1234567890abcdef12345678"' in shown
    assert "<script>" not in cells.short("<script>alert(1)</script>")


def test_it_shows_what_payment_systems_number_whole() -> None:
    assert ">order-1795660141<" in cells.short("order-1795660141")
    assert ">2dd4c0…0f3a<" in cells.short("2dd4c033-9d2a-4a3c-8f2e-3a3f1b0f0f3a")


def test_it_says_when_and_how_often_in_words() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert [cells.relative(noon + timedelta(seconds=each), now=noon) for each in (-1, 0, 90)] == [
        "1 s ago",
        "now",
        "in 1 min",
    ]
    assert [cells.times(each) for each in (0, 1, 2, 3000)] == ["never", "once", "twice", "3,000 times"]


def test_it_draws_a_line_only_from_two_samples() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    first = charts.Sample(at=now, value=Decimal(10))
    assert charts.line([first], threshold=Decimal(100), name="x") == ""
    drawn = charts.line(
        [first, charts.Sample(at=now + timedelta(hours=1), value=Decimal(110), drops_to=Decimal(0), url="/b")],
        threshold=Decimal(100),
        name="x",
    )
    assert 'd="M0 190 L800 190 L800 90 L800 200"' in drawn.replace("\n", " ")
    assert 'href="/b"' in drawn
