"""final → refunded: the provider gives the deposit back; believed when the chain shows it, and what is missing booked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Sum

from config.lib import clock
from config.lib.audit import Actor
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    Approval,
    ExchangeOrder,
    HostPayment,
    LateReturn,
    OrderStatus,
    PaymentStatus,
    Receipt,
    Refund,
    Transaction,
    TransactionStatus,
    Wallet,
)
from hostpay.services.finality import is_final
from hostpay.services.steps import Proceed, Review, Said, Wait

# Refunds are sent by hand at some providers: a working day is no reason to call anybody.
SLOW_AFTER = timedelta(days=1)
_BPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """ETH that a final transaction brought to the wallet.

    Attributes:
        units: wei of it that are, or may be, the order's.
        brought_units: wei that the whole transaction brought.
    """

    tx_hash: str
    from_address: str
    units: int
    brought_units: int
    block_number: int
    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotProven:
    """Why nothing is proven yet; `is_final` if the transaction is, and people have to read what it brought."""

    reason: str
    is_final: bool = False


def receive_refund(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said:
    """Close the payment with what came back, once it is final on chain; until then, and in doubt, nothing is released.

    Raises:
        ProviderError: the node did not answer.
    """
    returned = find_refund(payment, current)
    if isinstance(returned, NotProven):
        if clock.now() - payment.status_changed_at > SLOW_AFTER:
            return Review(reason=returned.reason, after_s=settings.EXCHANGE_POLL_EVERY_S)
        return Wait(reason=returned.reason, after_s=settings.EXCHANGE_POLL_EVERY_S)
    # What is unlikely two people may accept, who have looked at more than the rows.
    doubt = why_impossible(payment, current, returned) or why_unlikely(payment, current, returned)
    if doubt:
        return Review(reason=doubt, after_s=settings.EXCHANGE_POLL_EVERY_S)
    close_refunded(payment=payment, current=current, returned=returned, actor=actor, reason="the refund is final")
    return Proceed()


def find_refund(payment: HostPayment, current: ExchangeOrder) -> Returned | NotProven:
    """What came back for the order by a final transaction: all of it that no other order was credited with.

    Raises:
        ProviderError: the node did not answer.
    """
    amount = format_units(int(current.send_units), ETH)
    name = f"exchange {current.provider_order_id} of {amount}"
    if not current.refund_hash:
        return NotProven(reason=f"{name} is {current.provider_status}, and no refund transaction is named")
    node = gateways.node()
    sent, receipt = node.transaction(current.refund_hash), node.receipt(current.refund_hash)
    if sent is None or receipt is None or not receipt.ok or not is_final(receipt):
        return NotProven(
            reason=f"{name} is {current.provider_status}, and its refund {current.refund_hash} is not final on chain"
        )
    # A receiver other than the wallet may still pay it from inside a contract; that is for two people to read.
    if (sent.to_address or "").lower() != payment.wallet.address.lower() or not sent.value_wei:
        return NotProven(
            reason=f"{name}: its refund {current.refund_hash} is no plain transfer of ETH to the wallet; if a contract paid it,"
            " propose to accept it with what it brought",
            is_final=True,
        )
    credited = credited_units(payment.wallet.chain_id, sent.tx_hash, to_others_than=current)
    return Returned(
        tx_hash=sent.tx_hash,
        from_address=sent.from_address,
        units=max(sent.value_wei - credited, 0),
        brought_units=sent.value_wei,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
    )


def credited_units(chain_id: int, tx_hash: str, *, to_others_than: ExchangeOrder | None = None) -> int:
    """Wei of the transaction that orders were credited with, or other orders than the one."""
    total = 0
    for model in (Refund, LateReturn):
        rows = model.objects.filter(chain_id=chain_id, tx_hash=tx_hash)
        theirs = rows if to_others_than is None else rows.exclude(order=to_others_than)
        total += int(theirs.aggregate(units=Sum("units"))["units"] or 0)
    return total


def proven_units(chain_id: int, tx_hash: str) -> int | None:
    """Wei that the transaction brought, as was proven when a part of it was booked; None if no part is.

    A whole says nothing of that: it may stand by the word of two people, who told only what they knew of.
    """
    for model in (Refund, LateReturn):
        parts = model.objects.filter(chain_id=chain_id, tx_hash=tx_hash, units__lt=F("brought_units"))
        brought = parts.values_list("brought_units", flat=True).first()
        if brought is not None:
            return int(brought)
    return None


def hold_block(chain_id: int, block_number: int) -> None:
    """Until the current transaction ends, wait with every other refund and late return of that block.

    As the trigger of their tables does: whoever counts what is booked of a block under it has counted all.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT hostpay_hold_refunds(%s, %s)", [chain_id, block_number])


def why_not_divided(chain_id: int, returned: Returned) -> str:
    """Why the database refuses the portion as things are, by the same count; empty if it takes it."""
    credited = credited_units(chain_id, returned.tx_hash)
    most = max((returned.brought_units, *_brought(chain_id, returned.tx_hash)))
    if credited + returned.units <= most:
        return ""
    return (
        f"of the {format_units(most, ETH)} that {returned.tx_hash} brought, {format_units(credited, ETH)} are credited already,"
        f" and {format_units(returned.units, ETH)} are not left"
    )


def _brought(chain_id: int, tx_hash: str) -> list[int]:
    return [
        int(units)
        for model in (Refund, LateReturn)
        for units in model.objects.filter(chain_id=chain_id, tx_hash=tx_hash).values_list("brought_units", flat=True)
    ]


def close_refunded(
    *,
    payment: HostPayment,
    current: ExchangeOrder,
    returned: Returned,
    actor: Actor,
    reason: str,
    approval: Approval | None = None,
) -> None:
    """Book the refund and its loss, and end the payment; its requester is told next, and gives the members back.

    Raises:
        StaleRowError: the payment is no longer final.
    """
    lost = max(int(current.send_units) - returned.units, 0)
    told = f"{format_units(returned.units, ETH)} came back, {format_units(lost, ETH)} did not"
    with transaction.atomic():
        payment.locked()
        Refund.objects.create(**_columns(payment, current, returned, approval), lost_units=lost)
        current.move(OrderStatus.REFUNDED, actor=actor, reason=told)
        payment.move(
            PaymentStatus.REFUNDED,
            actor=actor,
            reason=f"{reason}: {told}",
            data={"tx_hash": returned.tx_hash, "refunded_units": str(returned.units), "lost_units": str(lost)},
            refunded_units=returned.units,
            failure_reason=f"the exchange refunded it: {told}",
            review_reason="",
            review_since=None,
            next_action_at=clock.now(),
        )


def book_late(
    *, payment: HostPayment, current: ExchangeOrder, returned: Returned, approval: Approval | None = None
) -> None:
    """A row of what came back after the payment's end; the caller holds the payment's row, and tells of it."""
    LateReturn.objects.create(**_columns(payment, current, returned, approval))


def _columns(
    payment: HostPayment, current: ExchangeOrder, returned: Returned, approval: Approval | None
) -> dict[str, Any]:
    """What came back for an order, as both kinds of row have it."""
    return {
        "order": current,
        "chain_id": payment.wallet.chain_id,
        "tx_hash": returned.tx_hash,
        "block_number": returned.block_number,
        "block_hash": returned.block_hash,
        "from_address": returned.from_address,
        "units": returned.units,
        "brought_units": returned.brought_units,
        "approval": approval,
    }


def why_impossible(payment: HostPayment, current: ExchangeOrder, returned: Returned) -> str:
    """Why the transaction must not count for the order, whoever wants it; empty if it may.

    Raises:
        ProviderError: the node did not answer.
    """
    credited = credited_units(payment.wallet.chain_id, returned.tx_hash, to_others_than=current)
    if credited and not 0 < returned.units <= returned.brought_units - credited:
        return (
            f"refund {returned.tx_hash} was credited to another order before, with {format_units(credited, ETH)} of its"
            f" {format_units(returned.brought_units, ETH)}"
        )
    # The provider only names a hash: any transfer to the wallet could be named, a customer's deposit too.
    deposit = Transaction.objects.filter(slot__payment=payment, status=TransactionStatus.FINAL).first()
    if deposit is None or deposit.block_number is None or returned.block_number < deposit.block_number:
        return f"refund {returned.tx_hash} is older than our deposit"
    if Wallet.objects.filter(address__iexact=returned.from_address).exists():
        return f"refund {returned.tx_hash} comes from {returned.from_address}, a wallet of our own"
    # Where its end was decided before, what comes after it is only booked.
    return _why_not_instead(current, returned) if payment.status == PaymentStatus.FINAL else ""


def _why_not_instead(current: ExchangeOrder, returned: Returned) -> str:
    """Why a payment must not end with the refund in place of proceeds."""
    if current.receipts.exists():
        return f"{format_units(returned.units, ETH)} came back, and USDT arrived for the same exchange"
    if _is_paid_out(current):
        return f"refund {returned.tx_hash} is named, and so is {current.payout_hash}, a payout that is final on chain"
    return ""


def why_unlikely(payment: HostPayment, current: ExchangeOrder, returned: Returned) -> str:
    """Why a person should look before the refund counts for the order; empty if there is no reason."""
    sent, doubts = int(current.send_units), []
    back = f"{format_units(returned.units, ETH)} of {format_units(sent, ETH)} came back in {returned.tx_hash}"
    if returned.units > sent:
        doubts.append("more than was sent")
    elif (sent - returned.units) * _BPS > payment.tolerance_bps * sent:
        doubts.append(f"more than {payment.tolerance_bps} bps are missing")
    if not _has_paid_us(returned.from_address, current):
        doubts.append(f"{returned.from_address} has never paid us for an exchange before")
    return f"{back}: {'; '.join(doubts)}" if doubts else ""


def _is_paid_out(current: ExchangeOrder) -> bool:
    receipt = gateways.node().receipt(current.payout_hash) if current.payout_hash else None
    return receipt is not None and receipt.ok and is_final(receipt)


def _has_paid_us(address: str, current: ExchangeOrder) -> bool:
    """Whether it is the provider's for certain: what we paid into, or what proceeds or an accepted refund came from."""
    return (
        address.lower() == (current.payin_address or "").lower()
        or Receipt.objects.filter(from_address__iexact=address).exists()
        or Refund.objects.filter(from_address__iexact=address).exists()
    )
