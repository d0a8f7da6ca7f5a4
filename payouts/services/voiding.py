"""Declaring a payment void by its own id, also before it came."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from config.lib import locks
from config.lib.audit import Actor, need_reason
from config.lib.lifecycle import StaleRowError
from config.lib.problems import FieldError, InvalidFieldsError
from payouts.models import NOWPAYMENTS_SOURCE, Accumulation, AccumulationStatus, VoidOrder
from payouts.services.claims import void_accumulation

logger = logging.getLogger(__name__)

_PAYMENT_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_SOURCE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
# Those that payments may come from next; import_payments makes others.
_SOURCES: Final = frozenset({"api", "import", NOWPAYMENTS_SOURCE})
SOURCE_RULE: Final = "must have 1 to 32 letters, digits and underscores, and begin with no digit"


def void_payment(*, source: str, payment_id: str, actor: Actor, reason: str) -> Accumulation | VoidOrder:
    """Void the payment, or order that it be void when it comes; the same again changes nothing.

    Raises:
        InvalidFieldsError: no payment has such an id.
        RefusedError: it is in a batch, or no reason was given.
        StaleRowError: somebody else moved it meanwhile.
    """
    _check(source, payment_id, reason)
    stands = _found_or_ordered(source, payment_id, actor, reason)
    if isinstance(stands, VoidOrder):
        # A payment that is recorded by a single statement holds no lock. What of it is not there yet, the sweep finds.
        found = _find(source, payment_id)
        # In a batch already, it waits for the batch.
        stands = stands if found is None or found.status == AccumulationStatus.SWAPPING else found
    if isinstance(stands, VoidOrder) or stands.status == AccumulationStatus.VOIDED:
        return stands
    return void_accumulation(accumulation=stands, actor=actor, reason=reason)


def is_source(name: str) -> bool:
    """Whether payments can have this source (SOURCE_RULE)."""
    return _SOURCE.fullmatch(name) is not None


def carry_out_void_orders(*, actor: Actor) -> int:
    """Void the payments that slipped past an order, being recorded at the same moment; says how many orders ended.

    One that is in a batch has to wait for the batch: if that gives it back, it is voided there and then
    (`void_returned`); if it converts it, the order came too late, and a person is told.
    """
    here = Accumulation.objects.filter(source=OuterRef("source"), payment_id=OuterRef("payment_id"))
    outside = here.exclude(status=AccumulationStatus.SWAPPING)
    missed = VoidOrder.objects.filter(Exists(outside), accumulation__isnull=True)
    return sum(_carry_out(order, actor) for order in missed)


def orders_on_members(*, batch_id: UUID) -> list[VoidOrder]:
    """The orders that wait for members of this batch."""
    members = Accumulation.objects.filter(
        source=OuterRef("source"), payment_id=OuterRef("payment_id"), batch_conversion=batch_id
    )
    return list(VoidOrder.objects.filter(Exists(members), accumulation__isnull=True))


def void_returned(*, orders: Iterable[VoidOrder], actor: Actor) -> None:
    """Carry these orders out on payments that a batch gave back in this transaction, so that no other can claim them."""
    for order in orders:
        _carry_out(order, actor)


def _carry_out(order: VoidOrder, actor: Actor) -> bool:
    found = Accumulation.objects.get(source=order.source, payment_id=order.payment_id)
    if found.status == AccumulationStatus.SWAPPING:
        return False
    if found.status == AccumulationStatus.COMPLETED:
        logger.warning("void order came too late", extra={"order": order.pk, "accumulation": found.pk})
    elif found.status != AccumulationStatus.VOIDED:
        try:
            void_accumulation(accumulation=found, actor=actor, reason=order.reason)
        except StaleRowError:
            # Moved at this moment; the next look finds where to.
            return False
    VoidOrder.objects.filter(pk=order.pk).update(accumulation=found)
    return True


def void_orders_for(*, source: str, payment_ids: Iterable[str]) -> dict[str, VoidOrder]:
    """The orders that wait for these payments, by payment id."""
    if not VoidOrder.objects.filter(source=source, accumulation__isnull=True).exists():
        return {}
    # One text, and not a parameter for each: they may be thousands. No id has a space in it.
    waiting = VoidOrder.objects.raw(_WAITING, [source, " ".join(payment_ids)])
    return {order.payment_id: order for order in waiting}


_WAITING: Final = f"""
    SELECT * FROM {VoidOrder._meta.db_table}
    WHERE source = %s AND payment_id = ANY(string_to_array(%s, ' ')) AND accumulation_id IS NULL
"""  # noqa: S608 (only names of ours)


def _found_or_ordered(source: str, payment_id: str, actor: Actor, reason: str) -> Accumulation | VoidOrder:
    with transaction.atomic():
        # Whoever records payments in several statements holds it too: there is none between looking and writing.
        locks.hold_patiently(locks.Lock.INTAKE)
        found = _find(source, payment_id)
        if found is not None:
            return _order_on(found) or found
        wanted = {"reason": reason.strip(), "requested_by": str(actor)}
        return VoidOrder.objects.get_or_create(source=source, payment_id=payment_id, defaults=wanted)[0]


def _order_on(found: Accumulation) -> VoidOrder | None:
    """The order that waits for what becomes of the payment's batch."""
    if found.status != AccumulationStatus.SWAPPING:
        return None
    return VoidOrder.objects.filter(source=found.source, payment_id=found.payment_id, accumulation=None).first()


def _find(source: str, payment_id: str) -> Accumulation | None:
    return Accumulation.objects.filter(source=source, payment_id=payment_id).first()


def _check(source: str, payment_id: str, reason: str) -> None:
    errors = []
    if not is_source(source):
        errors.append(FieldError("source", "invalid", SOURCE_RULE))
    elif source not in _SOURCES and not Accumulation.objects.filter(source=source).exists():
        # An order for a misspelt source would wait for ever, and somebody believe the payment void.
        rule = f"must be {', '.join(sorted(_SOURCES))}, or one that a payment came from by import"
        errors.append(FieldError("source", "unknown_source", rule))
    if not _PAYMENT_ID.fullmatch(payment_id):
        errors.append(FieldError("payment_id", "invalid", "must be 1 to 128 printable ASCII characters without spaces"))
    if errors:
        raise InvalidFieldsError(errors)
    need_reason(reason)
