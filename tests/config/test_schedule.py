"""What beat is told, and what reaches its messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import signals
from django_celery_beat.schedulers import DatabaseScheduler

from config.celery import app
from config.schedule import SCHEDULE

# Beat closes its connections as it goes, which nobody may do to a test's transaction.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scheduler() -> Any:
    """Beat's own, as it stands after its start."""
    app.finalize()
    made = DatabaseScheduler(app=app, lazy=True)
    made.setup_schedule()
    return made


def test_f46_what_beat_sends_while_no_worker_runs_does_not_pile_up(scheduler: Any) -> None:
    sent: dict[str, dict[str, Any]] = {}
    around: dict[str, tuple[datetime, datetime]] = {}

    def note(sender: str, headers: dict[str, Any], **_rest: object) -> None:
        sent[sender] = headers

    signals.before_task_publish.connect(note)
    try:
        for entry in SCHEDULE:
            before = datetime.now(UTC)
            scheduler.apply_async(scheduler.schedule[entry.name], advance=False)
            around[entry.task] = (before, datetime.now(UTC))
    finally:
        signals.before_task_publish.disconnect(note)

    assert set(sent) == {entry.task for entry in SCHEDULE}
    for entry in SCHEDULE:
        before, after = around[entry.task]
        expires = datetime.fromisoformat(sent[entry.task]["expires"])
        assert before <= expires - timedelta(seconds=max(entry.every_s, 10)) <= after


def test_every_entry_names_a_task_that_exists() -> None:
    app.loader.import_default_modules()

    assert {entry.task for entry in SCHEDULE} <= set(app.tasks)
