"""`runstack` as a person starts it: the command, its servers, its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from config.stack.paths import PROJECT_ROOT, State, read_env_file
from config.stack.ports import HOST, free_port
from config.stack.processes import is_running
from config.stack.status import read_status
from config.stack.values import generated_secrets, part_environment, signer_environment

pytestmark = [pytest.mark.slow, pytest.mark.embedded]

# A machine with other work to do may need minutes for what takes seconds.
START_TIME_LIMIT_S = 180


def environment(**more: str) -> dict[str, str]:
    """A person's: without what the tests set for themselves, and without the servers CI may offer."""
    ours = {"STATE", "MODE", "DJANGO_SETTINGS_MODULE", "DATABASE_URL", "CELERY_BROKER_URL", "SLUICE_TEST_STATE"}
    return {name: value for name, value in os.environ.items() if name not in ours} | more


def manage(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT_ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIME_LIMIT_S,
    )


class RunningStack:
    def __init__(self, folder: Path, *arguments: str, **more: str) -> None:
        self.state = State(folder)
        self.log = folder.with_suffix(".out")
        command = [sys.executable, "manage.py", "runstack", "--port", "0", "--state", os.fspath(folder), *arguments]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=PROJECT_ROOT, env=environment(**more), stdout=output, stderr=subprocess.STDOUT
            )

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + START_TIME_LIMIT_S
        while words not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def status(self) -> dict[str, dict[str, Any]]:
        return {part["name"]: part for part in read_status(self.state)}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)


@pytest.fixture
def servers(short_folder: Path) -> Iterator[RunningStack]:
    stack = RunningStack(short_folder / "state", "--only", "postgres,redis")
    stack.wait_for("| ready")
    yield stack
    if stack.process.poll() is None:
        stack.stop()


def test_it_tells_its_parts_and_stops_cleanly_at_ctrl_c(servers: RunningStack) -> None:
    printed = manage("runstack", "--status", "--state", os.fspath(servers.state.root)).stdout
    told = {part["name"]: part for part in json.loads(printed)}

    assert [(name, part["state"], part["restarts"]) for name, part in told.items()] == [
        ("postgres", "running", 0),
        ("redis", "running", 0),
    ]
    assert all(is_running(part["pid"]) for part in told.values())

    assert servers.stop() == 0

    assert not any(is_running(part["pid"]) for part in told.values())
    assert {part["state"] for part in servers.status().values()} == {"stopped"}
    assert "database system is shut down" in (servers.state.log / "postgres.log").read_text()


def test_a_server_that_only_dotenv_names_is_not_started_beside_it(tmp_path: Path) -> None:
    (tmp_path / "dotenv").write_text("DATABASE_URL=postgres://u@127.0.0.1:1/x\n")

    done = manage("runstack", "--only", "postgres", "--state", os.fspath(tmp_path / "state"), "--port", "0",
                  ENV_FILE=os.fspath(tmp_path / "dotenv"))  # fmt: skip

    assert done.returncode == 1
    assert "unknown part: postgres. The parts are: redis, chain" in done.stderr


def test_a_temporary_stack_leaves_the_servers_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "dotenv").write_text("DATABASE_URL=postgres://u@127.0.0.1:1/x\n")

    done = manage("runstack", "--temporary", "--port", "0", "--only", "postgres,redis", "--run", "check --database default",
                  ENV_FILE=os.fspath(tmp_path / "dotenv"), CELERY_BROKER_URL="redis://127.0.0.1:1/0")  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "System check identified no issues" in done.stdout


def test_a_second_stack_on_the_same_folder_is_refused(servers: RunningStack) -> None:
    second = manage("runstack", "--port", "0", "--state", os.fspath(servers.state.root))

    assert second.returncode == 1
    assert f"already running on {servers.state.root} (pid {servers.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert {part["state"] for part in servers.status().values()} == {"running"}


def test_the_database_comes_back_with_its_data_when_it_is_killed(servers: RunningStack) -> None:
    def connect() -> psycopg2.extensions.connection:
        return psycopg2.connect(host=os.fspath(servers.state.sockets), user="sluice", dbname="sluice")

    with closing(connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE note AS SELECT 'kept' AS text")
    os.kill(servers.status()["postgres"]["pid"], signal.SIGKILL)

    deadline = time.monotonic() + START_TIME_LIMIT_S
    while (told := servers.status()["postgres"])["restarts"] != 1 or told["state"] != "running":
        assert time.monotonic() < deadline, servers.log.read_text()
        time.sleep(0.05)

    with closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT text FROM note")
        assert cursor.fetchall() == [("kept",)]
    assert servers.status()["redis"]["restarts"] == 0


def test_nothing_is_left_when_it_is_killed_and_it_starts_again(servers: RunningStack) -> None:
    pids = [part["pid"] for part in servers.status().values()]

    servers.process.kill()
    servers.process.wait()

    deadline = time.monotonic() + START_TIME_LIMIT_S
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    again = RunningStack(servers.state.root, "--only", "postgres,redis")
    again.wait_for("| ready")
    assert again.stop() == 0


def test_servers_of_somebody_else_are_not_started(short_folder: Path) -> None:
    stack = RunningStack(
        short_folder / "state", "--only", "redis", DATABASE_URL="postgres://nobody@db.example.com/sluice"
    )
    stack.wait_for("| ready")
    try:
        assert list(stack.status()) == ["redis"]
    finally:
        assert stack.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        (["--only", "postgres,nonsense"], {}, "unknown part: nonsense. The parts are: postgres, redis, chain"),
        (["--only", "postgres"], {"MODE": "live"}, "The settings cannot be used"),
        (["--only", "postgres"], {"FEED_EVERY_S": "-1"}, "FEED_EVERY_S: '-1' is no number of seconds"),
    ],
)
def test_it_refuses_what_cannot_work(
    short_folder: Path, arguments: list[str], more: dict[str, str], words: str
) -> None:
    done = manage("runstack", "--port", "0", "--state", os.fspath(short_folder / "state"), *arguments, **more)

    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_it_refuses_a_port_in_use(short_folder: Path) -> None:
    port = free_port()
    with closing(socket.create_server((HOST, port))):
        done = manage("runstack", "--port", str(port), "--state", os.fspath(short_folder / "state"))

    assert done.returncode == 1
    assert f"Port {port} is in use" in done.stderr


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("a-folder-with-a-long-name-" * 4)
    stack = RunningStack(deep, "--only", "postgres,redis")
    stack.wait_for("| ready")
    try:
        assert len(os.fsencode(stack.state.sockets)) < 80
        assert stack.state.sockets.stat().st_mode & 0o777 == 0o700
    finally:
        assert stack.stop() == 0


def test_secrets_are_made_once_and_are_the_owners_alone(tmp_path: Path) -> None:
    state, other = State(tmp_path / "one"), State(tmp_path / "other")
    state.make()
    other.make()

    made = generated_secrets(state)

    assert generated_secrets(state) == made
    assert not set(made.values()) & set(generated_secrets(other).values())
    assert (state.secrets / "generated.env").stat().st_mode & 0o777 == 0o600
    assert state.secrets.stat().st_mode & 0o777 == 0o700


def test_only_the_signer_learns_the_way_to_the_key(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.make()
    state.signer_env.write_text("HOST_WALLET_KEYSTORE=/k\nHOST_WALLET_PASSPHRASE_FILE=/p\n")
    outer = {"HOST_WALLET_PASSPHRASE": "from outside", "PATH": "/bin", "CHANGENOW_API_URL": "https://elsewhere"}
    state.stack_env.write_text("CHANGENOW_API_URL=http://127.0.0.1:1\n")

    ordinary, signer = part_environment(state, outer), signer_environment(state, outer)

    assert not [name for name in ordinary if name.startswith("HOST_WALLET_K") or "PASSPHRASE" in name]
    assert ordinary["CHANGENOW_API_URL"] == "http://127.0.0.1:1"
    assert ordinary["PATH"] == "/bin"
    assert signer["HOST_WALLET_KEYSTORE"] == "/k"
    assert signer["HOST_WALLET_PASSPHRASE_FILE"] == "/p"
    assert "HOST_WALLET_PASSPHRASE" not in signer
    assert "PASSPHRASE" not in " ".join(read_env_file(state.stack_env))
