"""A payment from which no money left is closed; chain and exchange say first that none has, since a backup may not know."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import ProviderError, RefusedError
from hostpay import gateways
from hostpay.models import CLOSED_UNPAID, ExchangeOrder, HostPayment, OrderStatus, PaymentStatus
from hostpay.providers.changenow import OrderNotFoundError
from hostpay.providers.ethereum import PrunedError
from hostpay.services.adopting import ADOPT, ask, deposit_told
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import examine_line
from hostpay.services.reconciling.orphans import is_taken_on, transactions_to, unknown_to_the_books

_UNSIGNED = (PaymentStatus.REQUESTED, PaymentStatus.ORDERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaid:
    """The word of chain and exchange that our key has paid none of these orders of a payment."""

    orders: frozenset[UUID]


def close_unsent(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """Close a payment from which no money left, on behalf of its requester, who is not told again.

    Raises:
        RefusedError: bytes were signed, or the money is at the exchange, or here already; or as `ask_unpaid`.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    close_unpaid(payment=payment, unpaid=ask_unpaid(payment), actor=actor, reason=reason)


def ask_unpaid(payment: HostPayment) -> Unpaid:
    """Ask chain and exchange whether our key has paid an order of the payment, in a transaction that the books do not know.

    Raises:
        RefusedError: it has, or may have; or one of both did not answer.
    """
    placed = list(payment.orders.filter(payin_address__isnull=False))
    is_unsigned = payment.status in _UNSIGNED
    # Signed by the books it is refused for that, and an end that was told stays as it is.
    is_asked = is_unsigned or (payment.status in CLOSED_UNPAID and payment.delivered_at is None)
    if placed and is_asked and not is_taken_on(payment):
        names = " or ".join(str(order) for order in placed if order.is_current) or f"an order of payment {payment.pk}"
        try:
            _ask_chain(payment, placed)
            for order in placed:
                if is_unsigned and order.is_current and order.provider_order_id:
                    _ask_exchange(order)
        except ProviderError as error:
            raise RefusedError(
                why=f"It could not be asked whether {names} was paid: {error}.",
                next_step="Try again when chain and exchange answer; nothing is given back before.",
            ) from None
    return Unpaid(orders=frozenset(order.pk for order in placed))


def close_unpaid(*, payment: HostPayment, unpaid: Unpaid, actor: Actor, reason: str) -> None:
    """Close a payment of which chain and exchange were asked; within whatever transaction the caller has.

    Raises:
        RefusedError: bytes were signed, or the money is at the exchange, or here already; or it was ordered since.
        StaleRowError: it has moved on meanwhile.
    """
    need_reason(reason)
    with transaction.atomic():
        row = payment.locked()
        if row.orders.filter(payin_address__isnull=False).exclude(pk__in=unpaid.orders).exists():
            raise RefusedError(
                why=f"Host payment {row.pk} got an order meanwhile.", next_step="Look at it, and decide anew."
            )
        if row.status in CLOSED_UNPAID:
            if row.delivered_at is None:
                _stamp_closed(row)
                row.note(actor=actor, reason=f"closed: {reason}")
            return
        if row.status not in _UNSIGNED:
            raise RefusedError(
                why=f"The host payment is {row.status}: {_WHY_NOT[PaymentStatus(row.status)]}.",
                next_step="Follow it to its end; release is possible if it fails there.",
            )
        for order in row.orders.filter(is_current=True):
            order.move(OrderStatus.ABANDONED, actor=actor, reason=reason, is_current=False)
        row.move(PaymentStatus.CANCELLED, actor=actor, reason=reason, failure_reason=reason)
        _stamp_closed(row)


_WHY_NOT = {
    PaymentStatus.SIGNED: "signed bytes exist and may still be mined",
    PaymentStatus.BROADCAST: "its transaction is out and may still be mined",
    PaymentStatus.MINED: "its transaction is mined",
    PaymentStatus.FINAL: "its ETH is at the exchange",
    PaymentStatus.SETTLED: "its proceeds are here",
}


def _ask_chain(payment: HostPayment, placed: list[ExchangeOrder]) -> None:
    wallet, block = payment.wallet, settled_block()
    try:
        line = examine_line(wallet, settled_block=block, known_up_to=block)
    except PrunedError:
        if wallet.nonce_slots.exists():
            raise
        # Books that have signed nothing, on a node that keeps no state of their first payment: the exchange alone says it.
        return
    for order in placed:
        for sent in transactions_to(order.payin_address or "", unknown_to_the_books(line.sent)):
            raise _paid(order, f"{sent.tx_hash}, which the books do not know,")
    if line.left_out:
        raise RefusedError(
            why=f"The wallet has sent more than the books know, and {line.left_out} of it were not looked up.",
            next_step=f"At a shell run {ADOPT}, and sign off what is nobody's; then try again.",
        )


def _ask_exchange(order: ExchangeOrder) -> None:
    try:
        state = ask(order.provider_order_id or "")
    except OrderNotFoundError:
        return
    deposit = deposit_told(state)
    if not deposit:
        return
    named = gateways.node().transaction(state.payin_hash) if state.payin_hash else None
    if named is None:
        raise RefusedError(
            why=f"The exchange has {deposit} at order {order} of payment {order.payment_id}, and the chain does not show whose"
            " it is.",
            next_step="If it left our wallet, it is paid: try again when the chain shows it, or ask the exchange by which"
            " transaction it came.",
        )
    if named.from_address.lower() == order.payment.wallet.address.lower():
        raise _paid(order, named.tx_hash)


def _paid(order: ExchangeOrder, by: str) -> RefusedError:
    return RefusedError(
        why=f"{by} paid order {order} of payment {order.payment_id}: its money has left, and who was paid by it would be"
        " paid a second time.",
        next_step=f"Take it into the books first: {ADOPT} (docs/runbooks.md, Restore from a backup).",
    )


def _stamp_closed(row: HostPayment) -> None:
    HostPayment.objects.filter(pk=row.pk).update(
        delivered_at=clock.now(),
        next_action_at=None,
        review_reason="",
        review_since=None,
        waiting_reason="",
        waiting_since=None,
        unknown_reason="",
        unknown_since=None,
    )
