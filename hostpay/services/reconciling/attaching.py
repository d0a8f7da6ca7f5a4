"""An order that the exchange has and a backup has forgotten, given back to the payment it was made for."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import IntegrityError, transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind
from config.lib.errors import RefusedError
from config.lib.money import ETH, from_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, OrderStatus, PaymentStatus, Wallet
from hostpay.providers.addresses import AddressError, checksummed
from hostpay.providers.changenow import ExchangeState, OrderNotFoundError, same_amount
from hostpay.services import health
from hostpay.services.adopting import UNPAID, differences, units_or_none
from hostpay.services.ordering import FUNDABLE_FOR
from hostpay.services.reconciling.line import ADOPT
from hostpay.services.steps import Review, open_review

logger = logging.getLogger(__name__)

_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)
_UNSIGNED = (PaymentStatus.REQUESTED, PaymentStatus.ORDERED)


def attach_order(*, payment: HostPayment, order_id: str, actor: Actor, reason: str) -> ExchangeOrder:
    """Say that the exchange's order `order_id`, which somebody has paid, was made for this payment; it is verified.

    Nobody can pay it again by this: the wallet is halted, the payment waits for a person, and the order is too old to
    be paid. What paid it is then adopted from the chain, if our key signed it.

    Raises:
        RefusedError: no person or reason; the wallet is not halted; payment or order are not such; nobody paid it.
        StaleRowError: the payment has moved on meanwhile.
        ProviderError: the exchange did not answer.
    """
    if actor.kind not in _PEOPLE or not reason.strip():
        raise RefusedError(why="This needs a person and a reason.", next_step="Say how you know; it is kept.")
    _refuse_unfit(payment, order_id)
    state = _ask(order_id)
    candidate = _verified(payment, order_id, state)
    try:
        with transaction.atomic():
            _refuse_open_gate(Wallet.objects.select_for_update().get(pk=payment.wallet_id))
            row = payment.locked()
            _refuse_unfit(row, order_id)
            _store(row, candidate, state, actor, reason)
    except IntegrityError:
        raise RefusedError(
            why=f"Order {order_id} or its pay-in address was attached meanwhile.", next_step="Reconcile again."
        ) from None
    logger.warning("order attached", extra={"host_payment": str(payment.pk), "exchange": order_id, "actor": str(actor)})
    return candidate


def _refuse_unfit(payment: HostPayment, order_id: str) -> None:
    if payment.status not in _UNSIGNED or NonceSlot.objects.filter(payment=payment).exists():
        raise RefusedError(
            why=f"Payment {payment.pk} is {payment.status}: it was signed for, or has ended.",
            next_step="Only a payment that the books have never signed can have lost its order.",
        )
    if payment.unpriced_usd and payment.priced_units is None:
        raise RefusedError(
            why=f"Payment {payment.pk} has {payment.unpriced_usd} USD that were never valued, so its amount is not known.",
            next_step="Leave it unsigned, and ask the exchange for the order's refund.",
        )
    if ExchangeOrder.objects.filter(provider_order_id=order_id).exists():
        raise RefusedError(why=f"Order {order_id} is in the books.", next_step=f"Go on with {ADOPT}.")


def _refuse_open_gate(wallet: Wallet) -> None:
    if wallet.halted_at is None:
        raise RefusedError(
            why=f"Wallet {wallet.address} is not halted, and could pay the order a second time.",
            next_step=f"Run {ADOPT} first: it halts the wallet while a nonce is unknown.",
        )


def _ask(order_id: str) -> ExchangeState:
    try:
        with health.counted(health.EXCHANGE):
            return gateways.exchange().exchange(order_id)
    except OrderNotFoundError as error:
        raise RefusedError(
            why=f"{error}.", next_step="Take the id from manage.py reconcile --provider, as it stands there."
        ) from None


def _verified(payment: HostPayment, order_id: str, state: ExchangeState) -> ExchangeOrder:
    """The order as a row, not stored yet, if it is what this payment would have been ordered as, and was paid."""
    if state.status in UNPAID and state.payin_hash is None:
        raise RefusedError(
            why=f"Order {order_id} is {state.raw_status}: nobody has paid it.",
            next_step="Leave it; it moves no money, and expires.",
        )
    try:
        payin_address = checksummed(state.payin_address or "", field="pay-in address")
    except AddressError as error:
        raise RefusedError(why=f"Order {order_id}: {error}.", next_step="Ask the exchange.") from None
    candidate = ExchangeOrder(
        payment=payment,
        provider_order_id=order_id,
        payin_address=payin_address,
        send_units=payment.send_units,
        payout_address=payment.payout_address,
        refund_address=payment.wallet.address,
        # Too old to be paid, whatever becomes of the review: the exchange is asked before it would be.
        created_at=clock.now() - 2 * FUNDABLE_FOR,
    )
    wrong = differences(payment, candidate, state)
    amount = from_units(payment.send_units, ETH)
    told = state.expected_from if state.expected_from is not None else state.amount_from
    if told is None or not same_amount(amount, told):
        wrong.append(f"amount is {told}, not {amount:f}")
    if wrong:
        raise RefusedError(
            why=f"Order {order_id} was not made for payment {payment.pk}: {'; '.join(wrong)}.",
            next_step="Look for the payment of exactly that amount; a batch of the same members can be made by create_batch.",
        )
    return candidate


def _store(payment: HostPayment, order: ExchangeOrder, state: ExchangeState, actor: Actor, reason: str) -> None:
    said = f"found at the exchange, forgotten by the books: {reason}"
    for other in payment.orders.filter(is_current=True):
        other.move(
            OrderStatus.ABANDONED, actor=actor, reason=f"order {order} is the one that was paid", is_current=False
        )
    order.save(force_insert=True)
    order.record_birth(actor=actor, reason=said)
    order.move(
        OrderStatus.OPEN,
        actor=actor,
        reason=f"{said}; the exchange says {state.raw_status}",
        expected_units=units_or_none(state.expected_to),
        valid_until=state.valid_until,
        placed_answer=state.raw,
        provider_status=state.raw_status,
        polled_at=clock.now() - timedelta(days=1),
    )
    if payment.status == PaymentStatus.REQUESTED:
        payment.move(PaymentStatus.ORDERED, actor=actor, reason=f"exchange {order} attached: {reason}")
    else:
        payment.note(actor=actor, reason=f"exchange {order} attached: {reason}")
    open_review(payment, Review(reason=f"exchange {order} was attached, and is paid: {ADOPT}"), actor=actor)
    HostPayment.objects.filter(pk=payment.pk).update(next_action_at=None, unknown_reason="", unknown_since=None)
