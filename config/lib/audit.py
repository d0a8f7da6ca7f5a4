"""Who did it: every move, check and policy row names its actor."""

from dataclasses import dataclass
from enum import StrEnum

from config.lib.errors import RefusedError


class ActorKind(StrEnum):
    BEAT = "beat"
    WORKER = "worker"
    ADMIN = "admin"
    API = "api"
    COMMAND = "command"


ACTOR_MAX_LENGTH = 150


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts, as stored in the audit columns: `kind:name`."""

    kind: ActorKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"[:ACTOR_MAX_LENGTH]


def worker(task: str) -> Actor:
    """The actor of background work, named after its task."""
    return Actor(ActorKind.WORKER, task)


def beat(entry: str) -> Actor:
    """The actor of scheduled work, named after its entry in the schedule."""
    return Actor(ActorKind.BEAT, entry)


def admin(username: str) -> Actor:
    """An operator in the admin."""
    return Actor(ActorKind.ADMIN, username)


def api(caller: str) -> Actor:
    """A program, named by its API key's prefix or by the webhook source it signed as."""
    return Actor(ActorKind.API, caller)


def command(user: str) -> Actor:
    """A person at a shell, named by the operating system's user."""
    return Actor(ActorKind.COMMAND, user)


def need_reason(reason: str) -> None:
    """Go on only with a reason for the history.

    Raises:
        RefusedError: there is none.
    """
    if not reason.strip():
        raise RefusedError(why="This needs a reason.", next_step="Say why; it goes into the history.")
