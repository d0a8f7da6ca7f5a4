"""What arrived for an order: final transfers of the configured token, each credited once, and to the right order."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum

from config.lib.audit import Actor
from config.lib.errors import PermanentError
from config.lib.money import USDT, format_units, from_units
from hostpay import gateways
from hostpay.models import GIVEN_UP, ExchangeOrder, HostPayment, OrderStatus, PaymentStatus, Receipt, Transaction
from hostpay.providers.ethereum import Receipt as ChainReceipt
from hostpay.providers.ethereum import TransferLog
from hostpay.services.finality import is_final

logger = logging.getLogger(__name__)

# How far from its first transfer the others of one exchange are looked for, in blocks: about an hour.
_BLOCKS_AROUND = 300
# How far back a payout is looked for that the provider has not named, in blocks: nodes refuse wider questions.
_BLOCKS_BACK = 2_000
_BPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The transfers that are the order's for certain; `doubt` says why others, or these, are for a person to judge."""

    logs: tuple[TransferLog, ...] = ()
    doubt: str = ""

    @property
    def units(self) -> int:
        return sum(log.units for log in self.logs)


def find_named(payment: HostPayment, current: ExchangeOrder, payout_hash: str | None) -> Found | None:
    """The order's transfers by the payout transaction that the provider names; None while that is not final.

    Raises:
        ProviderError: the node did not answer.
    """
    receipt = _final_receipt(payout_hash)
    if receipt is None:
        return None
    named = _to_us(receipt, payment)
    if not named:
        return Found(doubt=_why_nothing(receipt, payment))
    uncredited = _uncredited(named, current)
    if not uncredited:
        return Found(doubt=f"all that {payout_hash} brought was credited to other orders before")
    ours = _ours_among(uncredited, current)
    if ours is None:
        amounts = ", ".join(format_units(log.units, USDT) for log in uncredited)
        return Found(doubt=f"{payout_hash} brought {amounts}, and nothing says which of it is for this exchange")
    return Found(logs=ours + _others_of_it(payment, current, ours))


def find_unnamed(payment: HostPayment, current: ExchangeOrder) -> Found | None:
    """The one transfer that must be the order's payout though the provider has not named it; None if none must.

    It must when the sender has paid an order of ours before, the amount is what was ordered within the payment's
    tolerance, no other transfer fits, and no other order waits for a payout to this address.

    Raises:
        ProviderError: the node did not answer.
    """
    senders = _known_senders()
    if not senders or current.expected_units is None or _others_wait(payment, current):
        return None
    head = gateways.node().block_number()
    start = max(_deposit_block(payment), head - _BLOCKS_BACK)
    logs = [log for log in _arrived(payment, start, head) if log.from_address.lower() in senders]
    fitting = [log for log in _uncredited(logs, current) if is_as_ordered(payment, current, log.units)]
    if len(fitting) != 1 or not _is_proven(fitting[0], payment):
        return None
    return Found(logs=tuple(fitting))


def is_as_ordered(payment: HostPayment, current: ExchangeOrder, units: int) -> bool:
    """Whether `units` are what the provider estimated for the order, within the payment's tolerance."""
    if current.expected_units is None:
        return False
    expected = int(current.expected_units)
    return abs(units - expected) * _BPS <= payment.tolerance_bps * expected


def credit(payment: HostPayment, current: ExchangeOrder, logs: Iterable[TransferLog]) -> int:
    """Store each transfer once and return the order's whole proceeds in units; the caller holds the payment's row.

    Raises:
        PermanentError: one was credited to another order before.
    """
    for log in logs:
        receipt, _ = Receipt.objects.get_or_create(
            chain_id=payment.wallet.chain_id,
            tx_hash=log.tx_hash,
            log_index=log.log_index,
            defaults={
                "order": current,
                "block_number": log.block_number,
                "block_hash": log.block_hash,
                "from_address": log.from_address,
                "units": log.units,
            },
        )
        if receipt.order_id != current.pk:
            message = f"transfer {log.tx_hash}:{log.log_index} was credited to order {receipt.order_id} before"
            raise PermanentError(message)
    return received_units(current)


def received_units(order: ExchangeOrder) -> int:
    """Base units credited to the order."""
    return int(order.receipts.aggregate(units=Sum("units"))["units"] or 0)


def doubt_about(payment: HostPayment, current: ExchangeOrder, received: int) -> str:
    """Why a person should look before `received` units are passed on; empty if there is no reason."""
    got = from_units(received, USDT)
    doubts = []
    if payment.expected_usd is not None:
        distance_bps = abs(got - payment.expected_usd) * _BPS / payment.expected_usd
        if distance_bps > payment.tolerance_bps:
            doubts.append(
                f"{got:f} USDT received for {payment.expected_usd.normalize():f} USD: {distance_bps:.0f} bps apart,"
                f" {payment.tolerance_bps} tolerated"
            )
    elif current.expected_units is not None and not is_as_ordered(payment, current, received):
        doubts.append(
            f"{got:f} USDT received, {format_units(int(current.expected_units), USDT)} were estimated:"
            f" more than {payment.tolerance_bps} bps apart"
        )
    if current.reported_units is not None and current.reported_units != received:
        reported = from_units(int(current.reported_units), USDT)
        doubts.append(f"the provider reports {reported:f} USDT, the chain shows {got:f}")
    return "; ".join(doubts)


def settle(*, payment: HostPayment, actor: Actor, reason: str) -> None:
    """final → settled with the sum of the credited receipts.

    Raises:
        PermanentError: nothing was credited.
        StaleRowError: the payment is no longer final.
    """
    with transaction.atomic():
        payment.locked()
        current = payment.orders.get(is_current=True)
        received = received_units(current)
        if not received:
            message = f"nothing was received for host payment {payment.pk}"
            raise PermanentError(message)
        if current.status == OrderStatus.OPEN:
            current.move(OrderStatus.FINISHED, actor=actor, reason="proceeds received")
        payment.move(
            PaymentStatus.SETTLED,
            actor=actor,
            reason=reason,
            data={"received_units": str(received), "provider_status": current.provider_status},
            received_units=received,
            review_reason="",
            review_since=None,
        )


def _final_receipt(tx_hash: str | None) -> ChainReceipt | None:
    if not tx_hash:
        return None
    receipt = gateways.node().receipt(tx_hash)
    return receipt if receipt is not None and receipt.ok and is_final(receipt) else None


def _to_us(receipt: ChainReceipt, payment: HostPayment) -> tuple[TransferLog, ...]:
    found = gateways.node().transfers_in(receipt, settings.USDT_CONTRACT_ADDRESS, payment.payout_address)
    return tuple(log for log in found if log.units)


def _why_nothing(receipt: ChainReceipt, payment: HostPayment) -> str:
    """A payout without our token: a worthless one with its name is the oldest trick there is."""
    node = gateways.node()
    contracts = {log.contract for log in receipt.logs if log.contract.lower() != settings.USDT_CONTRACT_ADDRESS.lower()}
    false = sorted(c for c in contracts if node.transfers_in(receipt, c, payment.payout_address))
    if not false:
        return f"{receipt.tx_hash} brought no USDT to {payment.payout_address}"
    logger.error(
        "payout in a token that is not USDT",
        extra={"host_payment": str(payment.pk), "tx_hash": receipt.tx_hash, "contracts": false},
    )
    return f"security: {receipt.tx_hash} paid in token {', '.join(false)}, which is not USDT; it counts for nothing"


def _uncredited(logs: Iterable[TransferLog], current: ExchangeOrder) -> tuple[TransferLog, ...]:
    """Those that no other order has been credited with."""
    wanted = tuple(logs)
    taken = set(
        Receipt.objects.filter(tx_hash__in={log.tx_hash for log in wanted})
        .exclude(order=current)
        .values_list("tx_hash", "log_index")
    )
    return tuple(log for log in wanted if (log.tx_hash, log.log_index) not in taken)


def _ours_among(logs: tuple[TransferLog, ...], current: ExchangeOrder) -> tuple[TransferLog, ...] | None:
    """The order's own among the transfers of one payout transaction; None if that cannot be told."""
    is_shared = (
        ExchangeOrder.objects.filter(payout_hash=current.payout_hash, payout_hash__gt="", receipts__isnull=True)
        .exclude(pk=current.pk)
        .exists()
    )
    if len(logs) == 1 and not is_shared:
        return logs
    reported = current.reported_units
    if reported is None:
        return None
    if not is_shared and sum(log.units for log in logs) == reported:
        return logs
    exact = tuple(log for log in logs if log.units == reported)
    return exact if len(exact) == 1 else None


def _others_of_it(
    payment: HostPayment, current: ExchangeOrder, found: tuple[TransferLog, ...]
) -> tuple[TransferLog, ...]:
    """What the same sender sent in other transactions to make up the figure that the provider reports, exactly."""
    missing = int(current.reported_units or 0) - sum(log.units for log in found)
    if missing <= 0:
        return ()
    around = [log.block_number for log in found]
    start = max(_deposit_block(payment), min(around) - _BLOCKS_AROUND)
    arrived = _arrived(payment, start, min(max(around) + _BLOCKS_AROUND, gateways.node().block_number()))
    senders = {log.from_address for log in found}
    of_other_orders = set(
        ExchangeOrder.objects.exclude(pk=current.pk).exclude(payout_hash="").values_list("payout_hash", flat=True)
    )
    not_ours = {log.tx_hash for log in found} | of_other_orders
    rest = [log for log in arrived if log.from_address in senders and log.tx_hash not in not_ours]
    rest = [log for log in _uncredited(rest, current) if _is_proven(log, payment)]
    exact = [log for log in rest if log.units == missing]
    if len(exact) == 1:
        return tuple(exact)
    return tuple(rest) if sum(log.units for log in rest) == missing else ()


def _arrived(payment: HostPayment, start: int, end: int) -> tuple[TransferLog, ...]:
    if end < start:
        return ()
    logs = gateways.node().transfer_logs(
        contract=settings.USDT_CONTRACT_ADDRESS, to=payment.payout_address, from_block=start, to_block=end
    )
    return tuple(log for log in logs if log.units)


def _is_proven(log: TransferLog, payment: HostPayment) -> bool:
    """Whether a final receipt has the transfer: a list of logs may be of a block that is gone."""
    receipt = _final_receipt(log.tx_hash)
    return receipt is not None and log in _to_us(receipt, payment)


def _known_senders() -> set[str]:
    return {sender.lower() for sender in Receipt.objects.values_list("from_address", flat=True).distinct()}


def _others_wait(payment: HostPayment, current: ExchangeOrder) -> bool:
    """Whether a payout could be another order's: one that is waited for, or that was given up and may pay all the same."""
    given_up = Q(payment__approvals__action__in=GIVEN_UP, payment__approvals__executed_at__isnull=False)
    return (
        ExchangeOrder.objects.filter(is_current=True, payout_address__iexact=current.payout_address)
        .filter(Q(payment__status=PaymentStatus.FINAL) | (given_up & Q(payment__next_action_at__isnull=False)))
        .exclude(payment=payment)
        .exists()
    )


def _deposit_block(payment: HostPayment) -> int:
    mined = Transaction.objects.filter(slot__payment=payment, block_number__isnull=False).order_by("-pk").first()
    return 0 if mined is None or mined.block_number is None else mined.block_number
