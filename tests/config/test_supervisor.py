"""The supervisor: order, restarts, giving up, stopping; with small programs of its own, no database."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from config.stack.console import Console
from config.stack.part import Part, RestartPolicy
from config.stack.paths import PROJECT_ROOT, State
from config.stack.processes import is_running, tied_to_us
from config.stack.status import AlreadyRunningError, StateLock, read_status
from config.stack.supervisor import Supervisor

FAST = RestartPolicy(first_wait_s=0.02, longest_wait_s=0.05, give_up_after=4, window_s=30)


def program(code: str) -> Callable[[], list[str]]:
    return lambda: tied_to_us([sys.executable, "-c", code])


def part(name: str, code: str, **more: object) -> Part:
    facts: dict[str, object] = {"environment": lambda: {"PATH": os.defpath}, "stop_within_s": 30.0, **more}
    return Part(name=name, command=program(code), **facts)  # type: ignore[arg-type]


def sleeper(name: str, *, says: str = "ready", **more: object) -> Part:
    return part(name, f"import time; print({says!r}, flush=True); time.sleep(60)", ready_words="ready", **more)


class Stack:
    """A supervisor on a folder, and what it said."""

    def __init__(self, folder: Path, parts: list[Part]) -> None:
        self.state = State(folder)
        self.state.make()
        self.said = io.StringIO()
        self.console = Console(self.state.log, [each.name for each in parts], stream=self.said)
        self.supervisor = Supervisor(parts, state=self.state, console=self.console, policy=FAST)
        self.status_when_ready: dict[str, dict[str, object]] = {}

    def run(self, story: Callable[["Stack"], Awaitable[int | None]] | None = None) -> int:
        async def once_ready() -> int | None:
            self.status_when_ready = self.status()
            return await story(self) if story else 0

        try:
            return asyncio.run(asyncio.wait_for(self.supervisor.run(once_ready=once_ready), 120))
        finally:
            self.console.close()

    def status(self) -> dict[str, dict[str, object]]:
        return {line["name"]: line for line in read_status(self.state)}

    def lines(self, name: str) -> list[str]:
        return [line.partition("| ")[2] for line in self.said.getvalue().splitlines() if line.startswith(f"{name} ")]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


def test_it_starts_in_order_and_stops_in_reverse(tmp_path: Path) -> None:
    log = tmp_path / "order"

    def noting(name: str, *after: str) -> Part:
        code = (
            "import signal, sys, time\n"
            f"def note(text): open({os.fspath(log)!r}, 'a').write(text + ' {name}\\n')\n"
            "def stop(*_): time.sleep(0.1); note('stopped'); sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, stop)\n"
            "note('started'); print('ready', flush=True)\n"
            "time.sleep(60)\n"
        )
        return part(name, code, ready_words="ready", after=after)

    code = Stack(tmp_path / "state", [noting("c", "b"), noting("a"), noting("b", "a")]).run()

    assert code == 0
    assert log.read_text().splitlines() == [
        "started a",
        "started b",
        "started c",
        "stopped c",
        "stopped b",
        "stopped a",
    ]


def test_it_tells_what_runs_and_that_nothing_runs_afterwards(tmp_path: Path) -> None:
    stack = Stack(tmp_path, [sleeper("one", place="127.0.0.1:1"), part("step", "print('done')", once=True)])

    assert stack.run() == 0

    one, step = stack.status_when_ready["one"], stack.status_when_ready["step"]
    assert one | {"pid": 0} == {"name": "one", "pid": 0, "place": "127.0.0.1:1", "state": "running", "restarts": 0}
    assert step == {"name": "step", "pid": None, "place": "", "state": "done", "restarts": 0}
    assert not is_running(int(str(one["pid"])))
    assert stack.status()["one"]["state"] == "stopped"


def test_it_starts_again_what_was_killed_and_leaves_the_others_alone(tmp_path: Path) -> None:
    stack = Stack(tmp_path, [sleeper("one"), sleeper("two", after=("one",))])

    async def story(stack: Stack) -> int:
        before = stack.status()
        os.kill(int(str(before["one"]["pid"])), signal.SIGKILL)
        await until(lambda: stack.status()["one"]["state"] == "running" and stack.status()["one"]["restarts"] == 1)
        after = stack.status()
        assert after["one"]["pid"] != before["one"]["pid"]
        assert after["two"] == before["two"]
        return 7

    assert stack.run(story) == 7
    assert "one ended with exit code -9; starting it again in 0.02 s" in stack.lines("stack")


def test_it_gives_up_when_starting_again_does_not_help(tmp_path: Path) -> None:
    stack = Stack(tmp_path, [sleeper("good"), part("bad", "import sys; print('no way'); sys.exit(3)", ready_words="x")])

    assert stack.run() == 1

    assert stack.lines("bad") == ["no way"] * 4
    assert stack.lines("stack")[-1] == f"bad ended 4 times in 30 s. Its log: {tmp_path}/log/bad.log"
    assert stack.status()["good"]["state"] == "stopped"
    assert stack.status()["bad"]["state"] == "failed"


def test_it_stops_when_a_step_fails_and_starts_nothing_that_needs_it(tmp_path: Path) -> None:
    step = part("step", "import sys; sys.exit(2)", once=True)
    stack = Stack(tmp_path, [step, sleeper("after", after=("step",))])

    assert stack.run() == 1

    assert stack.lines("after") == []
    assert stack.lines("stack") == [f"the step step failed with exit code 2. Its log: {tmp_path}/log/step.log"]


def test_it_reports_the_error_of_a_preparation_without_a_traceback(tmp_path: Path) -> None:
    def prepare() -> None:
        raise PermissionError("the folder is closed")

    stack = Stack(tmp_path, [sleeper("one", prepare=prepare, telling_errors=(OSError,))])

    assert stack.run() == 1
    assert stack.lines("stack") == [f"the folder is closed. Its log: {tmp_path}/log/one.log"]


def test_it_kills_what_does_not_stop_and_what_that_left_behind(tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({os.fspath(child_file)!r}, 'w').write(str(child.pid))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    stack = Stack(tmp_path / "state", [part("deaf", code, ready_words="ready", stop_within_s=0.3)])

    assert stack.run() == 0

    assert stack.lines("stack") == ["deaf did not stop when asked; killed"]
    deadline = time.monotonic() + 30
    while is_running(int(child_file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_hurries_at_the_second_signal(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    stack = Stack(tmp_path, [part("deaf", code, ready_words="ready", stop_within_s=60.0)])

    tasks = []

    async def hurry() -> None:
        await until(lambda: stack.status()["deaf"]["state"] == "stopping")
        os.kill(os.getpid(), signal.SIGINT)

    async def story(_stack: Stack) -> None:
        # A task of its own: the stack's end cancels this one.
        tasks.append(asyncio.create_task(hurry()))
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    assert stack.run(story) == 0
    assert time.monotonic() - began < 50
    assert stack.lines("stack") == ["stopping; once more to hurry", "hurrying", "deaf did not stop when asked; killed"]


def test_it_cuts_an_endless_line_and_keeps_its_logs_small(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('x' * 40_000_000); sys.stdout.flush()"
    stack = Stack(tmp_path, [part("loud", code, once=True)])
    stack.console.is_quiet = True

    assert stack.run() == 0

    sizes = [file.stat().st_size for file in (tmp_path / "log").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 6 * 1024 * 1024


def test_a_state_folder_holds_one_stack(tmp_path: Path) -> None:
    first, second = StateLock(State(tmp_path)), StateLock(State(tmp_path))
    first.take()

    with pytest.raises(AlreadyRunningError, match=rf"already running on {tmp_path} \(pid {os.getpid()}\)"):
        second.take()

    first.release()
    second.take()
    second.release()


def test_a_status_of_processes_that_are_gone_says_so(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.make()
    lost = {
        "name": "web",
        "pid": os.getpid(),
        "started": "another time",
        "place": "",
        "state": "running",
        "restarts": 0,
    }
    state.status_file.write_text(json.dumps({"pid": 1, "started": "another time", "parts": [lost]}))

    assert read_status(state) == [{"name": "web", "pid": None, "place": "", "state": "gone", "restarts": 0}]


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from tests.config.test_supervisor import Stack, sleeper\n"
        "import asyncio\n"
        "async def story(stack): await asyncio.sleep(60)\n"
        f"Stack(Path({os.fspath(tmp_path)!r}), [sleeper('one'), sleeper('two')]).run(story)\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_ROOT)
    state = State(tmp_path)
    deadline = time.monotonic() + 60
    while [line["state"] for line in read_status(state)] != ["running", "running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [line["pid"] for line in read_status(state)]

    supervisor.kill()
    supervisor.wait()

    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [line["state"] for line in read_status(state)] == ["gone", "gone"]
