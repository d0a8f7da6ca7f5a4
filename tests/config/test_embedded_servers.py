"""The embedded PostgreSQL and Redis, killed in the ways machines kill them."""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
import redis

from config.stack.part import GoneAgainError
from config.stack.paths import DATABASE_NAME, DATABASE_USER, PROJECT_ROOT, make_private
from config.stack.postgres import Postgres, PostgresError, fitting_privilege
from config.stack.processes import is_running, running_in, started_at
from config.stack.redis import Redis
from tests.lib.servers import running

pytestmark = pytest.mark.embedded

IS_ROOT = os.geteuid() == 0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's parent-death signal")


def wait_until(is_so: Callable[[], bool], *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def server(short_folder: Path) -> Postgres:
    return Postgres(data=short_folder / "data", sockets=short_folder / "run", privilege=fitting_privilege())


@contextmanager
def started(server: Postgres) -> Iterator["subprocess.Popen[bytes]"]:
    server.prepare()
    with running(server.command(), is_ready=server.is_ready, log=server.data.with_suffix(".log")) as process:
        server.make_database()
        yield process


def sql(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    with closing(
        psycopg2.connect(host=os.fspath(server.sockets), user=DATABASE_USER, dbname=DATABASE_NAME)
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def test_it_serves_utf8_in_utc_on_a_private_socket_and_no_port(server: Postgres) -> None:
    with started(server):
        assert sql(server, "SELECT upper('straße é'), current_setting('TimeZone')") == [("STRAßE É", "UTC")]
        assert sql(server, "SHOW listen_addresses") == [("",)]
        assert sql(server, "SHOW fsync") == [("on",)]
        assert server.sockets.stat().st_mode & 0o777 == 0o700
        assert server.data.stat().st_mode & 0o777 == 0o700


def test_it_leaves_the_folders_above_alone(server: Postgres, short_folder: Path) -> None:
    short_folder.chmod(0o700)

    with started(server):
        pass

    assert short_folder.stat().st_mode & 0o777 == 0o700
    if IS_ROOT and server.privilege == "namespace":
        assert server.data.stat().st_uid == 0


@linux_only
def test_it_keeps_what_was_committed_when_the_server_is_killed(server: Postgres) -> None:
    with started(server) as process:
        sql(server, "CREATE TABLE note (text text)")
        sql(server, "INSERT INTO note VALUES ('kept')")
        process.kill()
        process.wait()

    with started(server):
        assert sql(server, "SELECT text FROM note") == [("kept",)]


@linux_only
def test_it_starts_beside_the_zombie_of_a_killed_server(server: Postgres) -> None:
    server.prepare()
    zombie = subprocess.Popen(server.command(), stderr=subprocess.DEVNULL, cwd="/")
    wait_until(server.is_ready)
    zombie.kill()
    wait_until(lambda: not is_running(zombie.pid))

    with started(server):
        assert sql(server, "SELECT 1") == [(1,)]

    zombie.wait()


def test_it_starts_when_the_pid_file_names_a_stranger(server: Postgres) -> None:
    server.prepare()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")

    with started(server):
        assert sql(server, "SELECT 1") == [(1,)]

    assert is_running(os.getpid())


@linux_only
def test_it_ends_an_orphan_before_it_starts(server: Postgres) -> None:
    server.prepare()
    # As where there is no parent-death signal: the server itself, without the wrapper that ties it to us.
    wrapped = server.command()
    if IS_ROOT:
        wrapped = ["/usr/bin/env", "unshare", "--user", "--map-user=65534", "--map-group=65534", *wrapped[8:]]
    else:
        wrapped = wrapped[8:]
    orphan = subprocess.Popen(wrapped, stderr=subprocess.DEVNULL, cwd="/")
    wait_until(server.is_ready)

    server.prepare()

    assert orphan.wait(60) == 0
    assert running_in(server.data) == []


@linux_only
def test_it_goes_when_its_parent_is_killed(server: Postgres) -> None:
    server.prepare()
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from config.stack.postgres import Postgres\n"
        f"server = Postgres(data=Path({os.fspath(server.data)!r}), sockets=Path({os.fspath(server.sockets)!r}),\n"
        f"                  privilege={server.privilege!r})\n"
        "subprocess.Popen(server.command(), cwd='/')\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_ROOT, stderr=subprocess.DEVNULL)
    wait_until(server.is_ready)
    assert running_in(server.data) != []

    parent.kill()
    parent.wait()

    wait_until(lambda: running_in(server.data) == [])


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_it_runs_as_nobody_where_namespaces_are_forbidden(short_folder: Path) -> None:
    short_folder.chmod(0o755)
    server = Postgres(data=short_folder / "data", sockets=short_folder / "run", privilege="nobody")
    try:
        server.prepare()
    except PostgresError:
        pytest.skip("the interpreter's folder is closed to nobody")

    for _start in range(2):
        with started(server):
            assert sql(server, "SELECT 1") == [(1,)]

    assert server.data.stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_it_throws_an_interrupted_initialisation_away(server: Postgres) -> None:
    draft = server.data.with_name("data.new")
    make_private(draft)
    (draft / "half").write_text("written")

    with started(server):
        assert sql(server, "SELECT 1") == [(1,)]

    assert not draft.exists()


def test_it_says_so_when_it_cannot_initialise(server: Postgres) -> None:
    server.data.mkdir(parents=True)
    (server.data / "somebody-elses").write_text("file")

    with pytest.raises(OSError, match="not empty"):
        server.prepare()

    assert (server.data / "somebody-elses").read_text() == "file"


def test_redis_keeps_its_messages_over_a_clean_stop(short_folder: Path) -> None:
    server = Redis(data=short_folder / "redis", socket=short_folder / "run" / "redis.sock")
    for start in range(2):
        server.prepare()
        with running(server.command(), is_ready=server.is_ready, log=short_folder / "redis.log"):
            with closing(redis.Redis(unix_socket_path=os.fspath(server.socket))) as client:
                if start == 0:
                    client.rpush("queue", "message")
                assert client.lrange("queue", 0, -1) == [b"message"]
            assert server.socket.stat().st_mode & 0o777 == 0o700
        assert not server.is_ready()


def test_a_process_is_not_taken_for_a_later_one_of_its_number() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark = started_at(process.pid)

    process.send_signal(signal.SIGKILL)
    process.wait()

    assert mark is not None
    assert started_at(process.pid) != mark


def test_a_folder_of_somebody_else_is_refused(short_folder: Path) -> None:
    if not IS_ROOT:
        pytest.skip("only root can give a folder away")
    theirs = short_folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)

    with pytest.raises(PermissionError, match="belongs to user 12345"):
        make_private(theirs)


def test_a_server_that_ended_again_is_no_end_of_the_stack(server: Postgres) -> None:
    with pytest.raises(GoneAgainError, match=r"PGSQL"):
        server.make_database()
