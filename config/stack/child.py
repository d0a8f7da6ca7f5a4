"""Becomes another program, after tying it to its parent: `python child.py PARENT SIGNAL PRIVILEGE -- PROGRAM ARGS...`

On Linux the kernel sends SIGNAL to the program when PARENT dies, however it dies: a killed supervisor leaves nothing
behind. Run as a file with `-I -S`, on the standard library alone: it stands in front of every part and must cost
nothing.

PRIVILEGE is what PostgreSQL, which refuses to run as root, needs:
  keep       the caller's user
  namespace  a user namespace in which root has another number; files keep their owner, nothing is chowned
  nobody     the user `nobody`, for containers that forbid namespaces
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
# Any number but 0 would do; this is the kernel's own "nobody in particular".
UNPRIVILEGED_ID = 65534


def main(arguments: list[str]) -> NoReturn:
    parent, death_signal, privilege, separator, *program = arguments
    if separator != "--" or not program:
        sys.exit(__doc__)
    if privilege == "namespace":
        enter_user_namespace()
    elif privilege == "nobody":
        become_nobody()
    # After the change of user, which clears it.
    if sys.platform == "linux":
        die_with_parent(int(parent), signal.Signals[death_signal])
    os.execv(program[0], program)


def enter_user_namespace() -> None:
    """Gives this process a user namespace whose only user is us under another number. Raises OSError if forbidden."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"user namespaces are not available: {os.strerror(code)}")
    # The kernel wants this before a group map that an unprivileged process writes.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{UNPRIVILEGED_ID} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{UNPRIVILEGED_ID} {gid} 1", encoding="ascii")


def become_nobody() -> None:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    # It may have died before we asked; then nobody would ever signal us.
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    main(sys.argv[1:])
