"""What a batch does when hostpay tells it the end of its payment; runs inside the delivering transaction."""

from batches.services import UnknownBatchError, batch_of_reference, distribute, fail_batch
from config.lib.audit import worker
from hostpay.callbacks import Failed, Settled
from hostpay.models import Context

_ACTOR = worker("hostpay.deliver")


class BatchHandler:
    """The handler of context `batch`; a payment's reference is the batch's id."""

    def on_settled(self, event: Settled) -> None:
        """Share what arrived among the members.

        Raises:
            UnknownBatchError: the event is of another context, or names no batch.
        """
        _need_our_context(event)
        distribute(
            batch_id=batch_of_reference(event.reference),
            received_units=event.received_units,
            actor=_ACTOR,
            tx_hash=event.tx_hash,
        )

    def on_failed(self, event: Failed) -> None:
        """Give the members back to the pending pool.

        Raises:
            UnknownBatchError: the event is of another context, or names no batch.
        """
        _need_our_context(event)
        fail_batch(batch_id=batch_of_reference(event.reference), reason=event.reason, actor=_ACTOR)


def _need_our_context(event: Settled | Failed) -> None:
    if event.context != Context.BATCH:
        message = f"host payment {event.payment_id} is of context {event.context}, not {Context.BATCH.value}"
        raise UnknownBatchError(message)
