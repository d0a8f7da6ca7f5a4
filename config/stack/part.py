"""A part of the stack: one program under supervision, or one step that must succeed before others start."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class PartState(StrEnum):
    """Where a part is, as `--status` prints it."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    DONE = "done"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


def nothing() -> None:
    """The default of the hooks."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the supervisor has to know of one program.

    `command` and `environment` are asked at every start, because what they say may come from a part before (an
    address, a key). `prepare` runs before every start and `once_ready` after every one; both may block.
    """

    name: str
    command: Callable[[], list[str]]
    environment: Callable[[], Mapping[str, str]]
    # Parts that must be ready before this one starts, and that stop after it has.
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = nothing
    is_ready: Callable[[], bool] | None = None
    # The words in its output that tell it is ready, for parts that answer no question.
    ready_words: str = ""
    once_ready: Callable[[], None] = nothing
    ready_within_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 15.0
    # A step: it runs to its end once, and must succeed.
    once: bool = False
    # Port or socket, for people.
    place: str = ""
    # The errors of `prepare` and `once_ready` that say all there is to say, without a traceback.
    telling_errors: tuple[type[Exception], ...] = ()


class GoneAgainError(Exception):
    """A part was ready, and has ended before it could be asked for more; whoever starts it again asks again."""


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """How long to wait before a part starts again, and when to give the whole stack up."""

    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0
    # This many deaths inside the window mean that starting again does not help.
    give_up_after: int = 8
    window_s: float = 60.0

    def recent(self, deaths: list[float], *, now: float) -> list[float]:
        """The deaths inside the window that ends now."""
        return [moment for moment in deaths if now - moment <= self.window_s]

    def wait_s(self, recent_deaths: int) -> float:
        """Doubles with each death in the window."""
        doubled: float = self.first_wait_s * 2 ** max(recent_deaths - 1, 0)
        return min(doubled, self.longest_wait_s)

    def is_hopeless(self, recent_deaths: int) -> bool:
        return recent_deaths >= self.give_up_after
