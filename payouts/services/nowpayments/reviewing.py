"""What a person must decide about a payment at NOWPayments."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from payouts.models import ARRIVED, UNFINISHED, NowPayment


def open_review(*, payment: NowPayment, actor: Actor, reason: str) -> None:
    """Say that a person must look at it, and why; a further reason is added to those that stand."""
    with transaction.atomic():
        row = NowPayment.objects.select_for_update(of=("self",)).get(pk=payment.pk)
        if reason not in row.review_reason:
            row.review_reason = f"{row.review_reason} {reason}".strip()
            row.review_since = row.review_since or timezone.now()
            row.save(update_fields=("review_reason", "review_since"))
            row.note(actor=actor, reason=f"needs a person: {reason}")
    payment.review_reason, payment.review_since = row.review_reason, row.review_since


def close_review(*, payment: NowPayment, actor: Actor, reason: str) -> NowPayment:
    """Let it go on with what is stored: a payment that is not booked yet is tried again at once.

    Raises:
        RefusedError: nothing is to be decided, or no reason was given.
    """
    need_reason(reason)
    with transaction.atomic():
        row = NowPayment.objects.select_for_update(of=("self",)).get(pk=payment.pk)
        if not row.review_reason:
            raise RefusedError(
                why=f"Payment {row.payment_id} is not in review.", next_step="There is nothing to close."
            )
        row.note(actor=actor, reason=f"review closed: {reason.strip()}", data={"it said": row.review_reason})
        row.review_reason, row.review_since, row.last_error, row.attempts = "", None, "", 0
        if row.accumulation_id is None and row.status in {*UNFINISHED, *ARRIVED}:
            row.next_action_at = timezone.now()
        row.save(update_fields=("review_reason", "review_since", "last_error", "attempts", "next_action_at"))
    return row
