"""What a batch does when hostpay tells it the end of its payment; runs inside the delivering transaction."""

from batches.services import UnknownBatchError, batch_of_reference, distribute, fail_batch, open_batch_terms
from config.lib.audit import worker
from config.lib.money import ETH, format_units
from hostpay.callbacks import Admission, Failed, NotAdmittedError, OutsideRequest, Settled
from hostpay.models import Context

_ACTOR = worker("hostpay.deliver")


class BatchHandler:
    """The handler of context `batch`; a payment's reference is the batch's id."""

    def admit(self, request: OutsideRequest) -> Admission:
        """Stand by a token's request only for a batch that is open and sends exactly this ETH.

        Raises:
            NotAdmittedError: there is no such batch, it has ended, or it sends another amount.
        """
        terms = open_batch_terms(reference=request.reference, amount_units=request.amount_units)
        if terms is None:
            raise NotAdmittedError(
                why=f"No open batch {request.reference} sends {format_units(request.amount_units, ETH)}.",
                next_step="Ask for the batch's own id and amount, while it is swapping.",
            )
        return terms

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
