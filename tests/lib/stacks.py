"""A whole sandbox stack in processes of its own, for tests that break parts of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.stack.paths import PROJECT_ROOT, State
from config.stack.processes import started_at
from config.stack.status import read_status

PATIENCE_S = 300
# A machine with other work to do may need minutes for what takes seconds.
_READY_S = 240


@dataclass(frozen=True)
class Stack:
    """A whole sandbox stack in processes of its own."""

    state: State
    process: subprocess.Popen[bytes]
    given: Mapping[str, str] = field(default_factory=dict)

    def pid_of(self, part: str) -> int | None:
        for line in read_status(self.state):
            if line["name"] == part:
                pid: int | None = line["pid"]
                return pid
        raise AssertionError(f"the stack has no part {part}")

    def parts(self) -> list[dict[str, Any]]:
        return read_status(self.state)

    def is_ready(self) -> bool:
        parts = read_status(self.state)
        return bool(parts) and all(part["state"] in {"running", "done"} for part in parts)

    def manage(self, *arguments: str, timeout_s: int = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT_ROOT,
            env=_environment(self.state, self.given),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def _environment(state: State, given: Mapping[str, str]) -> dict[str, str]:
    # Neither the test database nor the test settings: the stack is a stack of its own.
    left_out = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "CELERY_BROKER_URL")
    return {
        **{name: value for name, value in os.environ.items() if name not in left_out},
        **given,
        "STATE": os.fspath(state.root),
        "MODE": "sandbox",
    }


@contextmanager
def running_stack(folder: Path, given: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack with its state in `folder`, and with what is `given` in its environment.

    At the end it must stop within a minute and leave no process behind.
    """
    state = State(folder)
    log = (folder / "runstack.log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable,
            "manage.py",
            "runstack",
            "--port",
            "0",
            "--state",
            os.fspath(folder),
            "--with-parent",
            "--feed",
            "0",
        ],
        cwd=PROJECT_ROOT,
        env=_environment(state, given or {}),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    running = Stack(state, process, given or {})
    try:
        deadline = time.monotonic() + _READY_S
        while not running.is_ready():
            assert process.poll() is None, (folder / "runstack.log").read_text()[-4000:]
            assert time.monotonic() < deadline, (folder / "runstack.log").read_text()[-4000:]
            time.sleep(0.2)
        yield running
    finally:
        pids = [(part["pid"], started_at(part["pid"])) for part in read_status(state) if part["pid"]]
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=120) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
        finally:
            process.kill()
            log.close()
        assert [pid for pid, started in pids if started_at(pid) == started] == [], "processes were left behind"
