"""The engine: take a due payment under a lease, do the step its status calls for, write down what came of it.

A message only says which payment to look at. Everything else is read from the row, so a lost message costs the time to
the next sweep, and a repeated one finds the payment not due.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from uuid import UUID

from django.conf import settings
from django.core.exceptions import MultipleObjectsReturned, ObjectDoesNotExist
from django.db import DataError, IntegrityError

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import OutcomeUnknownError, PermanentError, SluiceError, TransientError
from config.lib.lifecycle import StaleRowError
from hostpay.gateways import NoKeyError
from hostpay.models import ON_THE_WIRE, TERMINAL, HostPayment, PaymentStatus, SignerTask
from hostpay.services import (
    afterwards,
    broadcasting,
    cancelling,
    confirming,
    delivering,
    ordering,
    rechecking,
    replacing,
    signing,
    watching,
)
from hostpay.services.steps import Failed, Poll, Proceed, Review, Said, lease_length, write_down

logger = logging.getLogger(__name__)

# A life has ten steps; one that takes more at a stretch goes in circles.
_MOST_STEPS_AT_ONCE = 20
_LONGEST_ERROR = 500

# What a step may stumble over and does not name. A database that is away (OperationalError) says nothing about the
# payment, and the lease brings it back.
_UNFORESEEN = (
    SluiceError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    ObjectDoesNotExist,
    MultipleObjectsReturned,
    DataError,
    IntegrityError,
)

Step = Callable[..., Said]


def follow_exchange(*, payment: HostPayment, actor: Actor) -> Said:
    """The exchange is watched only while our own transaction is still where it was final."""
    return rechecking.check_still_final(payment=payment, actor=actor) or watching.watch_exchange(
        payment=payment, actor=actor
    )


def end(*, payment: HostPayment, actor: Actor) -> Said:
    """Whoever asked for it is told; then only what two people gave up is looked at any more."""
    if payment.delivered_at is None:
        return delivering.deliver(payment=payment, actor=actor)
    return afterwards.look_for_late_money(payment=payment, actor=actor)


_STEPS: dict[str, Step] = {
    PaymentStatus.REQUESTED: ordering.order,
    PaymentStatus.SIGNED: broadcasting.broadcast,
    PaymentStatus.BROADCAST: confirming.look_for_block,
    PaymentStatus.MINED: confirming.await_finality,
    PaymentStatus.FINAL: follow_exchange,
    **dict.fromkeys(TERMINAL, end),
}

# What the signer does for a payment that it has signed before.
_SIGNER_STEPS: dict[str, Step] = {SignerTask.REPLACE: replacing.replace, SignerTask.CANCEL: cancelling.cancel}


class Handover(Enum):
    """Who has to look at the payment next."""

    NOBODY = "nobody"
    SIGNER = "signer"
    WORKER = "worker"


def advance(*, payment_id: UUID, actor: Actor) -> Handover:
    """Bring one due payment as far as it goes now; says whether the signer must take over.

    What the signer is asked to sign again is looked for on chain all the same: whether its process lives or not.
    """
    for _ in range(_MOST_STEPS_AT_ONCE):
        payment = _look(payment_id)
        if payment is None:
            return Handover.NOBODY
        if payment.status == PaymentStatus.ORDERED:
            return Handover.SIGNER
        said = _take_step(payment, _STEPS[payment.status], actor)
        if said is not None and payment.signer_task:
            return Handover.SIGNER
        if not isinstance(said, Proceed):
            return Handover.NOBODY
    logger.error("payment takes too many steps at once", extra={"host_payment": str(payment_id)})
    return Handover.NOBODY


def sign(*, payment_id: UUID, actor: Actor) -> Handover:
    """Sign one due payment: the first time, or again as was asked. Only the signer's process has the key for it."""
    payment = _look(payment_id)
    if payment is None or not (payment.status == PaymentStatus.ORDERED or payment.signer_task):
        return Handover.NOBODY
    said = _take_step(payment, _SIGNER_STEPS.get(payment.signer_task, signing.sign), actor, is_signer=True)
    return Handover.WORKER if isinstance(said, Proceed) else Handover.NOBODY


def _look(payment_id: UUID) -> HostPayment | None:
    return HostPayment.objects.select_related("wallet").due(clock.now()).filter(pk=payment_id).first()


def _take_step(payment: HostPayment, step: Step, actor: Actor, *, is_signer: bool = False) -> Said | None:
    turn = payment.next_action_at
    lease = _take_lease(payment)
    if lease is None:
        return None
    try:
        said = _ask(payment, step, actor)
    except NoKeyError:
        # The wrong process: nothing is found out about the payment.
        raise
    except _UNFORESEEN as error:
        logger.exception("payment step failed", extra={"host_payment": str(payment.pk), "status": payment.status})
        _write_down_unforeseen(payment, error, lease=lease, actor=actor)
        raise
    # A task that the step has ended is empty on the instance, too.
    is_signers_turn = bool(payment.signer_task) and not is_signer
    write_down(payment, said, lease=lease, actor=actor, signers_turn=turn if is_signers_turn else None)
    logger.info(
        "payment step",
        extra={"host_payment": str(payment.pk), "step": step.__name__, "status": payment.status, "said": repr(said)},
    )
    return said


def _take_lease(payment: HostPayment) -> datetime | None:
    """Whoever moves `next_action_at` ahead has the payment until then; None if somebody else was first."""
    lease = clock.now() + lease_length()
    taken = HostPayment.objects.filter(
        pk=payment.pk, status=payment.status, next_action_at=payment.next_action_at
    ).update(next_action_at=lease)
    return lease if taken else None


def _ask(payment: HostPayment, step: Step, actor: Actor) -> Said:
    try:
        return step(payment=payment, actor=actor)
    except OutcomeUnknownError as error:
        return Failed(error=str(error), unknown=True)
    except TransientError as error:
        return Failed(error=str(error), unknown=False)
    except PermanentError as error:
        return _for_a_person(payment, str(error))
    except StaleRowError:
        # Somebody moved it while we asked outside; look at it afresh.
        return Poll(after_s=1)


def _for_a_person(payment: HostPayment, reason: str) -> Review:
    """Where money may be out already, a person decides and the watch goes on; so does the one for what comes late."""
    after_s = None
    if payment.status in {*ON_THE_WIRE, PaymentStatus.FINAL}:
        after_s = settings.EXCHANGE_POLL_EVERY_S
    elif payment.delivered_at is not None:
        after_s = afterwards.LOOK_EVERY_S
    return Review(reason=reason, after_s=after_s)


def _write_down_unforeseen(payment: HostPayment, error: BaseException, *, lease: datetime, actor: Actor) -> None:
    """A defect of ours, or an answer that nobody thought of: somebody must see it, and it is not tried silently."""
    words = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    said = _for_a_person(payment, f"an error that was not foreseen: {words}")
    write_down(payment, said, lease=lease, actor=actor)
    HostPayment.objects.filter(pk=payment.pk, review_reason=said.reason).update(
        attempts=payment.attempts + 1, last_error=words
    )
