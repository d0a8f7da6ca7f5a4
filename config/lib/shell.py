"""Who runs a command, and what was typed."""

import getpass
from datetime import datetime

from django.core.management.base import CommandError
from django.utils.dateparse import parse_datetime

from config.lib.audit import Actor, command


def shell_actor() -> Actor:
    """The person at the shell, by the operating system's user name."""
    try:
        return command(getpass.getuser())
    except (KeyError, OSError):
        # A container's user may have no name.
        return command("unknown")


def moment(text: str) -> datetime:
    """A time that says its offset from UTC.

    Raises:
        CommandError: it is none.
    """
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise CommandError(f"{text} is no time like 2030-01-31T12:00:00Z.")
    return found
