"""Asking for money to leave the host wallet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from hostpay.callbacks import ACCEPTED_CONTEXTS
from hostpay.models import TERMINAL, Context, ExchangeOrder, HostPayment
from hostpay.services.wallets import our_wallet

DEFAULT_TOLERANCE_BPS = 1000


class ConflictingRequestError(RefusedError):
    """The same purpose was requested before, with other content."""

    code = "conflicting_request"


class UnknownContextError(RefusedError):
    """Nobody handles this context."""

    code = "context_not_accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedOrder:
    """An order that the requester placed at the provider itself; it is verified with the provider before it is paid."""

    provider_order_id: str
    payin_address: str


def request_payment(
    *,
    context: Context,
    reference: str,
    amount_units: int,
    actor: Actor,
    unpriced_usd: Decimal = Decimal(0),
    expected_usd: Decimal | None = None,
    tolerance_bps: int = DEFAULT_TOLERANCE_BPS,
    payout_address: str | None = None,
    adopt: AdoptedOrder | None = None,
) -> HostPayment:
    """Request one payment of `amount_units` wei (plus `unpriced_usd`, valued later); the same request again returns it.

    One that ended unpaid stands for its purpose until its requester was told: until then it is what is returned.

    Args:
        payout_address: who gets the proceeds, EIP-55; our own wallet if left out.
        expected_usd: what the requester's books say it is worth; proceeds outside `tolerance_bps` around it go to review.

    Raises:
        UnknownContextError: nobody is there who would be told the end.
        ConflictingRequestError: the live payment of this purpose has other content.
    """
    if context not in ACCEPTED_CONTEXTS:
        raise UnknownContextError(
            why=f"Host payments with context {context} are not accepted: payouts to clients are not built yet.",
            next_step=f"Accepted are: {', '.join(ACCEPTED_CONTEXTS)}.",
        )
    wanted = HostPayment(
        context=context,
        reference=reference,
        wallet=our_wallet(),
        amount_units=amount_units,
        unpriced_usd=unpriced_usd,
        expected_usd=expected_usd,
        tolerance_bps=tolerance_bps,
        payout_address=payout_address or settings.HOST_WALLET_ADDRESS,
        requested_by=str(actor),
        next_action_at=clock.now(),
    )
    try:
        with transaction.atomic():
            wanted.save(force_insert=True)
            wanted.record_birth(actor=actor, reason="requested", data={"amount_units": str(amount_units)})
            if adopt is not None:
                _store_adopted(wanted, adopt, actor)
    except IntegrityError:
        existing = live_payment(context=context, reference=reference)
        if existing is None:
            raise
        _refuse_other_content(wanted, existing)
        return existing
    return wanted


def live_payment(*, context: Context, reference: str) -> HostPayment | None:
    """The payment that stands for this purpose, if there is one."""
    return HostPayment.objects.live().filter(context=context, reference=reference).first()


def latest_payment(*, context: Context, reference: str) -> HostPayment | None:
    """The payment last requested for this purpose, closed ones among them."""
    return HostPayment.objects.filter(context=context, reference=reference).order_by("-created_at").first()


def nudge(*, payment_id: UUID) -> bool:
    """Make the payment due now: a hint that there may be news. Says whether it changed anything.

    What waits for a person alone (`next_action_at` is empty) goes on waiting.
    """
    now = clock.now()
    return bool(
        HostPayment.objects.filter(pk=payment_id, delivered_at__isnull=True, next_action_at__gt=now)
        .exclude(status__in=TERMINAL, review_reason__gt="")
        .update(next_action_at=now)
    )


def due_payments(*, now: datetime, limit: int) -> list[tuple[UUID, str]]:
    """Ids and statuses of payments that a worker should look at, longest due first."""
    return list(HostPayment.objects.due(now).values_list("pk", "status")[:limit])


def _store_adopted(payment: HostPayment, adopt: AdoptedOrder, actor: Actor) -> None:
    order = ExchangeOrder.objects.create(
        payment=payment,
        provider_order_id=adopt.provider_order_id,
        payin_address=adopt.payin_address,
        send_units=payment.amount_units,
        payout_address=payment.payout_address,
        refund_address=payment.wallet.address,
    )
    order.record_birth(actor=actor, reason="placed by the requester, to be verified with the provider")


def _refuse_other_content(wanted: HostPayment, existing: HostPayment) -> None:
    compared = ("amount_units", "unpriced_usd", "expected_usd", "payout_address", "to_asset")
    different = [name for name in compared if getattr(wanted, name) != getattr(existing, name)]
    if different:
        raise ConflictingRequestError(
            why=f"Host payment {existing.pk} for {existing.context} {existing.reference} exists with another"
            f" {', '.join(different)}.",
            next_step="Ask for the existing one, or request another purpose.",
        )
