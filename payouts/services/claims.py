"""What an operator does to one accumulation: hold it back, let it go on, void it."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from payouts.models import Accumulation, AccumulationStatus, Strategy, WebhookEvent
from payouts.services.webhooks.telling import tell_of_payments


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
        RefusedError: it is not held, no reason was given, or a batch would pay for it wrongly.
        StaleRowError: somebody else moved it meanwhile.
    """
    no = refusal_to_unhold(accumulation)
    if no is not None and accumulation.status == AccumulationStatus.HELD:
        raise no
    return _move(accumulation, AccumulationStatus.PENDING, actor=actor, reason=reason, hold_reason="")


def void_accumulation(*, accumulation: Accumulation, actor: Actor, reason: str) -> Accumulation:
    """Declare a pending or held accumulation void for good: nothing is owed for it any more.

    Raises:
        RefusedError: it is neither (in a batch it belongs to the batch's total), or no reason was given.
        StaleRowError: somebody else moved it meanwhile.
    """
    return _move(accumulation, AccumulationStatus.VOIDED, actor=actor, reason=reason, hold_reason="")


def refusal_to_unhold(accumulation: Accumulation) -> RefusedError | None:
    """Why a batch must not have this payment, however good the reason; None if it may."""
    if accumulation.outcome_currency and accumulation.net_wei is None:
        arrived = f"{accumulation.outcome_amount} {accumulation.outcome_currency.upper()}"
        return RefusedError(
            why=f"Payment {accumulation.payment_id} arrived as {arrived}: a batch would pay for it once more, with our ETH.",
            next_step="Settle it with the client outside of the batches, then void it with the reason.",
        )
    if accumulation.client.strategy == Strategy.INSTANT:
        return RefusedError(
            why=f"Client {accumulation.client} is paid out instantly, and payouts to clients are not built yet:"
            f" a batch would collect payment {accumulation.payment_id} for a threshold that the client does not have.",
            next_step="Keep it held, or make the client one that accumulates first.",
        )
    return None


# What each move starts from, what a person can do when the accumulation is elsewhere, and what it is told as.
_STARTS = {
    AccumulationStatus.HELD: ({AccumulationStatus.PENDING}, "Only a pending one can be held.", WebhookEvent.HELD),
    AccumulationStatus.PENDING: (
        {AccumulationStatus.HELD},
        "Only a held one can be let go on.",
        WebhookEvent.RELEASED,
    ),
    AccumulationStatus.VOIDED: (
        {AccumulationStatus.PENDING, AccumulationStatus.HELD},
        "Only a pending or held one can be voided; one in a batch is part of the batch's total.",
        WebhookEvent.VOIDED,
    ),
}


def _move(
    accumulation: Accumulation, to: AccumulationStatus, *, actor: Actor, reason: str, **columns: Any
) -> Accumulation:
    need_reason(reason)
    starts, hint, event = _STARTS[to]
    if accumulation.status not in starts:
        raise RefusedError(why=f"Payment {accumulation.payment_id} is {accumulation.status}.", next_step=hint)
    with transaction.atomic():
        accumulation.move(to, actor=actor, reason=reason.strip(), **columns)
        tell_of_payments(event=event, accumulation_ids=[accumulation.pk], reason=reason.strip())
    return accumulation
