"""TCP ports for programs that tests start."""

from __future__ import annotations

import secrets

from config.stack.ports import is_free

# Below those that Linux hands out to whoever asks for any: until the program listens, which takes seconds, and while it
# is started again, another worker's server or connection would be given one of them.
_OURS = range(20_000, 32_000)
_given: set[int] = set()


def own_port() -> int:
    """A port that nobody listens on, and that nobody else in this process is given."""
    while (port := secrets.choice(_OURS)) in _given or not is_free(port):
        continue
    _given.add(port)
    return port
