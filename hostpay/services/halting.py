"""A halted wallet signs nothing more until a person has found out what happened to it."""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models import Max

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from hostpay import gateways
from hostpay.models import Wallet

logger = logging.getLogger(__name__)

# Halts to which adopting from the chain is the answer begin so.
AHEAD = "the chain knows more than the books"


def halt_wallet(*, wallet: Wallet, actor: Actor, reason: str) -> None:
    """Sign nothing more for the wallet; a wallet that is halted already keeps its first reason."""
    halted = Wallet.objects.filter(pk=wallet.pk, halted_at__isnull=True).update(
        halted_at=clock.now(), halted_reason=reason
    )
    if halted:
        logger.error("wallet halted", extra={"wallet": str(wallet), "actor": str(actor), "reason": reason})


def lift_halt(*, wallet: Wallet, actor: Actor, reason: str, accounted: int | None = None) -> None:
    """Let the wallet sign again, from the nonce at which the chain is now.

    Args:
        accounted: so many nonces the caller has accounted for; if chain or pool have another by now, nothing is lifted.

    Raises:
        RefusedError: it is not halted, no reason is given, transactions of it wait in the node's pool, or there are others
            than were accounted for.
        ProviderError: the node did not answer.
    """
    need_reason(reason)
    node = gateways.node()
    on_chain, in_pool = node.nonce(wallet.address), node.nonce(wallet.address, "pending")
    with transaction.atomic():
        row = Wallet.objects.select_for_update().get(pk=wallet.pk)
        if row.halted_at is None:
            raise RefusedError(why=f"Wallet {row.address} is not halted.", next_step="Nothing is to be done.")
        if in_pool > on_chain and not row.payments.on_the_wire().exists():
            raise RefusedError(
                why=f"{in_pool - on_chain} transactions of the wallet wait in the node's pool, and none of them is ours.",
                next_step="Find out who uses the key; lift the halt when they are mined or gone.",
            )
        highest = row.nonce_slots.aggregate(highest=Max("nonce"))["highest"]
        ours = 0 if highest is None else highest + 1
        # What is ours may wait in the pool; whatever else has come was not looked at.
        if accounted is not None and (on_chain != accounted or in_pool > max(accounted, ours)):
            raise RefusedError(
                why=f"{accounted} nonces are accounted for; by now the chain has used {on_chain}, and its pool {in_pool}.",
                next_step="Look at what came meanwhile, and try again.",
            )
        row.next_nonce = max(on_chain, ours)
        before = row.halted_reason
        row.halted_at, row.halted_reason = None, ""
        row.save(update_fields=("next_nonce", "halted_at", "halted_reason"))
    logger.warning(
        "wallet halt lifted",
        extra={"wallet": str(wallet), "actor": str(actor), "reason": reason, "halted_because": before},
    )
