"""The end of a batch, as hostpay tells it: shared out, or given back."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from batches.models import BatchConversion, BatchStatus
from config.lib.audit import Actor
from config.lib.errors import RefusedError, SluiceError
from hostpay.callbacks import Admission
from payouts.services.members import Credited, credit_shares, return_members


class DistributionError(SluiceError):
    """The shares written are not what was received, or not one a member. The transaction was rolled back."""

    code = "distribution_does_not_add_up"


class UnknownBatchError(SluiceError):
    """A host payment names a batch that does not exist."""

    code = "unknown_batch"


def batch_of_reference(reference: str) -> UUID:
    """The batch id that a host payment's reference is.

    Raises:
        UnknownBatchError: it is not the text of a batch's id.
    """
    try:
        batch_id = UUID(reference)
    except ValueError:
        message = f"{reference!r} is no id of a batch"
        raise UnknownBatchError(message) from None
    if str(batch_id) != reference:
        message = f"{reference!r} is not how the id of a batch is written; is it {batch_id}?"
        raise UnknownBatchError(message)
    return batch_id


def open_batch_terms(*, reference: str, amount_units: int) -> Admission | None:
    """What the books expect of an open batch that sends exactly `amount_units` wei; None if there is none.

    The batch's row stays locked to the end of the transaction, so that it cannot be released meanwhile.
    """
    try:
        batch_id = batch_of_reference(reference)
    except UnknownBatchError:
        return None
    batch = (
        BatchConversion.objects.open()
        .select_for_update(of=("self",))
        .select_related("policy")
        .filter(pk=batch_id, net_wei=amount_units, unreceipted_usd=0)
        .first()
    )
    if batch is None:
        return None
    return Admission(expected_usd=batch.total_usd, tolerance_bps=batch.policy.tolerance_bps)


def distribute(*, batch_id: UUID, received_units: int, actor: Actor, tx_hash: str = "") -> Credited | None:
    """Share `received_units` (of 10^-6 USDT) among the members and complete the batch; None if that was done before.

    All or nothing: if the shares are not one a member, or do not sum to what was received, nothing is written.

    Raises:
        UnknownBatchError: no such batch.
        RefusedError: the batch has ended otherwise, or with another amount.
        NothingToDivideError: nothing was received.
        DistributionError: the sums do not agree.
    """
    with transaction.atomic():
        batch = _locked(batch_id)
        if batch.status == BatchStatus.COMPLETED and batch.received_units == received_units:
            return None
        _need_open(batch, f"{received_units} units of USDT were reported for it")
        credited = credit_shares(batch_id=batch_id, received_units=received_units)
        _assert_adds_up(batch, credited, received_units)
        batch.move(
            BatchStatus.COMPLETED,
            actor=actor,
            reason="shared among the members",
            data={
                "member_count": credited.member_count,
                "received_units": str(received_units),
                "shared_units": str(credited.total_units),
                "tx_hash": tx_hash,
            },
            received_units=received_units,
        )
    return credited


def fail_batch(*, batch_id: UUID, reason: str, actor: Actor) -> int:
    """Give the members back to the pending pool, because no proceeds will come; the number of members given back.

    A batch that has failed, or was released, stays as it is: 0.

    Raises:
        UnknownBatchError: no such batch.
        RefusedError: it is completed.
        DistributionError: not all members could be given back.
    """
    with transaction.atomic():
        batch = _locked(batch_id)
        if batch.status in {BatchStatus.FAILED, BatchStatus.CANCELLED}:
            return 0
        _need_open(batch, f"its host payment was reported as failed: {reason}")
        returned = give_back(batch, actor=actor, reason=reason)
        batch.move(
            BatchStatus.FAILED,
            actor=actor,
            reason=reason,
            data={"members_returned": returned},
            failure_reason=reason,
        )
    return returned


def give_back(batch: BatchConversion, *, actor: Actor, reason: str) -> int:
    """Return every member of a locked, open batch to pending.

    Raises:
        DistributionError: another number of members was found than the batch has.
    """
    returned = return_members(batch_id=batch.pk, actor=actor, reason=reason)
    if returned != batch.member_count:
        message = f"batch {batch.pk} has {batch.member_count} members, but {returned} were found to give back"
        raise DistributionError(message)
    return returned


def _locked(batch_id: UUID) -> BatchConversion:
    try:
        return BatchConversion.objects.select_for_update(of=("self",)).get(pk=batch_id)
    except BatchConversion.DoesNotExist:
        message = f"there is no batch {batch_id}"
        raise UnknownBatchError(message) from None


def _need_open(batch: BatchConversion, what: str) -> None:
    if batch.status not in {BatchStatus.CREATED, BatchStatus.SWAPPING}:
        raise RefusedError(
            why=f"Batch {batch.pk} is {batch.status} already, but {what}.",
            next_step="Compare the batch with its host payment; a person must decide.",
        )


def _assert_adds_up(batch: BatchConversion, credited: Credited, received_units: int) -> None:
    """Held in production too: the books are never closed on a sum that is not exact."""
    if (credited.member_count, credited.total_units) != (batch.member_count, received_units):
        message = (
            f"batch {batch.pk}: {credited.member_count} shares sum to {credited.total_units} units,"
            f" but {batch.member_count} members were to share {received_units}"
        )
        raise DistributionError(message)
