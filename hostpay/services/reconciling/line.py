"""The wallet's line of nonces: every one that the chain has used, and whose it was by our books."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max, Min

from config.lib.differences import Line, Verdict, compared
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    AcceptedDifference,
    ExchangeOrder,
    HostPayment,
    NonceSlot,
    OrderStatus,
    PaymentStatus,
    Transaction,
    TransactionStatus,
    Wallet,
)
from hostpay.providers.ethereum import PrunedError, Remembering, SentTransaction, find_by_nonce
from hostpay.providers.rebuilding import signed_bytes
from hostpay.services.adopting import ADOPT
from hostpay.services.reconciling.orphans import how_to_answer, is_done_with, may_be_taken_on

# Each takes some forty questions, so a worker or a page looks up so many, the oldest first, and tells how many are left.
MOST_LOOKED_UP = 50
# The chain's clock and ours, and the exchange's, by which an attached order is dated.
_CLOCKS_APART = timedelta(minutes=15)
# About three hours: what a node without old states is read for instead.
_MOST_BLOCKS_READ = 1_000
_ENDED = (TransactionStatus.MINED, TransactionStatus.FINAL, TransactionStatus.REVERTED)
_STILL_OUT = (PaymentStatus.SIGNED, PaymentStatus.BROADCAST)
# As `_said` writes it into rows that are never changed.
_SAID = re.compile(r" to (?P<to>0x[0-9a-fA-F]{40}|a new contract) by 0x[0-9a-f]{64} in block (?P<block>[0-9]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provable:
    """A transaction that our key signed for exactly one payment, which the books have forgotten."""

    sent: SentTransaction
    payment: HostPayment
    order: ExchangeOrder


@dataclass(slots=True, kw_only=True)
class NonceLine:
    """What was found.

    Attributes:
        costs_unknown: transactions of the wallet were not looked up, so its balance proves nothing.
        left_out: how many, that may be ours, were not looked up because it would take too long.
        used: how many nonces the chain has used.
    """

    lines: list[Line] = field(default_factory=list)
    provable: list[Provable] = field(default_factory=list)
    sent: list[SentTransaction] = field(default_factory=list)
    costs_unknown: bool = False
    left_out: int = 0
    used: int = 0


def examine_line(
    wallet: Wallet, *, settled_block: int, known_up_to: int | None = None, is_whole: bool = False
) -> NonceLine:
    """Account for every nonce below the chain's. What is not of ours is looked up and told with what it did.

    Args:
        known_up_to: what a person has accepted of blocks up to this one is not looked up again, unless it is at an order of
            ours; without it all is, since it may prove itself as ours after all.
        is_whole: without the bound that keeps it short.

    Raises:
        ProviderError: the node did not answer, or does not keep what was asked for.
    """
    node = gateways.node()
    blocks = Remembering(node=node)
    # The chain first: what it has seen by now was committed here before it was sent.
    head = node.block_number()
    used = node.nonce(wallet.address, head)
    pooled = node.nonce(wallet.address, "pending")
    found = NonceLine(used=used)
    wallet.refresh_from_db()
    found.lines.append(_next_nonce(wallet, used, pooled))
    _before_the_books(wallet, used, found)
    looked_into = accepted_nonces(wallet)
    lately = sorted(looked_into)[-MOST_LOOKED_UP:]
    slots: dict[int, NonceSlot | None] = dict.fromkeys(
        _unknown(wallet, head, found, set(looked_into), is_whole=is_whole)
    )
    slots |= {slot.nonce: slot for slot in _undecided(wallet, used)}
    for nonce, slot in sorted(slots.items()):
        known = looked_into.get(nonce)
        # What was accepted long before is not looked up each time: it says whom it paid.
        if known is not None and _is_settled(known, known_up_to if nonce in lately or is_whole else head):
            found.lines.append(known)
            continue
        try:
            sent = find_by_nonce(
                blocks, sender=wallet.address, nonce=nonce, lowest=_lowest_block(wallet, nonce), highest=head
            )
        except PrunedError:
            if known is None or _is_at_open_order(known):
                raise
            found.lines.append(known)
            continue
        _judge(wallet, nonce, sent, settled_block, found, slot=slot)
    found.lines.append(_accounted(wallet, used))
    return found


def match(sent: SentTransaction, wallet: Wallet, slot: NonceSlot | None) -> Provable | None:
    """The payment that the transaction was signed for, if our key signed it: nonce, receiver and value leave no other."""
    order = _order_at(sent)
    if order is None or sent.data or int(order.send_units) != sent.value_wei or not order.is_current:
        return None
    if sent.signature is None or sent.signature.chain_id != wallet.chain_id:
        return None
    payment = order.payment
    if payment.wallet_id != wallet.pk:
        return None
    if slot is not None:
        is_its_own = slot.payment_id == payment.pk and payment.status in _STILL_OUT
        return Provable(sent=sent, payment=payment, order=order) if is_its_own else None
    is_forgotten = (
        payment.status == PaymentStatus.ORDERED
        and order.status == OrderStatus.OPEN
        and not NonceSlot.objects.filter(payment=payment).exists()
    )
    return Provable(sent=sent, payment=payment, order=order) if is_forgotten else None


def _next_nonce(wallet: Wallet, used: int, pooled: int) -> Line:
    expected = used if wallet.next_nonce is None else wallet.next_nonce
    row = f"next nonce of wallet {wallet.address}"
    if pooled > max(expected, used):
        return Line(
            row=row,
            ours=str(expected),
            theirs=f"{used}, and {pooled - max(expected, used)} more in the node's pool that are not ours",
            verdict=Verdict.ALARM,
            next_step="Somebody else uses the key: pause signing, and find out who.",
        )
    if expected == used + 1 and wallet.payments.on_the_wire().exists():
        return Line(row=row, ours=str(expected), theirs=f"{used}, and a payment of ours is out", verdict=Verdict.AGREES)
    ahead = "The node lags, or a transaction of ours is gone; the same bytes are sent again with the next payment."
    behind = "The books are behind the chain: see each nonce that they do not know."
    return compared(row, expected, used, next_step=ahead if expected > used else behind)


def _before_the_books(wallet: Wallet, used: int, found: NonceLine) -> None:
    first = wallet.nonce_slots.aggregate(first=Min("nonce"))["first"]
    if not first or not used:
        return
    found.lines.append(_range_line(wallet, 0, min(first, used) - 1, "used before the first payment of our books"))


def _unknown(wallet: Wallet, head: int, found: NonceLine, accepted: set[int], *, is_whole: bool) -> list[int]:
    """The nonces that no payment of ours was given, in their order; what the bound leaves out is told as a number.

    The oldest first: what is adopted of them, or signed off, makes room for the next, and none is passed over.
    """
    slots = set(wallet.nonce_slots.values_list("nonce", flat=True))
    start = min(slots) if slots else _used_before_our_orders(wallet, head, found.used)
    if not slots and start:
        found.costs_unknown = True
        # In the words of afterwards: what is signed off now is known then.
        found.lines.append(_range_line(wallet, 0, start - 1, "used before the first payment of our books"))
    missing = [nonce for nonce in range(start, found.used) if nonce not in slots]
    unseen = [nonce for nonce in missing if nonce not in accepted]
    left_out = [] if is_whole else unseen[MOST_LOOKED_UP:]
    if left_out:
        found.costs_unknown = True
        found.left_out = len(left_out)
        found.lines.append(_left_out_line(wallet, left_out))
    return [nonce for nonce in missing if nonce not in set(left_out)]


def _used_before_our_orders(wallet: Wallet, head: int, used: int) -> int:
    """How many nonces were used before the books' first payment or order: nothing of ours was there to be paid.

    All of them, if there is neither.
    """
    ours = wallet.payments.aggregate(asked=Min("created_at"), ordered=Min("orders__created_at"))
    known = [moment for moment in ours.values() if moment is not None]
    if not known or not used:
        return used
    before, node = min(known) - _CLOCKS_APART, gateways.node()
    block = _last_block_before(before, head)
    try:
        return node.nonce(wallet.address, block)
    except PrunedError as pruned:
        if head - block > _MOST_BLOCKS_READ:
            raise PrunedError(
                f"{pruned}; our first payment is older than the {_MOST_BLOCKS_READ} blocks that are read instead"
            ) from None
        return used - sum(len(node.transactions_from(wallet.address, number)) for number in range(block + 1, head + 1))


def _last_block_before(moment: datetime, head: int) -> int:
    """The latest block that was made before `moment`; 0, the chain's first, if none was."""
    node, wanted = gateways.node(), int(moment.timestamp())
    after, step = head + 1, 1
    while (before := max(after - step, 0)) and node.block(before).timestamp >= wanted:
        after, step = before, step * 2
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if node.block(middle).timestamp >= wanted else (middle, after)
    return before


def accepted_nonces(wallet: Wallet) -> dict[int, Line]:
    """What a person has accepted of single nonces."""
    found = {}
    ours = AcceptedDifference.objects.filter(row__startswith="nonce ", row__endswith=f" of {wallet.address}")
    for accepted in ours:
        found[int(accepted.row.split()[1])] = Line(
            row=accepted.row, ours=accepted.ours, theirs=accepted.theirs, verdict=Verdict.ACCEPTED
        )
    return found


def _is_settled(accepted: Line, known_up_to: int | None) -> bool:
    """Whether who used the nonce changes no more, its cost is in a settled balance, and no order of ours was paid by it."""
    if known_up_to is None:
        return False
    told = _SAID.search(accepted.theirs)
    if told is None:
        return True
    is_paid_order = ExchangeOrder.objects.filter(payin_address__iexact=told["to"]).exists()
    return int(told["block"]) <= known_up_to and not is_paid_order


def _is_at_open_order(accepted: Line) -> bool:
    """Whether what was accepted paid an order of ours after all, of which nobody knew then, and that is not done with."""
    told = _SAID.search(accepted.theirs)
    if told is None or not ExchangeOrder.objects.filter(payin_address__iexact=told["to"]).exists():
        return False
    return not may_be_taken_on(told["to"])


def _undecided(wallet: Wallet, used: int) -> Sequence[NonceSlot]:
    """Nonces of ours that the chain has used, and for which no transaction of ours is known to be in a block."""
    slots = wallet.nonce_slots.filter(nonce__lt=used).select_related("payment")
    return list(slots.exclude(transactions__status__in=_ENDED).order_by("-nonce")[:MOST_LOOKED_UP])


def _judge(
    wallet: Wallet,
    nonce: int,
    sent: SentTransaction | None,
    settled_block: int,
    found: NonceLine,
    *,
    slot: NonceSlot | None,
) -> None:
    if sent is None:
        found.costs_unknown = True
        found.lines.append(_used_by_no_transaction(wallet, nonce))
        return
    found.sent.append(sent)
    if slot is not None and slot.transactions.filter(tx_hash=sent.tx_hash).exists():
        found.lines.append(_under_way(sent, slot))
        return
    provable = match(sent, wallet, slot)
    if provable is None or signed_bytes(sent) is None:
        found.lines.append(_cancel(sent, slot) if _is_cancel(sent, slot) else _foreign(sent, slot))
        return
    if sent.block_number <= settled_block:
        found.provable.append(provable)
    found.lines.append(_provable_line(provable, is_final=sent.block_number <= settled_block))


def _lowest_block(wallet: Wallet, nonce: int) -> int:
    """A transaction is in no earlier block than one of the same wallet with a lower nonce."""
    below = Transaction.objects.filter(
        slot__wallet=wallet, slot__nonce__lt=nonce, status__in=(TransactionStatus.FINAL, TransactionStatus.REVERTED)
    ).aggregate(block=Max("block_number"))["block"]
    return int(below or 0)


def _order_at(sent: SentTransaction) -> ExchangeOrder | None:
    if sent.to_address is None:
        return None
    orders = ExchangeOrder.objects.select_related("payment__wallet")
    return orders.filter(payin_address__iexact=sent.to_address).first()


def _range_line(wallet: Wallet, first: int, last: int, what: str) -> Line:
    return Line(
        row=f"nonces {first} to {last} of {wallet.address}",
        ours="not known",
        theirs=what,
        verdict=Verdict.DIFFERS,
        next_step="If the wallet was used before Sluice had it, sign the run off and say so.",
    )


def _left_out_line(wallet: Wallet, nonces: Sequence[int]) -> Line:
    return Line(
        row=f"nonces {nonces[0]} to {nonces[-1]} of {wallet.address}",
        ours="not known",
        theirs=f"{len(nonces)} of them used, and not looked up",
        verdict=Verdict.DIFFERS,
        next_step="At a shell manage.py reconcile --chain looks at all of them, and --adopt takes what proves itself.",
        is_acceptable=False,
    )


def _used_by_no_transaction(wallet: Wallet, nonce: int) -> Line:
    return Line(
        row=_row(wallet.address, nonce),
        ours="not known",
        theirs="used, and by no transaction of the wallet in that block",
        verdict=Verdict.ALARM,
        next_step="An authorisation (EIP-7702) may have been signed with the key: pause signing, and find out who.",
    )


def _under_way(sent: SentTransaction, slot: NonceSlot) -> Line:
    return Line(
        row=_row(sent.from_address, sent.nonce),
        ours=f"{sent.tx_hash} of payment {slot.payment_id}, {slot.payment.status}",
        theirs=f"{sent.tx_hash} in block {sent.block_number}",
        verdict=Verdict.NOTED,
        next_step="A worker finds it at its next look.",
    )


def _provable_line(provable: Provable, *, is_final: bool) -> Line:
    sent = provable.sent
    wait = f"It proves itself as ours: {ADOPT}"
    not_yet = f"It proves itself as ours; once it has {settings.ETH_CONFIRMATIONS} confirmations: {ADOPT}"
    return Line(
        row=_row(sent.from_address, sent.nonce),
        ours=f"not known; payment {provable.payment.pk} is {provable.payment.status}, its order"
        f" {provable.order} takes {_eth(int(provable.order.send_units))} at {provable.order.payin_address}",
        theirs=_said(sent),
        verdict=Verdict.DIFFERS,
        next_step=wait if is_final else not_yet,
        is_acceptable=False,
    )


def _foreign(sent: SentTransaction, slot: NonceSlot | None) -> Line:
    order = _order_at(sent)
    ours = "not known" if slot is None else f"given to payment {slot.payment_id}, {slot.payment.status}"
    if order is not None:
        ours += f"; it paid order {order} ({order.status}) of payment {order.payment_id} ({order.payment.status})"
        next_step = f"Money of ours is at that order. {how_to_answer(order)}"
    else:
        next_step = (
            "Keep the wallet halted until you know who sent it. After a restore: an order that the books have forgotten"
            " shows under --provider with this pay-in address, and is attached to its payment. If it was you, sign the run off and lift the halt; if nobody knows, the key is"
            " stolen: pause signing and move the funds."
        )
    row = _row(sent.from_address, sent.nonce)
    return Line(
        row=row,
        ours=ours,
        theirs=_said(sent),
        verdict=Verdict.ALARM,
        next_step=next_step,
        # Taken on too soon it would be paid a second time.
        is_acceptable=order is None or is_done_with(order),
    )


def _is_cancel(sent: SentTransaction, slot: NonceSlot | None) -> bool:
    if slot is None or sent.data or sent.value_wei:
        return False
    return sent.to_address == sent.from_address and signed_bytes(sent) is not None


def _cancel(sent: SentTransaction, slot: NonceSlot | None) -> Line:
    """Signed by our key on our nonce: what a cancel leaves that a backup has forgotten."""
    line = _foreign(sent, slot)
    return replace(
        line,
        ours=f"{line.ours}; a transfer of nothing to ourselves, as a cancel is",
        next_step="If two of you let it be cancelled, the payment moved nothing: sign the run off, and lift the halt. If"
        " nobody did, the key is stolen: pause signing and move the funds.",
    )


def _accounted(wallet: Wallet, used: int) -> Line:
    known = wallet.nonce_slots.filter(nonce__lt=used).count()
    return Line(
        row="nonces used on chain",
        ours=f"{known} given to payments",
        theirs=f"{used}",
        verdict=Verdict.AGREES if known == used else Verdict.NOTED,
    )


def _row(address: str, nonce: int) -> str:
    """With the wallet: another one's nonces are other nonces, and accepted by nobody."""
    return f"nonce {nonce} of {address}"


def _said(sent: SentTransaction) -> str:
    to = sent.to_address or "a new contract"
    return f"{_eth(sent.value_wei)} to {to} by {sent.tx_hash} in block {sent.block_number}"


def _eth(wei: int) -> str:
    return format_units(wei, ETH)
