"""Processes of this machine: how to start one that dies with us, and how to know one again."""

import os
import signal
import sys
from pathlib import Path
from typing import Literal

Privilege = Literal["keep", "namespace", "nobody"]

_CHILD = Path(__file__).with_name("child.py")


def tied_to_us(
    command: list[str], *, on_our_death: signal.Signals = signal.SIGTERM, privilege: Privilege = "keep"
) -> list[str]:
    """`command` in the form in which the kernel ends it when this process dies (on Linux). Program by full path."""
    begin = [sys.executable, "-I", "-S", os.fspath(_CHILD)]
    return [*begin, str(os.getpid()), on_our_death.name, privilege, "--", *command]


def started_at(pid: int) -> str | None:
    """A mark that tells this process from a later one of the same number; None if it is gone or a zombie.

    Where there is no /proc, the mark is the same for all: then only the number counts.
    """
    if not Path("/proc/self").exists():
        return "" if _answers_signal(pid) else None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields count from after it: state is the 3rd, start time the 22nd.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def is_running(pid: int) -> bool:
    """Zombies do not run."""
    return started_at(pid) is not None


def running_in(folder: Path) -> list[int]:
    """The live processes whose working directory is `folder` (Linux; elsewhere none are known)."""
    wanted = os.path.realpath(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd") == wanted:
                found.append(int(entry.name))
        except OSError:
            # Gone meanwhile, a zombie, or not ours to look at.
            continue
    return sorted(found)


def _answers_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
