"""A person lifts a halt: only when nothing that the wallet has sent, and the books do not know, can have paid for them."""

from __future__ import annotations

from datetime import timedelta

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from hostpay import gateways
from hostpay.models import AcceptedDifference, ExchangeOrder, Transaction, Wallet
from hostpay.providers.changenow import ListedExchange, NotAllowedError
from hostpay.providers.ethereum import PrunedError, SentTransaction
from hostpay.services import halting, health
from hostpay.services.adopting import ADOPT, UNPAID, ask, deposit_told
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import MOST_LOOKED_UP, NonceLine, examine_line

# A backup is hours old, or days.
_LOOK_BACK = timedelta(days=30)


def lift_halt(*, wallet: Wallet, actor: Actor, reason: str) -> None:
    """Let the wallet sign again, from the nonce at which the chain is now, if no money of ours is found unaccounted for.

    Raises:
        RefusedError: as `halting.lift_halt`; or a transaction that the books do not know paid an order of ours, or an
            order that they do not know was paid.
        ProviderError: node or exchange did not answer; nothing is lifted meanwhile.
    """
    line = _looked_into(wallet)
    _refuse_paid_orders(wallet, _unknown_to_the_books(line))
    _refuse_paid_orphans(wallet)
    halting.lift_halt(wallet=wallet, actor=actor, reason=reason, accounted=line.used if line else None)


def _refuse_paid_orders(wallet: Wallet, unknown: list[SentTransaction]) -> None:
    for sent in unknown:
        order = ExchangeOrder.objects.filter(payin_address__iexact=sent.to_address or "").first()
        if order is not None and not _is_accepted(f"nonce {sent.nonce} of {wallet.address}"):
            raise RefusedError(
                why=f"{sent.tx_hash}, which the books do not know, paid order {order} of payment {order.payment_id}.",
                next_step=f"Run {ADOPT}; release and retry nothing of that payment before.",
            )


def _looked_into(wallet: Wallet) -> NonceLine | None:
    """The wallet's line; None where a wallet with a past before Sluice is too long or too old to be looked up."""
    wallet.refresh_from_db(fields=("next_nonce",))
    is_first = wallet.next_nonce is None
    if is_first and gateways.node().nonce(wallet.address) > MOST_LOOKED_UP:
        # No backup from before the first payment has so much after it: the wallet had a life before Sluice.
        return None
    try:
        return examine_line(wallet, settled_block=settled_block())
    except PrunedError:
        if not is_first:
            raise
        return None


def _unknown_to_the_books(line: NonceLine | None) -> list[SentTransaction]:
    found = line.sent if line else []
    known = set(
        Transaction.objects.filter(tx_hash__in=[each.tx_hash for each in found]).values_list("tx_hash", flat=True)
    )
    return [each for each in found if each.tx_hash not in known]


def _refuse_paid_orphans(wallet: Wallet) -> None:
    for row in _orphans(wallet):
        if not _is_accepted(f"order {row.order_id}") and (deposit := deposit_told(ask(row.order_id))):
            raise RefusedError(
                why=f"The exchange has order {row.order_id} of ours with {deposit}, and the books do not know it.",
                next_step="Attach it to the payment it was made for: manage.py reconcile --provider says how. Is it nobody's, sign"
                " that run off.",
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
