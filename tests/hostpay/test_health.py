"""F32: a provider that fails is left alone for a while, longer each time, and everybody can see why."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from config.lib.errors import PermanentError, RateLimitedError, TransientError
from config.lib.money import ETH, USDT
from config.stack.ports import free_port
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, ServiceHealth, Transaction
from hostpay.providers.changenow import ChangeNow
from hostpay.services import explain_payment, health
from hostpay.services.health import EXCHANGE, counted, rest_length, rest_of
from tests.lib.concurrency import crew
from tests.lib.swaps import Swaps, fresh, order_of
from tests.lib.world import World, make_due

pytestmark = pytest.mark.django_db(transaction=True)


def fail(times: int = 1, error: TransientError | None = None) -> None:
    for _ in range(times):
        with pytest.raises(TransientError), counted(EXCHANGE):
            raise error or TransientError("HTTP 503")


def row() -> ServiceHealth:
    return ServiceHealth.objects.get(pk=EXCHANGE)


def let_rest_end() -> None:
    ServiceHealth.objects.update(resting_until=timezone.now() - timedelta(seconds=1))


def test_two_failures_are_borne_and_the_third_brings_a_rest() -> None:
    fail(2)
    assert rest_of(EXCHANGE) is None

    fail()

    rest = rest_of(EXCHANGE)
    assert rest is not None
    assert rest.reason == "changenow rests after 3 failures in a row: HTTP 503"
    assert 10 <= rest.after_s <= 40


def test_a_success_ends_the_count() -> None:
    fail(2)
    with counted(EXCHANGE):
        pass
    fail(2)

    assert rest_of(EXCHANGE) is None
    assert row().failures == 2


def test_a_refusal_is_an_answer_and_the_service_is_well() -> None:
    fail(2)
    with pytest.raises(PermanentError), counted(EXCHANGE):
        raise PermanentError("not with this key")

    assert (row().failures, row().last_error) == (0, "")
    assert row().succeeded_at is not None


def test_after_a_rest_one_tries_and_the_others_wait_for_what_it_finds() -> None:
    fail(3)
    let_rest_end()

    assert rest_of(EXCHANGE) is None
    assert rest_of(EXCHANGE) is not None

    with counted(EXCHANGE):
        pass
    assert rest_of(EXCHANGE) is None
    assert rest_of(EXCHANGE) is None


def test_a_failed_try_makes_the_next_rest_longer() -> None:
    fail(3)
    let_rest_end()
    fail()

    until = row().resting_until
    assert until is not None
    assert timedelta(seconds=40) < until - timezone.now() < timedelta(seconds=76)


def test_the_providers_own_word_is_kept_at_the_first_failure() -> None:
    fail(1, RateLimitedError("too many requests", retry_after_s=120))

    rest = rest_of(EXCHANGE)
    assert rest is not None
    # Less what the look took.
    assert 60 < rest.after_s <= 122


@pytest.mark.parametrize(("failures", "seconds"), [(3, 30), (4, 60), (5, 120), (6, 240), (7, 480), (8, 600), (99, 600)])
def test_rests_double_up_to_ten_minutes_with_a_jitter_of_a_quarter(failures: int, seconds: int) -> None:
    lengths = {rest_length(failures) for _ in range(50)}

    assert min(lengths) >= timedelta(seconds=seconds) * 0.75
    assert max(lengths) <= timedelta(seconds=seconds) * 1.25
    assert len(lengths) > 1


def test_a_healthy_service_is_written_down_once_a_minute_not_at_each_call() -> None:
    with counted(EXCHANGE):
        pass
    first = row().succeeded_at
    with counted(EXCHANGE):
        pass
    assert row().succeeded_at == first

    ServiceHealth.objects.update(succeeded_at=timezone.now() - timedelta(minutes=2))
    with counted(EXCHANGE):
        pass
    assert (row().succeeded_at or timezone.now()) > (first or timezone.now())


def server_errors(swaps: Swaps, settings: Settings) -> None:
    swaps.world.exchange.fault("5xx", match={"path": "/v2/*", "times": None})


def too_many_requests(swaps: Swaps, settings: Settings) -> None:
    swaps.world.exchange.fault("429", match={"path": "/v2/*", "times": None})


def no_tls(swaps: Swaps, settings: Settings) -> None:
    """The sandbox speaks no TLS, so that a handshake with it fails."""
    settings.CHANGENOW_API_URL = swaps.world.exchange.url.replace("http://", "https://")
    gateways.exchange.cache_clear()


def nobody_there(swaps: Swaps, settings: Settings) -> None:
    settings.CHANGENOW_API_URL = f"http://127.0.0.1:{free_port()}"
    gateways.exchange.cache_clear()


@pytest.mark.parametrize("trouble", [server_errors, too_many_requests, no_tls, nobody_there])
def test_f32_an_hour_of_trouble_is_a_few_calls_and_a_visible_wait(
    swaps: Swaps, settings: Settings, trouble: Callable[[Swaps, Settings], None]
) -> None:
    payment = swaps.request()
    trouble(swaps, settings)

    looks, tries = an_hour_of_looks(swaps)

    waiting = fresh(payment)
    assert waiting.status == "requested"
    assert "changenow" in waiting.waiting_reason
    assert waiting.review_reason == ""
    assert waiting.next_action_at is not None
    assert any(not rule.ok and "changenow" in rule.detail for rule in explain_payment(waiting))
    # Three to notice, then after half a minute, a minute, two, four, eight, and every ten minutes.
    assert 7 <= tries <= 16
    assert tries <= looks <= 40
    assert row().failures == tries
    assert swaps.books() == []
    assert not ExchangeOrder.objects.exists()


def test_f32_it_goes_on_by_itself_when_the_provider_is_back(swaps: Swaps, settings: Settings) -> None:
    payment = swaps.request()
    server_errors(swaps, settings)
    for _ in range(3):
        swaps.step()
    assert "rests after 3 failures in a row" in health_words()
    swaps.world.exchange.clear_faults()
    swaps.step()
    assert "changenow rests" in fresh(payment).waiting_reason

    let_rest_end()
    payment = swaps.world.drive_to(payment, "settled")

    assert (row().failures, row().resting_until) == (0, None)
    assert payment.waiting_reason == ""
    assert Transaction.objects.count() == 1


def test_f32_a_payment_whose_money_is_at_the_provider_is_followed_again_after_the_trouble(
    swaps: Swaps, settings: Settings
) -> None:
    payment = swaps.deposited(outcome={"verifying": 0})
    server_errors(swaps, settings)
    for _ in range(5):
        swaps.step()
    resting = fresh(payment)
    assert (resting.status, resting.review_reason) == ("final", "")
    assert "changenow rests" in resting.waiting_reason

    swaps.world.exchange.clear_faults()
    let_rest_end()

    assert swaps.world.drive_to(payment, "settled").received_units == 29_750_000


def test_f32_nothing_is_paid_to_an_order_that_cannot_be_asked_about(swaps: Swaps, settings: Settings) -> None:
    payment = swaps.ordered()
    ExchangeOrder.objects.update(status_changed_at=timezone.now() - timedelta(minutes=2))
    server_errors(swaps, settings)
    for _ in range(4):
        swaps.step()

    assert (fresh(payment).status, "changenow rests" in fresh(payment).waiting_reason) == ("ordered", True)
    assert not Transaction.objects.exists()
    assert order_of(payment).is_current


def an_hour_of_looks(swaps: Swaps) -> tuple[int, int]:
    """Look whenever the payment says it is due, and let the time between pass in the rows; looks, and calls that failed."""
    passed, looks = timedelta(), 0
    while passed < timedelta(hours=1):
        swaps.world.step_all()
        looks += 1
        due = HostPayment.objects.get().next_action_at
        assert due is not None
        gap = max(due - timezone.now(), timedelta(milliseconds=1))
        passed += gap
        until = row().resting_until
        ServiceHealth.objects.update(resting_until=until and until - gap)
        make_due()
    return looks, row().failures


def health_words() -> str:
    rest: Any = rest_of(health.EXCHANGE)
    return "" if rest is None else str(rest.reason)


def test_the_pace_the_provider_allows_is_that_of_all_processes_together(world: World) -> None:
    clients = [gateways.exchange.__wrapped__() for _ in range(4)]
    ServiceHealth.objects.filter(pk=EXCHANGE).delete()
    started = time.monotonic()

    def ask_ten_times(client: ChangeNow) -> None:
        for _ in range(10):
            client.amount_range(from_asset=ETH, to_asset=USDT)

    with crew() as workers:
        for asking in [workers.start(partial(ask_ten_times, client)) for client in clients]:
            asking.result()

    # Fifteen at once, and then fifteen a second: never more than thirty in any second, whoever asks.
    assert 40 / 15 - 1 - 0.1 <= time.monotonic() - started < 60
    assert row().failures == 0
