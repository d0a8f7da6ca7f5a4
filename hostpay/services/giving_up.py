"""final → refunded | failed by two people: the ETH at the exchange came back unseen by us, or will never come back.

What can be asked of the chain is asked when it is proposed and again when it is approved, before anything is locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Sum

from config.lib import clock
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    GIVEN_UP,
    Approval,
    ExchangeOrder,
    HostPayment,
    LateReturn,
    OrderStatus,
    PaymentStatus,
    Refund,
    Transaction,
    TransactionStatus,
    WriteOff,
)
from hostpay.providers.addresses import is_hash
from hostpay.providers.ethereum import ChainTransaction
from hostpay.services.finality import is_final
from hostpay.services.receiving import find_named, find_unnamed
from hostpay.services.refunding import (
    Returned,
    book_late,
    close_refunded,
    credited_units,
    find_refund,
    hold_block,
    proven_units,
    why_impossible,
    why_not_divided,
)
from hostpay.services.steps import close_answered

# Before that the exchange, or its refund, may simply be slow; and what is written off too early is paid twice.
WRITE_OFF_AFTER = timedelta(days=1)
_PLAIN = "a plain transfer of"
_IN_WORDS_ALONE = "the nodes keep neither a trace nor the balances of that block: by the word of two people"


def why_not_accept_refund(payment: HostPayment) -> str:
    """A sentence, or nothing if the payment could end with a refund that people found, or one be booked after its end."""
    if why_not_book_late(payment) == "":
        return ""
    if payment.status != PaymentStatus.FINAL:
        return f"It is {payment.status}; only what the exchange has can come back."
    if not payment.review_reason:
        return "It is not in review: it goes its way by itself."
    if payment.orders.filter(is_current=True, receipts__isnull=False).exists():
        return "USDT arrived for it: that is what it can end with."
    return ""


def why_not_book_late(payment: HostPayment) -> str:
    """A sentence, or nothing if two people have ended the payment, and its end is told: what comes then is only booked.

    Whether a review is open says nothing: its question may be answered while the ETH is here and has no row yet.
    """
    given_up = payment.approvals.filter(action__in=GIVEN_UP, executed_at__isnull=False)
    if payment.delivered_at is None or not given_up.exists():
        return "It was not ended by two people, or its requester is not told yet."
    return ""


def why_not_write_off(payment: HostPayment) -> str:
    """A sentence, or nothing if what the exchange has could be given up."""
    if payment.status != PaymentStatus.FINAL:
        return f"It is {payment.status}; only what the exchange has can be written off."
    why_not = why_not_accept_refund(payment)
    if why_not or clock.now() - payment.status_changed_at >= WRITE_OFF_AFTER:
        return why_not
    return f"The exchange has its ETH since {payment.status_changed_at:%Y-%m-%d %H:%M} UTC: less than a day."


def facts_of_refund(*, payment: HostPayment, tx_hash: str, units: int, is_part: bool) -> dict[str, str]:
    """What the chain says of the refund that people found, for the proposal.

    Args:
        units: wei of it that are this payment's.
        is_part: whether the transaction brought more than that, for other payments.

    Raises:
        RefusedError: it is none, or not of that amount.
        ProviderError: the node did not answer.
    """
    current = _current(payment)
    returned, proof, booked = _proven(payment, tx_hash.strip().lower(), units, is_part=is_part)
    impossible = why_impossible(payment, current, returned)
    if impossible:
        raise RefusedError(why=f"{impossible[:1].upper()}{impossible[1:]}.", next_step="Name another transaction.")
    if current.late_returns.filter(tx_hash=returned.tx_hash).exists():
        raise RefusedError(
            why=f"{returned.tx_hash} is booked for it already.",
            next_step="Close its review, if one is open, or name another transaction.",
        )
    undivided = why_not_divided(payment.wallet.chain_id, returned)
    if undivided:
        raise RefusedError(
            why=f"{undivided[:1].upper()}{undivided[1:]}.",
            next_step="Look at what others got of it, and take what is left.",
        )
    return {
        "exchange": current.provider_order_id or "",
        "refund_tx": returned.tx_hash,
        "refund_block": str(returned.block_number),
        "refund_block_hash": returned.block_hash,
        "refund_from": returned.from_address,
        "refunded_wei": str(returned.units),
        "brought_wei": str(returned.brought_units),
        "is_part": "yes" if is_part else "no",
        "lost_wei": str(max(int(current.send_units) - returned.units, 0)),
        "proof": proof,
        "block_booked_wei": "" if booked is None else str(booked),
    }


def facts_of_write_off(*, payment: HostPayment) -> dict[str, str]:
    """What would be given up, for the proposal.

    Raises:
        RefusedError: the chain shows its proceeds, or its refund.
        ProviderError: the node did not answer.
    """
    current = _current(payment)
    found = find_named(payment, current, current.payout_hash) if current.payout_hash else find_unnamed(payment, current)
    if found is not None and found.logs:
        raise RefusedError(
            why=f"Its USDT is on chain: {', '.join(sorted({log.tx_hash for log in found.logs}))}.",
            next_step="Let it be credited, or accept what arrived.",
        )
    returned = find_refund(payment, current)
    if isinstance(returned, Returned) and returned.units and not why_impossible(payment, current, returned):
        raise RefusedError(
            why=f"{format_units(returned.units, ETH)} of it came back in {returned.tx_hash}.",
            next_step="Propose to accept that refund.",
        )
    return {
        "exchange": current.provider_order_id or "",
        "provider_status": current.provider_status,
        "payout_hash": current.payout_hash,
        "refund_hash": current.refund_hash,
        "lost_wei": str(current.send_units),
    }


def take_refund(*, payment: HostPayment, approval: Approval, actor: Actor) -> None:
    """End the payment with the refund of the approval, or book it after its end, in the transaction that approves it.

    Raises:
        RefusedError: another order was credited with too much of the transaction, or of its block, in the same moment.
    """
    said: Mapping[str, str] = approval.payload
    returned = Returned(
        tx_hash=said["refund_tx"],
        from_address=said["refund_from"],
        units=int(said["refunded_wei"]),
        brought_units=int(said["brought_wei"]),
        block_number=int(said["refund_block"]),
        block_hash=said["refund_block_hash"],
    )
    _refuse_unless_still_left(payment, returned, said["block_booked_wei"])
    try:
        with transaction.atomic():
            _book(payment, returned, approval, actor)
    except IntegrityError:
        raise RefusedError(
            why=f"Of {returned.tx_hash} another payment was given a part meanwhile, and so much is not left.",
            next_step="Look at what it got, reject this, and propose anew.",
        ) from None


def _refuse_unless_still_left(payment: HostPayment, returned: Returned, booked_wei: str) -> None:
    """What only the balance of its block speaks for is left for as long as nothing more of that block is booked.

    Until this transaction ends nobody else books a refund of the block.
    """
    if not booked_wei:
        return
    hold_block(payment.wallet.chain_id, returned.block_number)
    if _booked_in(payment, returned) != int(booked_wei):
        raise RefusedError(
            why=f"Of block {returned.block_number} more was booked since this was proposed, and the balance proves both"
            " together at the most.",
            next_step="Reject this, and propose anew what is left.",
        )


def _book(payment: HostPayment, returned: Returned, approval: Approval, actor: Actor) -> None:
    current = _current(payment)
    by_two = f"the refund that two people accepted ({approval.payload['proof']})"
    if payment.status == PaymentStatus.FINAL:
        close_refunded(
            payment=payment, current=current, returned=returned, actor=actor, reason=by_two, approval=approval
        )
        return
    book_late(payment=payment, current=current, returned=returned, approval=approval)
    told = f"{format_units(returned.units, ETH)} came back in {returned.tx_hash} after its end: {by_two}"
    payment.note(actor=actor, reason=told, data={"tx_hash": returned.tx_hash, "returned_units": str(returned.units)})
    # What else came up since is another question, and nobody has answered it.
    close_answered(payment, about=returned.tx_hash)


def write_off(*, payment: HostPayment, approval: Approval, actor: Actor) -> None:
    """End the payment with its whole loss, in the transaction that approves it; its requester is told next."""
    current = _current(payment)
    lost = format_units(int(current.send_units), ETH)
    told = f"{lost} at exchange {current.provider_order_id} are written off"
    with transaction.atomic():
        WriteOff.objects.create(order=current, approval=approval, lost_units=current.send_units)
        current.move(OrderStatus.FAILED, actor=actor, reason=told)
        payment.move(
            PaymentStatus.FAILED,
            actor=actor,
            reason=f"{told} by {approval.proposed_by} and {approval.decided_by}",
            data={"lost_units": str(current.send_units), "approval": str(approval.pk)},
            failure_reason=told,
            review_reason="",
            review_since=None,
            next_action_at=clock.now(),
        )


def _current(payment: HostPayment) -> ExchangeOrder:
    current: ExchangeOrder = payment.orders.get(is_current=True)
    return current


def _proven(payment: HostPayment, tx_hash: str, units: int, *, is_part: bool) -> tuple[Returned, str, int | None]:
    """The refund, and by what its amount is known; a part is one only of what the chain itself can tell.

    Where nothing tells of the transaction itself, also the wei of its block that are booked already.
    """
    if not is_hash(tx_hash) or units <= 0:
        raise RefusedError(
            why="A refund is a transaction and an amount above zero.",
            next_step="Give the transaction's hash, 0x and 64 hex digits, and what it brought in ETH.",
        )
    node = gateways.node()
    sent, receipt = node.transaction(tx_hash), node.receipt(tx_hash)
    if sent is None or receipt is None or not receipt.ok or not is_final(receipt):
        raise RefusedError(
            why=f"{tx_hash} is not final on chain, or failed.", next_step="Wait for its confirmations, or correct it."
        )
    shown, by = _shown(payment, sent)
    returned = Returned(
        tx_hash=sent.tx_hash,
        from_address=sent.from_address,
        units=units,
        brought_units=units if shown is None else shown,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
    )
    if shown is None:
        if is_part:
            raise RefusedError(
                why=f"What {tx_hash} brought in all is known to no node of ours, so nobody can tell a part of it.",
                next_step="Name a node that traces transactions in ETH_RPC_URLS.",
            )
        booked = _booked_in(payment, returned)
        return returned, _proof_by_balance(payment, returned, booked), booked
    if shown < units or (shown > units and not is_part):
        raise _not_of_that_amount(returned, shown)
    whole = "exactly that" if shown == units else f"{format_units(shown, ETH)} in all, of which this is a part"
    return returned, f"{by} {whole}{'' if by == _PLAIN else ' to the wallet'}", None


def _shown(payment: HostPayment, sent: ChainTransaction) -> tuple[int | None, str]:
    """What the transaction brought to the wallet, and by what that is known; None if neither chain nor books tell."""
    wallet, chain_id = payment.wallet.address, payment.wallet.chain_id
    is_plain = (sent.to_address or "").lower() == wallet.lower() and sent.value_wei > 0
    shown = sent.value_wei if is_plain else gateways.node().traced_wei(sent.tx_hash, wallet)
    booked = proven_units(chain_id, sent.tx_hash)
    if shown is None:
        # No node traces it any more; what it brought when a part of it was booked, it has brought.
        return booked, "by a part of it that is booked it brings"
    if booked is not None and booked != shown:
        raise RefusedError(
            why=f"{sent.tx_hash} brought {format_units(shown, ETH)}, and a part of it is booked as of"
            f" {format_units(booked, ETH)}.",
            next_step="Ask another node: one of the two is wrong.",
        )
    return shown, _PLAIN if is_plain else "its trace brings"


def _proof_by_balance(payment: HostPayment, returned: Returned, booked: int) -> str:
    """What the block brought to the wallet in all; others may have paid in it, too, so it is a limit and no proof."""
    node, wallet = gateways.node(), payment.wallet
    before = node.balance_at(wallet.address, returned.block_number - 1)
    after = node.balance_at(wallet.address, returned.block_number)
    if before is None or after is None:
        return _IN_WORDS_ALONE
    rise = after - before + _spent_in(payment, returned.block_number) - booked
    if rise < returned.units:
        raise _not_of_that_amount(returned, max(rise, 0), besides=booked)
    beside = f" beside {format_units(booked, ETH)} that are booked of it" if booked else ""
    return f"the wallet's balance rose by {format_units(rise, ETH)} in its block{beside}"


def _booked_in(payment: HostPayment, returned: Returned) -> int:
    """Wei of the block that are known to be other money: all that other transactions brought of which a part is booked."""
    total = credited_units(payment.wallet.chain_id, returned.tx_hash)
    brought: dict[str, int] = {}
    for model in (Refund, LateReturn):
        rows = model.objects.filter(order__payment__wallet=payment.wallet, block_number=returned.block_number)
        for tx_hash, units in rows.exclude(tx_hash=returned.tx_hash).values_list("tx_hash", "brought_units"):
            brought[tx_hash] = max(brought.get(tx_hash, 0), int(units))
    return total + sum(brought.values())


def _spent_in(payment: HostPayment, block_number: int) -> int:
    """What our own transactions in the block took from the wallet, gas included."""
    ours = Transaction.objects.filter(slot__wallet=payment.wallet, block_number=block_number)
    gas = ours.aggregate(wei=Sum(F("gas_used") * F("effective_gas_price_wei")))["wei"]
    # Of a reverted one only the gas left.
    value = ours.exclude(status=TransactionStatus.REVERTED).aggregate(wei=Sum("value_units"))["wei"]
    return int(gas or 0) + int(value or 0)


def _not_of_that_amount(returned: Returned, shown_wei: int, *, besides: int = 0) -> RefusedError:
    """`besides`: wei of its block that are booked already."""
    block = f", as {format_units(besides, ETH)} of its block are booked" if besides else ""
    return RefusedError(
        why=f"{returned.tx_hash} brought {format_units(shown_wei, ETH)} to the wallet, not"
        f" {format_units(returned.units, ETH)}{block}.",
        next_step="Give the amount that the chain shows; if the rest is other payments', say that this is a part.",
    )
