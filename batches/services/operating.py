"""What an operator may do to a batch; every refusal says why and what next."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from batches.models import BatchConversion, BatchStatus
from batches.services.settling import give_back
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from config.lib.money import usd_text
from hostpay import services as hostpay
from hostpay.models import Context, HostPayment
from payouts.models import Accumulation, AccumulationStatus
from payouts.services import hold_accumulation
from payouts.services.members import OddMember, odd_members

_ENDED = {
    BatchStatus.COMPLETED: "its USDT is shared among the members",
    BatchStatus.FAILED: "its members went back to the pending pool",
    BatchStatus.CANCELLED: "its members went back to the pending pool",
}


def payment_of(batch: BatchConversion) -> HostPayment | None:
    """The host payment that stands for the batch, or stood for it last."""
    return hostpay.latest_payment(context=Context.BATCH, reference=str(batch.pk))


def retry_batch(*, batch: BatchConversion, actor: Actor, reason: str) -> HostPayment:
    """End a wait or a review of the batch's host payment, and take its next step now; that payment.

    Raises:
        RefusedError: the batch has ended, or hostpay refuses.
        StaleRowError: the batch or its payment has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        payment = _payment_of_open(batch)
        hostpay.retry_payment(payment=payment, actor=actor, reason=reason)
        row = batch.locked()
        row.note(actor=actor, reason=f"retry: {reason}", data={"host_payment": str(payment.pk)})
    return payment


def odd_members_of(batch: BatchConversion) -> list[OddMember]:
    """The members that keep an open batch out of the band; none before the exchange valued it, or if it is within."""
    payment = payment_of(batch)
    if payment is None or payment.valued_usd is None or batch.status in _ENDED:
        return []
    return odd_members(
        batch_id=batch.pk, usd=payment.valued_usd, wei=payment.send_units, band_bps=settings.VALUE_BAND_BPS
    )


def release_batch(*, batch: BatchConversion, actor: Actor, reason: str) -> int:
    """Cancel a batch for which no money left, and give its members back to the pending pool; the number that went back.

    Those that kept it out of the band are held, each with its figures: they would keep the next one out of it as well.
    They are not counted; those that are void, or in doubt at NOWPayments, are.

    Raises:
        RefusedError: the batch has ended, signed bytes of its payment exist, or chain or exchange say, or do not say
            whether, our key has paid its order.
        StaleRowError: the batch or its payment has moved on meanwhile.
    """
    need_reason(reason)
    unpaid = hostpay.ask_unpaid(_payment_of_open(batch))
    with transaction.atomic():
        # The payment first: that is the order in which hostpay's deliveries lock them.
        payment = _payment_of_open(batch)
        hostpay.close_unpaid(payment=payment, unpaid=unpaid, actor=actor, reason=reason)
        row = batch.locked()
        odd = odd_members_of(row)
        returned = give_back(row, actor=actor, reason=reason)
        held = _hold(odd, actor=actor)
        row.move(
            BatchStatus.CANCELLED,
            actor=actor,
            reason=reason,
            data={
                "members_returned": returned,
                "held": [member.payment_id for member in held],
                "host_payment": str(payment.pk),
            },
            failure_reason=reason,
        )
    return returned - len(held)


def _hold(odd: list[OddMember], *, actor: Actor) -> list[OddMember]:
    """Hold those that came back pending, and say which: one that is void, or refunded since, did not."""
    held = []
    for member in odd:
        accumulation = Accumulation.objects.get(pk=member.accumulation_id)
        if accumulation.status != AccumulationStatus.PENDING:
            continue
        hold_accumulation(
            accumulation=accumulation,
            actor=actor,
            reason=f"Its ETH was worth {usd_text(member.worth_usd)} and its claim is {usd_text(member.claimed_usd)},"
            " which kept its batch out of the band.",
        )
        held.append(member)
    return held


def _payment_of_open(batch: BatchConversion) -> HostPayment:
    if batch.status in _ENDED:
        raise RefusedError(
            why=f"Batch {batch.pk} is {batch.status}: {_ENDED[BatchStatus(batch.status)]}.",
            next_step="Nothing is left to do with it; what is pending goes into the next batch.",
        )
    payment = payment_of(batch)
    if payment is None:
        raise RefusedError(
            why=f"Batch {batch.pk} is {batch.status}, but no host payment was ever requested for it.",
            next_step="This should not be: run check_invariants.",
        )
    return payment
