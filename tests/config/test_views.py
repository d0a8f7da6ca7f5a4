"""Whether the program is alive and does its work."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from config.celery import app
from config.schedule import SCHEDULE
from hostpay.models import Heartbeat, ServiceHealth

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


def planned(name: str, *, every_s: int, **columns: Any) -> None:
    """A line of beat's own table."""
    (entry,) = [entry for entry in SCHEDULE if entry.task.endswith(f".{name}")]
    interval, _ = IntervalSchedule.objects.get_or_create(every=every_s, period="seconds")
    PeriodicTask.objects.create(name=entry.name, task=entry.task, interval=interval, **columns)


@pytest.mark.parametrize(("every_s", "status"), [(900, 503), (7200, 200)])
def test_it_judges_by_the_interval_that_an_operator_set(every_s: int, status: int) -> None:
    planned("check_threshold", every_s=every_s)
    beat("sweep_payments", seconds_ago=5)
    beat("check_threshold", seconds_ago=7300)

    assert readiness()[0] == status


def test_it_is_ready_though_an_operator_switched_something_off() -> None:
    planned("check_threshold", every_s=900, enabled=False)
    beat("sweep_payments", seconds_ago=5)
    beat("check_threshold", seconds_ago=90_000)

    status, checks = readiness()

    assert (status, checks["check_threshold"]["detail"]) == (200, "switched off in the schedule")


@pytest.mark.parametrize(("sweeps", "failed"), [(180, []), (181, ["check_threshold"])])
def test_work_that_never_ran_is_missed_from_the_first_sweep_on(sweeps: int, failed: list[str]) -> None:
    for entry in SCHEDULE:
        if not entry.task.endswith((".sweep_payments", ".check_threshold")):
            beat(entry.task.rpartition(".")[2], seconds_ago=1)
    planned("sweep_payments", every_s=15, total_run_count=sweeps)
    beat("sweep_payments", seconds_ago=1)

    status, checks = readiness()

    assert (status, failing(checks)) == (503 if failed else 200, failed)


def test_it_stays_ready_for_payments_while_node_and_exchange_are_away() -> None:
    beat("sweep_payments", seconds_ago=5)
    Heartbeat.objects.create(name="check_chain_invariants", failed_at=timezone.now(), last_error="TransientError")
    ServiceHealth.objects.create(name="changenow", failures=4, last_error="POST https://secret.example timed out")

    answer = Browser().get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert [name for name, note in answer.json()["notes"].items() if not note["ok"]] == [
        "provider",
        "check_chain_invariants",
    ]
    assert "secret.example" not in answer.content.decode()


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
