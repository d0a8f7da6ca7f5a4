"""What is running, for `--status` and for other programs; and the lock that keeps a state folder to one stack."""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config.stack.part import PartState
from config.stack.paths import State, write_private
from config.stack.processes import started_at


@dataclass(kw_only=True)
class PartStatus:
    """One line of the status."""

    name: str
    pid: int | None = None
    # Tells this process from a later one with the same number.
    started: str | None = None
    place: str = ""
    state: PartState = PartState.WAITING
    restarts: int = 0


def write_status(state: State, parts: list[PartStatus]) -> None:
    pid = os.getpid()
    told = {"pid": pid, "started": started_at(pid), "parts": [asdict(part) for part in parts]}
    write_private(state.status_file, json.dumps(told, indent=2) + "\n")


def read_status(state: State) -> list[dict[str, Any]]:
    """The parts with name, pid, place, state and restarts. What the file says to run but does not, is `gone`."""
    try:
        told = json.loads(state.status_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    found = []
    for part in told["parts"]:
        started = part.pop("started")
        if part["pid"] is not None and started_at(part["pid"]) != started:
            part |= {"pid": None, "state": "gone"}
        elif part["pid"] is None and not _is_supervised(told) and part["state"] != PartState.DONE:
            part["state"] = PartState.STOPPED
        found.append(part)
    return found


def _is_supervised(told: dict[str, Any]) -> bool:
    return bool(started_at(told["pid"]) == told["started"])


class AlreadyRunningError(RuntimeError):
    """Another stack uses this state folder."""


class StateLock:
    """Holds a state folder for one supervisor, as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._path: Path = state.lock_file
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises AlreadyRunningError, with the other one's pid, if the folder is in use."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunningError(
                f"A stack is already running on {self._path.parent} (pid {holder}). Stop it, or use another folder: "
                "--state DIR, or STATE=DIR with make."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
