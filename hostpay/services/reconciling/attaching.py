"""An order that the exchange has and a backup has forgotten, given back to the payment it was made for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind
from config.lib.errors import RefusedError
from config.lib.money import ETH, USDT, from_units, to_units
from hostpay import gateways
from hostpay.models import (
    Context,
    ExchangeOrder,
    HostPayment,
    NonceSlot,
    OrderStatus,
    PaymentStatus,
    Transaction,
    Wallet,
)
from hostpay.providers.addresses import AddressError, checksummed
from hostpay.providers.changenow import ExchangeState, OrderNotFoundError, same_amount
from hostpay.providers.ethereum import ChainTransaction, SentTransaction
from hostpay.services import health
from hostpay.services.adopting import ADOPT, deposit_told, differences, units_or_none
from hostpay.services.halting import AHEAD, halt_wallet
from hostpay.services.ordering import FUNDABLE_FOR
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import examine_line
from hostpay.services.reconciling.orphans import paid_by_our_key
from hostpay.services.steps import Review, open_review
from hostpay.services.valuing import estimated_units
from hostpay.services.wallets import our_wallet

logger = logging.getLogger(__name__)

_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)
_BPS = 10_000
_LONGEST_REFERENCE = 64
_LONGEST_ADDRESS = 42
# As `differences` begins them: of these the transaction that our key has signed is the proof.
_PAID_BY_OUR_KEY = ("pay-in address", "amount")
_UNSIGNED = (PaymentStatus.REQUESTED, PaymentStatus.ORDERED)


def attach_order(*, payment: HostPayment, order_id: str, actor: Actor, reason: str) -> ExchangeOrder:
    """Say that the exchange's order `order_id`, which our key has paid, was made for this payment; it is verified.

    Nobody can pay it again by this: the wallet is halted with it, if it is not yet, the payment waits for a person, and the
    order is too old to be paid. What paid it is then adopted from the chain.

    Raises:
        RefusedError: no person or reason; payment or order are not such; our key did not pay it.
        StaleRowError: the payment has moved on meanwhile.
        ProviderError: the exchange did not answer.
    """
    _need_person_and_reason(actor, reason)
    _refuse_unfit(payment, order_id)
    state = _ask_paid(order_id)
    try:
        candidate = _verified(payment, order_id, state)
    except RefusedError as refused:
        _ask_person(payment, order_id, refused, actor)
        raise
    try:
        with transaction.atomic():
            wallet = Wallet.objects.select_for_update().get(pk=payment.wallet_id)
            row = payment.locked()
            _refuse_unfit(row, order_id)
            _close_gate(wallet, candidate, actor)
            _store(row, candidate, state, actor, reason)
    except IntegrityError:
        raise _attached_meanwhile(order_id) from None
    logger.warning("order attached", extra={"host_payment": str(payment.pk), "exchange": order_id, "actor": str(actor)})
    return candidate


def attach_alone(*, order_id: str, actor: Actor, reason: str) -> ExchangeOrder:
    """Give an order that our key paid, and that was made for no payment that is left, to a payment of its own.

    So that no money has left without a row: the payment is of what was sent, its proceeds are the house's to book, and
    nobody is told of its end. Refused while a payment waits that the order may have been made for. Terms that no order of ours
    would have (where a refund goes, what is exchanged for what) are no reason to know nothing of it: they stand in the row,
    in the history and in the payment's review.

    Raises:
        RefusedError: no person or reason; the order is known; our key did not pay it; its pay-in address or its amount are
            not what our key paid; a payment could be its own.
        ProviderError: the exchange or the node did not answer.
    """
    _need_person_and_reason(actor, reason)
    known = ExchangeOrder.objects.filter(provider_order_id=order_id).first()
    if known is not None:
        raise RefusedError(
            why=f"Order {order_id} is in the books, of payment {known.payment_id}.", next_step=f"Go on with {ADOPT}."
        )
    state = _ask_paid(order_id)
    payment = _payment_of_its_own(order_id, state, actor)
    _refuse_if_wanted(payment, order_id)
    candidate = _candidate(payment, order_id, state, refund_address=(state.refund_address or "")[:_LONGEST_ADDRESS])
    wrong = _differences(payment, candidate, state)
    odd = [each for each in wrong if not each.startswith(_PAID_BY_OUR_KEY)]
    _refuse_wrong(payment, order_id, [each for each in wrong if each not in odd])
    odd += _odd_refund(payment, candidate)
    _date(candidate, state)
    try:
        with transaction.atomic():
            wallet = Wallet.objects.select_for_update().get(pk=payment.wallet_id)
            _refuse_if_wanted(payment, order_id)
            _close_gate(wallet, candidate, actor)
            payment.save(force_insert=True)
            payment.record_birth(
                actor=actor,
                reason=f"made for exchange {order_id}, which our key had paid and no payment had: {reason}",
                data={"amount_units": str(payment.amount_units)},
            )
            _store(payment, candidate, state, actor, reason, odd=odd)
    except IntegrityError:
        raise _attached_meanwhile(order_id) from None
    logger.warning("order attached", extra={"host_payment": str(payment.pk), "exchange": order_id, "actor": str(actor)})
    return candidate


def _need_person_and_reason(actor: Actor, reason: str) -> None:
    if actor.kind not in _PEOPLE or not reason.strip():
        raise RefusedError(why="This needs a person and a reason.", next_step="Say how you know; it is kept.")


def _ask_paid(order_id: str) -> ExchangeState:
    state = _ask(order_id)
    if not deposit_told(state):
        raise RefusedError(
            why=f"Order {order_id} is {state.raw_status}: nobody has paid it.",
            next_step="Leave it; it moves no money, and expires.",
        )
    return state


def _attached_meanwhile(order_id: str) -> RefusedError:
    return RefusedError(
        why=f"Order {order_id} or its pay-in address was attached meanwhile.", next_step="Reconcile again."
    )


def _payment_of_its_own(order_id: str, state: ExchangeState, actor: Actor) -> HostPayment:
    """A payment, not stored yet, of exactly what our key sent to the order."""
    wallet = our_wallet()
    # What the exchange says is rounded; what our key sent there is not.
    paid = paid_by_our_key(
        wallet, None, state, lambda: examine_line(wallet, settled_block=settled_block(), is_whole=True).sent
    )
    sent = gateways.node().transaction(paid) if paid else None
    if sent is None:
        raise RefusedError(
            why=f"Order {order_id} has {deposit_told(state)}, and the chain shows no transaction of {wallet.address} that paid it.",
            next_step="Somebody else's money is there: ask the exchange. Is our transaction in no block yet, wait for it.",
        )
    try:
        payout_address = checksummed(state.payout_address or "", field="payout address")
    except AddressError as error:
        if state.to_asset == USDT:
            raise RefusedError(why=f"Order {order_id}: {error}.", next_step="Ask the exchange.") from None
        # On another chain, where nothing of it is ours to see.
        payout_address = wallet.address
    return HostPayment(
        context=Context.INSTANT,
        reference=f"order {order_id}"[:_LONGEST_REFERENCE],
        wallet=wallet,
        amount_units=sent.value_wei,
        payout_address=payout_address,
        requested_by=str(actor),
        next_action_at=clock.now(),
    )


def _refuse_if_wanted(payment: HostPayment, order_id: str) -> None:
    """Go on only if no payment waits that the order may have been made for: it would be paid a second time."""
    unsigned = HostPayment.objects.filter(status__in=_UNSIGNED, wallet=payment.wallet, nonce_slot__isnull=True)
    for other in unsigned.filter(payout_address__iexact=payment.payout_address):
        is_unvalued = other.unpriced_usd and other.priced_units is None
        if is_unvalued or other.send_units == payment.send_units:
            raise RefusedError(
                why=f"Order {order_id} may have been made for payment {other.pk}, which is {other.status}"
                f" and {'of dollars that were never valued' if is_unvalued else 'of that amount'}.",
                next_step="Attach it to that payment; if it is refused there or you know better, close that payment first.",
            )


def _refuse_unfit(payment: HostPayment, order_id: str) -> None:
    if payment.status not in _UNSIGNED or NonceSlot.objects.filter(payment=payment).exists():
        raise RefusedError(
            why=f"Payment {payment.pk} is {payment.status}: it was signed for, or has ended.",
            next_step="Only a payment that the books have never signed can have lost its order.",
        )
    known = ExchangeOrder.objects.filter(provider_order_id=order_id).first()
    if known is not None and not _is_half_known(known, payment):
        raise RefusedError(why=f"Order {order_id} is in the books.", next_step=f"Go on with {ADOPT}.")


def _is_half_known(order: ExchangeOrder, payment: HostPayment) -> bool:
    """The payment's own order, of which the books know the name, and not yet that it stands."""
    return order.payment_id == payment.pk and order.is_current and order.status == OrderStatus.ORDERING


def _ask_person(payment: HostPayment, order_id: str, refused: RefusedError, actor: Actor) -> None:
    """The order is paid and may be the payment's all the same: nobody orders another one before a person has decided."""
    with transaction.atomic():
        row = payment.locked()
        _refuse_unfit(row, order_id)
        open_review(row, Review(reason=f"exchange {order_id} is paid, and was not attached: {refused}"), actor=actor)


def _close_gate(wallet: Wallet, order: ExchangeOrder, actor: Actor) -> None:
    """Nothing is signed until what paid the order is in the books; the caller holds the wallet's row.

    The wallet is open where the nonce was signed off and the halt lifted before anybody knew of the order.
    """
    halt_wallet(
        wallet=wallet,
        actor=actor,
        reason=f"{AHEAD}: order {order.provider_order_id} was attached to payment {order.payment_id}, and its transaction"
        f" is to be adopted: {ADOPT}",
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
    candidate = _candidate(payment, order_id, state, refund_address=payment.wallet.address)
    _refuse_wrong(payment, order_id, _differences(payment, candidate, state))
    _date(candidate, state)
    _refuse_other_paid(payment, order_id)
    return candidate


def _candidate(payment: HostPayment, order_id: str, state: ExchangeState, *, refund_address: str) -> ExchangeOrder:
    try:
        payin_address = checksummed(state.payin_address or "", field="pay-in address")
    except AddressError as error:
        raise RefusedError(why=f"Order {order_id}: {error}.", next_step="Ask the exchange.") from None
    half_known = ExchangeOrder.objects.filter(provider_order_id=order_id).first()
    return ExchangeOrder(
        pk=half_known.pk if half_known else uuid4(),
        payment=payment,
        provider_order_id=order_id,
        payin_address=payin_address,
        send_units=_send_units(payment, order_id, state),
        payout_address=payment.payout_address,
        refund_address=refund_address,
    )


def _differences(payment: HostPayment, candidate: ExchangeOrder, state: ExchangeState) -> list[str]:
    wrong = differences(payment, candidate, state)
    amount, told = from_units(int(candidate.send_units), ETH), _amount_told(state)
    # Where it tells none, yet or any more, the transaction that paid it does.
    if told is not None and not same_amount(amount, told):
        wrong.append(f"amount is {told}, not {amount:f}")
    return wrong


def _refuse_wrong(payment: HostPayment, order_id: str, wrong: list[str]) -> None:
    if wrong:
        raise RefusedError(
            why=f"Order {order_id} was not made for payment {payment.pk}: {'; '.join(wrong)}.",
            next_step="Look for the payment of exactly that amount; a batch of the same members can be made by create_batch.",
        )


def _odd_refund(payment: HostPayment, candidate: ExchangeOrder) -> list[str]:
    """What is wrong with where the exchange would send it back; such an order may have been made before Sluice was."""
    if candidate.refund_address.lower() == payment.wallet.address.lower():
        return []
    return [f"refund address is {candidate.refund_address or 'not given'}, not {payment.wallet.address}"]


def _date(candidate: ExchangeOrder, state: ExchangeState) -> None:
    """Too old to be paid, whatever becomes of the review, and no younger than what paid it.

    The exchange is asked before it would be paid, and the wallet's line is looked at from the books' first order on.
    """
    candidate.created_at = min(clock.now() - 2 * FUNDABLE_FOR, _block_that_paid(candidate, state))


def _amount_told(state: ExchangeState) -> Decimal | None:
    return state.expected_from if state.expected_from is not None else state.amount_from


def _send_units(payment: HostPayment, order_id: str, state: ExchangeState) -> int:
    """What the payment sends. USD that the books have never valued came to what the order has beyond its ether."""
    if not payment.unpriced_usd or payment.priced_units is not None:
        return payment.send_units
    sent = gateways.node().transaction(state.payin_hash) if state.payin_hash else None
    told = _amount_told(state)
    # The provider rounds its figures; they are compared with this afterwards.
    units = sent.value_wei if sent is not None else 0 if told is None else to_units(told, ETH)
    priced = units - int(payment.amount_units)
    worth = Decimal(0) if priced <= 0 else _worth_usd(priced, units)
    if abs(worth - payment.unpriced_usd) * _BPS > settings.VALUE_BAND_BPS * payment.unpriced_usd:
        raise RefusedError(
            why=f"Order {order_id} was not made for payment {payment.pk}: beyond its {from_units(int(payment.amount_units), ETH):f} ETH it"
            f" takes ether worth {worth:f} USDT for {payment.unpriced_usd.normalize():f} USD that were never valued;"
            f" {settings.VALUE_BAND_BPS} bps apart are allowed.",
            next_step="Look for the payment of that value; if it is this one, leave it unsigned and ask the exchange for a refund.",
        )
    return units


def _worth_usd(units: int, whole_units: int) -> Decimal:
    return from_units(estimated_units(units, whole_units=whole_units, from_asset=ETH, to_asset=USDT), USDT)


def _block_that_paid(order: ExchangeOrder, state: ExchangeState) -> datetime:
    """When our wallet sent the order's amount to its address, by a transaction in a block that the books do not know.

    Raises:
        RefusedError: the chain has no such transaction.
    """
    wallet, node = order.payment.wallet, gateways.node()
    found: ChainTransaction | SentTransaction | None = node.transaction(state.payin_hash) if state.payin_hash else None
    if found is None:
        # The exchange names no transaction: then it is one of those that the books do not know.
        line = examine_line(wallet, settled_block=settled_block(), is_whole=True)
        found = next((each for each in line.sent if _pays(order, each)), None)
    if found is None or found.block_number is None or not _pays(order, found):
        raise RefusedError(
            why=f"Order {order} has {deposit_told(state)}, and the chain shows no transaction of {wallet.address} that paid it.",
            next_step="Somebody else's money is there: ask the exchange. Is our transaction in no block yet, wait for it.",
        )
    return datetime.fromtimestamp(node.block(found.block_number).timestamp, UTC)


def _pays(order: ExchangeOrder, sent: ChainTransaction | SentTransaction) -> bool:
    return (
        sent.from_address.lower() == order.payment.wallet.address.lower()
        and (sent.to_address or "").lower() == (order.payin_address or "").lower()
        and sent.value_wei == int(order.send_units)
        and not Transaction.objects.filter(tx_hash=sent.tx_hash).exists()
    )


def _refuse_other_paid(payment: HostPayment, order_id: str) -> None:
    """Go on only if nobody has paid the order that the books have for the payment, which would be given up."""
    for other in payment.orders.filter(is_current=True).exclude(provider_order_id=order_id):
        if other.provider_order_id is None:
            continue
        if deposit := deposit_told(_ask(other.provider_order_id)):
            raise RefusedError(
                why=f"The payment has order {other} already, and that one has {deposit}.",
                next_step=f"Run {ADOPT}: it may have been paid twice, and then one of both must come back.",
            )


def _store(
    payment: HostPayment,
    order: ExchangeOrder,
    state: ExchangeState,
    actor: Actor,
    reason: str,
    *,
    odd: Sequence[str] = (),
) -> None:
    said = f"found at the exchange, forgotten by the books: {reason}"
    for other in payment.orders.filter(is_current=True).exclude(provider_order_id=order.provider_order_id):
        other.move(
            OrderStatus.ABANDONED, actor=actor, reason=f"order {order} is the one that was paid", is_current=False
        )
    half_known = payment.orders.filter(provider_order_id=order.provider_order_id).first()
    if half_known is None:
        order.save(force_insert=True)
        order.record_birth(actor=actor, reason=said)
    standing = half_known or order
    standing.move(
        OrderStatus.OPEN,
        actor=actor,
        reason=f"{said}; the exchange says {state.raw_status}",
        expected_units=units_or_none(state.expected_to) if state.to_asset == USDT else None,
        valid_until=state.valid_until,
        placed_answer=state.raw,
        provider_status=state.raw_status,
        polled_at=clock.now() - timedelta(days=1),
    )
    if payment.unpriced_usd and payment.priced_units is None:
        payment.priced_units = Decimal(int(order.send_units) - int(payment.amount_units))
        payment.save(update_fields=("priced_units",))
    if payment.status == PaymentStatus.REQUESTED:
        payment.move(PaymentStatus.ORDERED, actor=actor, reason=f"exchange {order} attached: {reason}")
    else:
        payment.note(actor=actor, reason=f"exchange {order} attached: {reason}")
    but = f"; it is not as an order of ours would be: {'; '.join(odd)}" if odd else ""
    open_review(payment, Review(reason=f"exchange {order} was attached, and is paid: {ADOPT}{but}"), actor=actor)
    HostPayment.objects.filter(pk=payment.pk).update(next_action_at=None, unknown_reason="", unknown_since=None)
