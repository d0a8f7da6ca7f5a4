"""Rules that no linter knows: what a task is, and what it may be told."""

from __future__ import annotations

import inspect
from typing import Any

from config.celery import app

_OURS = ("batches.", "config.", "hostpay.", "payouts.")
# A message lies in the broker and in its logs: ids, and who asks for what and why.
_MAY_BE_TOLD = {"payment_id", "payment_pk", "event_id", "scope", "username", "reason"}


def ours() -> dict[str, Any]:
    app.loader.import_default_modules()
    found = {name: task for name, task in app.tasks.items() if name.startswith(_OURS)}
    assert len(found) > 10
    return found


def test_f74_a_task_is_told_ids_and_nothing_that_could_be_secret() -> None:
    told = {name: set(inspect.signature(task.run).parameters) - _MAY_BE_TOLD for name, task in ours().items()}

    assert {name: more for name, more in told.items() if more} == {}


def test_a_task_keeps_no_result_and_leaves_trying_again_to_the_sweep() -> None:
    for name, task in ours().items():
        assert task.ignore_result, name
        assert not getattr(task, "autoretry_for", ()), name
        assert "retry" not in inspect.getsource(task.run), name
