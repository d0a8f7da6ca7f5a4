"""What an operator does to one accumulation: hold it back, let it go on, void it."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from config.lib.audit import Actor
from config.lib.errors import RefusedError
from payouts.models import Accumulation, AccumulationStatus


def hold_accumulation(*, accumulation: Accumulation, actor: Actor, reason: str) -> Accumulation:
    """Keep a pending accumulation out of batches until somebody lets it go on.

    Raises:
        RefusedError: it is not pending, or no reason was given.
        StaleRowError: somebody else moved it meanwhile.
    """
    return _move(accumulation, AccumulationStatus.HELD, actor=actor, reason=reason, hold_reason=reason.strip())


def unhold_accumulation(*, accumulation: Accumulation, actor: Actor, reason: str) -> Accumulation:
    """Let a held accumulation into the next batch.

    Raises:
        RefusedError: it is not held, or no reason was given.
        StaleRowError: somebody else moved it meanwhile.
    """
    return _move(accumulation, AccumulationStatus.PENDING, actor=actor, reason=reason, hold_reason="")


def void_accumulation(*, accumulation: Accumulation, actor: Actor, reason: str) -> Accumulation:
    """Declare a pending accumulation void for good: nothing is owed for it.

    Raises:
        RefusedError: it is not pending (in a batch it belongs to the batch's total), or no reason was given.
        StaleRowError: somebody else moved it meanwhile.
    """
    return _move(accumulation, AccumulationStatus.VOIDED, actor=actor, reason=reason)


# What each move starts from, and what a person can do when the accumulation is elsewhere.
_STARTS = {
    AccumulationStatus.HELD: (AccumulationStatus.PENDING, "Only a pending one can be held."),
    AccumulationStatus.PENDING: (AccumulationStatus.HELD, "Only a held one can be let go on."),
    AccumulationStatus.VOIDED: (
        AccumulationStatus.PENDING,
        "Only a pending one can be voided: let a held one go on first; one in a batch is part of the batch's total.",
    ),
}


def _move(
    accumulation: Accumulation, to: AccumulationStatus, *, actor: Actor, reason: str, **columns: Any
) -> Accumulation:
    if not reason.strip():
        raise RefusedError(
            why=f"Payment {accumulation.payment_id} was not moved: a reason is missing.", next_step="Say why."
        )
    start, hint = _STARTS[to]
    if accumulation.status != start:
        raise RefusedError(why=f"Payment {accumulation.payment_id} is {accumulation.status}.", next_step=hint)
    with transaction.atomic():
        accumulation.move(to, actor=actor, reason=reason.strip(), **columns)
    return accumulation
