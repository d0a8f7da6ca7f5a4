"""A person lifts a halt: only when nothing that the wallet has sent, and the books do not know, can have paid for them."""

from __future__ import annotations

from datetime import timedelta

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from hostpay import gateways
from hostpay.models import AcceptedDifference, ExchangeOrder, Wallet
from hostpay.providers.changenow import ListedExchange, NotAllowedError
from hostpay.providers.ethereum import PrunedError, SentTransaction
from hostpay.services import halting, health
from hostpay.services.adopting import ADOPT, UNPAID, ask, deposit_told
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import NonceLine, examine_line
from hostpay.services.reconciling.orphans import (
    how_to_answer,
    how_to_attach,
    is_done_with,
    may_be_taken_on,
    paid_by_our_key,
    unknown_to_the_books,
)

# A backup is hours old, or days.
_LOOK_BACK = timedelta(days=30)


def lift_halt(*, wallet: Wallet, actor: Actor, reason: str) -> None:
    """Let the wallet sign again, from the nonce at which the chain is now, if no money of ours is found unaccounted for.

    Raises:
        RefusedError: as `halting.lift_halt`; or a transaction that the books do not know paid an order, ours or one that
            they do not know either; or an order that they do not know was paid; or not all could be looked up.
        ProviderError: node or exchange did not answer; nothing is lifted meanwhile.
    """
    line = _looked_into(wallet)
    unknown = unknown_to_the_books(line.sent if line else ())
    _refuse_paid_orders(wallet, unknown)
    _refuse_paid_orphans(wallet, unknown)
    halting.lift_halt(wallet=wallet, actor=actor, reason=reason, accounted=line.used if line else None)


def _refuse_paid_orders(wallet: Wallet, unknown: list[SentTransaction]) -> None:
    for sent in unknown:
        order = ExchangeOrder.objects.filter(payin_address__iexact=sent.to_address or "").first()
        # What was taken on before anybody knew of the order was taken on for something else.
        if order is not None and not (is_done_with(order) and _is_accepted(f"nonce {sent.nonce} of {wallet.address}")):
            raise RefusedError(
                why=f"{sent.tx_hash}, which the books do not know, paid order {order} of payment {order.payment_id}.",
                next_step=how_to_answer(order),
            )


def _looked_into(wallet: Wallet) -> NonceLine | None:
    """The wallet's line; None where books that have signed nothing are on a node that keeps no state of their first payment.

    Then the person vouches for what the wallet has sent since, which the page of the operation says.
    """
    try:
        line = examine_line(wallet, settled_block=settled_block())
    except PrunedError:
        if wallet.nonce_slots.exists():
            raise
        return None
    if line.left_out:
        raise RefusedError(
            why=f"The wallet has sent more than the books know, and {line.left_out} of it were not looked up.",
            next_step=f"At a shell run {ADOPT}, and sign off what is nobody's.",
        )
    return line


def _refuse_paid_orphans(wallet: Wallet, unknown: list[SentTransaction]) -> None:
    for row in _orphans(wallet):
        state = ask(row.order_id)
        deposit = deposit_told(state)
        if not deposit:
            continue
        tx_hash = paid_by_our_key(wallet, row.payin_address, state, lambda: unknown)
        if tx_hash and not may_be_taken_on(row.payin_address):
            # Whatever was signed off before.
            raise RefusedError(
                why=f"Our own key paid order {row.order_id} by {tx_hash}, and the books know neither of them.",
                next_step=how_to_attach(row.order_id),
            )
        if not _is_accepted(f"order {row.order_id}"):
            raise RefusedError(
                why=f"The exchange has order {row.order_id} of ours with {deposit}, and the books do not know it.",
                next_step="No transaction of ours that the books do not know is found to have paid it. Ask the exchange whose"
                " money it is; if it is nobody's, sign that run of manage.py reconcile --provider off.",
            )


def _orphans(wallet: Wallet) -> list[ListedExchange]:
    """Orders of our account for the wallet that no order of ours names, and that may hold a deposit."""
    try:
        with health.counted(health.EXCHANGE):
            listed = gateways.exchange().find_exchanges(payout_address=wallet.address, since=clock.now() - _LOOK_BACK)
    except NotAllowedError:
        # Only a private key may list. The chain has been asked, and the person vouches for the rest.
        return []
    maybe = [row for row in listed if row.status not in UNPAID]
    known = set(
        ExchangeOrder.objects.filter(provider_order_id__in=[row.order_id for row in maybe]).values_list(
            "provider_order_id", flat=True
        )
    )
    return [row for row in maybe if row.order_id not in known]


def _is_accepted(row: str) -> bool:
    return AcceptedDifference.objects.filter(row=row).exists()
