"""Who runs a command."""

import getpass

from config.lib.audit import Actor, command


def shell_actor() -> Actor:
    """The person at the shell, by the operating system's user name."""
    try:
        return command(getpass.getuser())
    except (KeyError, OSError):
        # A container's user may have no name.
        return command("unknown")
