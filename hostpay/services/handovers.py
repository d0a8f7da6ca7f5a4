"""What signed tokens ask and tell, when batches and hostpay run apart: a request with an order, and reports as hints."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, transaction

from config.lib.audit import Actor
from config.lib.errors import RefusedError, SluiceError
from config.lib.money import ETH, to_units
from hostpay.callbacks import ACCEPTED_CONTEXTS, Admission, OutsideRequest, handler_for
from hostpay.models import Context, ExchangeOrder, HostPayment
from hostpay.services.requesting import (
    DEFAULT_TOLERANCE_BPS,
    AdoptedOrder,
    ConflictingRequestError,
    latest_payment,
    live_payment,
    nudge,
    request_payment,
)
from hostpay.services.tokens import use_token_once
from hostpay.tokens import PaymentRequestClaims, SwapExecutedClaims

REQUEST_PURPOSE = "payment request"
REPORT_PURPOSE = "swap report"


class UnsupportedAssetError(RefusedError):
    """The host wallet pays in ETH on Ethereum alone."""

    code = "unsupported_asset"


class UnknownReportError(SluiceError):
    """No host payment of this reference has this exchange order."""

    code = "unknown_payment"


@dataclass(frozen=True, slots=True)
class Handed:
    """The host payment that a token is about, and whether the token changed anything."""

    payment: HostPayment
    is_new: bool


def accept_request(*, claims: PaymentRequestClaims, actor: Actor) -> Handed:
    """Request the host payment that a token asks for; the same request again, or a replayed token, gives what is there.

    Raises:
        UnsupportedAssetError: not ETH on Ethereum.
        UnknownContextError: nobody is there who would be told the end.
        NotAdmittedError: the requester's books know of no such purpose, or of another amount.
        ConflictingRequestError: the purpose was requested with other content, or the order is another payment's.
    """
    if (claims.from_currency.lower(), claims.from_network.lower()) != (ETH.ticker, ETH.network):
        raise UnsupportedAssetError(
            why=f"{claims.from_currency}/{claims.from_network} cannot be paid from the host wallet.",
            next_step=f"It pays {ETH}.",
        )
    try:
        with transaction.atomic():
            return _requested_once(claims, actor)
    except IntegrityError:
        raise ConflictingRequestError(
            why=f"The exchange order {claims.cn_api_id} or its pay-in address belongs to another host payment.",
            next_step="Place a new order for this one.",
        ) from None


def hear_report(*, claims: SwapExecutedClaims) -> Handed:
    """Look at a payment at once because somebody says that its swap was executed; a replayed token does nothing.

    Nothing of the report is believed: amount and hash are read again from provider and chain.

    Raises:
        UnknownReportError: we have no such payment, or it has another order by now.
    """
    with transaction.atomic():
        order = (
            ExchangeOrder.objects.select_related("payment")
            .filter(provider_order_id=claims.cn_api_id, payment__reference=claims.batch_conversion_id, is_current=True)
            .first()
        )
        if order is None:
            raise UnknownReportError(
                f"No host payment for {claims.batch_conversion_id} has the exchange order {claims.cn_api_id}."
            )
        is_first = use_token_once(nonce=claims.nonce, purpose=REPORT_PURPOSE)
        if is_first:
            nudge(payment_id=order.payment.pk)
    return Handed(order.payment, is_new=is_first)


def _requested_once(claims: PaymentRequestClaims, actor: Actor) -> Handed:
    # request_payment compares with ACCEPTED_CONTEXTS, so a word that is no context is refused there.
    context: Context = claims.context  # type: ignore[assignment]
    reference = claims.batch_conversion_id
    if not use_token_once(nonce=claims.nonce, purpose=REQUEST_PURPOSE):
        known = latest_payment(context=context, reference=reference)
        if known is not None:
            return Handed(known, is_new=False)
    amount_units = to_units(claims.from_amount, ETH)
    payment = live_payment(context=context, reference=reference)
    is_new = payment is None
    if payment is None:
        admission = _admitted(context, reference, amount_units)
        payment = request_payment(
            context=context,
            reference=reference,
            amount_units=amount_units,
            expected_usd=admission.expected_usd if admission else None,
            tolerance_bps=admission.tolerance_bps if admission else DEFAULT_TOLERANCE_BPS,
            actor=actor,
            adopt=AdoptedOrder(provider_order_id=claims.cn_api_id, payin_address=claims.payin_address),
        )
    _refuse_other_content(payment, claims, amount_units)
    return Handed(payment, is_new=is_new)


def _admitted(context: Context, reference: str, amount_units: int) -> Admission | None:
    """What the requester's books say of it; None where request_payment will refuse the context itself."""
    if context not in ACCEPTED_CONTEXTS:
        return None
    request = OutsideRequest(context=context, reference=reference, amount_units=amount_units)
    return handler_for(context).admit(request)


def _refuse_other_content(payment: HostPayment, claims: PaymentRequestClaims, amount_units: int) -> None:
    order = ExchangeOrder.objects.filter(
        payment=payment, provider_order_id=claims.cn_api_id, payin_address=claims.payin_address
    )
    if payment.amount_units != amount_units or not order.exists():
        raise ConflictingRequestError(
            why=f"Host payment {payment.pk} for {payment.context} {payment.reference} has another amount, exchange"
            " order or pay-in address.",
            next_step="Ask for the existing one, or request another purpose.",
        )
