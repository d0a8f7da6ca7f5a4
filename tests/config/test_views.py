"""Whether the program is alive and does its work."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone

from config.celery import app
from hostpay.models import Heartbeat

pytestmark = pytest.mark.django_db


def beat(name: str, *, seconds_ago: int) -> None:
    Heartbeat.objects.create(name=name, succeeded_at=timezone.now() - timedelta(seconds=seconds_ago))


def readiness() -> tuple[int, dict[str, Any]]:
    answer = Browser().get("/readyz")
    return answer.status_code, answer.json()["checks"]


def failing(checks: dict[str, Any]) -> list[str]:
    return [name for name, check in checks.items() if not check["ok"]]


def test_it_is_alive_without_asking_anybody(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = Browser().get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer["Cache-Control"]


def test_it_is_ready_when_everything_works() -> None:
    beat("sweep_payments", seconds_ago=5)
    beat("check_threshold", seconds_ago=900)

    status, checks = readiness()

    assert (status, failing(checks)) == (200, [])
    assert set(checks) >= {"database", "broker", "sweep_payments", "check_threshold", "bound_rejected_events"}


def test_it_is_not_ready_when_the_sweep_never_ran() -> None:
    status, checks = readiness()

    assert (status, failing(checks)) == (503, ["sweep_payments"])


@pytest.mark.parametrize(("name", "seconds"), [("sweep_payments", 62), ("check_threshold", 2702)])
def test_it_is_not_ready_when_scheduled_work_has_fallen_silent(name: str, seconds: int) -> None:
    for one in {"sweep_payments", name}:
        beat(one, seconds_ago=seconds if one == name else 0)

    status, checks = readiness()

    assert (status, failing(checks)) == (503, [name])


def test_it_is_not_ready_when_scheduled_work_only_ever_failed() -> None:
    beat("sweep_payments", seconds_ago=0)
    Heartbeat.objects.create(name="check_threshold", failed_at=timezone.now())

    status, checks = readiness()

    assert (status, failing(checks)) == (503, ["check_threshold"])


def test_it_is_not_ready_without_a_broker_and_does_not_say_where_it_was_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    beat("sweep_payments", seconds_ago=0)
    connect = app.connection_for_read
    gone = "redis+socket:///nowhere/hidden-socket-path"
    monkeypatch.setattr(app, "connection_for_read", lambda **options: connect(gone, **options))

    status, checks = readiness()

    assert (status, failing(checks)) == (503, ["broker"])
    assert "hidden" not in checks["broker"]["detail"]


@pytest.mark.parametrize(("path", "kind"), [("/api/nothing", "application/problem+json"), ("/nothing", "text/html")])
def test_what_is_not_there_is_told_to_programs_as_a_problem(path: str, kind: str) -> None:
    answer = Browser().get(path)

    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (404, kind)
