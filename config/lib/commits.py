"""What is done after a commit because it can be left undone: a hint, whose loss costs time and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction


def after_commit(hint: Callable[[], object]) -> None:
    """Call `hint` once the open transaction has committed, at once where none is open; its failure is logged.

    What was committed stands, so whoever asked for it is not told of a broker that is away.
    """

    # Django logs a failed hook by its `__qualname__`, which a partial lacks: that AttributeError would get out.
    def run_hint() -> None:
        hint()

    transaction.on_commit(run_hint, robust=True)
