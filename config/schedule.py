"""What beat does, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the beat table: the name as the operator sees it, the task, its interval and its reason."""

    name: str
    task: str
    every_s: int
    why: str


SCHEDULE: tuple[Entry, ...] = ()
