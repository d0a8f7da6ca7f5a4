"""The inbox: every authentic delivery is kept as it came, also one that is refused."""

from __future__ import annotations

from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.problems import InvalidFieldsError
from payouts.models import Outcome
from payouts.services.drafts import AmountTooSmallError
from payouts.services.facts import InvalidJsonError, read_facts
from payouts.services.recording import (
    ConflictingDeliveryError,
    ConflictingPaymentError,
    Delivery,
    Recorded,
    UnknownClientError,
    record_payment,
)
from payouts.services.refusals import count_refusals

# What a delivery can be refused for; nothing else is the sender's fault.
REFUSALS = (InvalidJsonError, InvalidFieldsError, UnknownClientError, AmountTooSmallError)


def take_payment(*, delivery: Delivery, actor: Actor) -> Recorded:
    """Process one authentic delivery of `POST /api/v1/payments/`; whatever happens, the delivery is kept.

    Raises:
        SluiceError: one of REFUSALS, ConflictingPaymentError, ConflictingDeliveryError or PausedError (a paused delivery is
            not kept: its sender is told to come again).
        Exception: anything unforeseen, after the delivery was stored as failed.
    """
    is_settled = False
    try:
        facts = read_facts(delivery.body, source=delivery.source)
        recorded = record_payment(facts=facts, event=delivery, actor=actor)
        is_settled = True
        return recorded
    except REFUSALS as refusal:
        _keep(delivery, Outcome.REFUSED, str(refusal))
        is_settled = True
        count_refusals(source=delivery.source, codes=[refusal.code])
        raise
    except (ConflictingPaymentError, ConflictingDeliveryError) as conflict:
        # It was stored where it was found.
        is_settled = True
        count_refusals(source=delivery.source, codes=[conflict.code])
        raise
    except SluiceError:
        is_settled = True
        raise
    finally:
        if not is_settled:
            _keep(delivery, Outcome.FAILED, "Processing broke off; the log has the reason.")


def _keep(delivery: Delivery, outcome: Outcome, error: str) -> None:
    delivery.as_unsettled(outcome, error).save()
