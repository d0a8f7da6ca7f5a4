"""Parts of pages that show what moves the money: steps, exchange orders, transactions, receipts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from config.lib.adminkit import cells
from config.lib.adminkit.links import linked, linked_id
from config.lib.adminkit.pages import Facts, Step, Table, Text, columns, facts, walk
from hostpay.admin.facts import known_height
from hostpay.models import (
    CLOSED_UNPAID,
    ExchangeOrder,
    HostPayment,
    PaymentStatus,
    Receipt,
    Transaction,
    TransactionStatus,
)

PAYMENT_STEPS = ("requested", "ordered", "signed", "broadcast", "mined", "final", "settled")
_IN_A_BLOCK = (TransactionStatus.MINED, TransactionStatus.FINAL, TransactionStatus.REVERTED)


def last_step(payment: HostPayment) -> str:
    """The furthest step a payment has come to; for a closed one, the last before it was closed."""
    if payment.status not in CLOSED_UNPAID:
        return payment.status
    moves = payment.status_changes.filter(to_status__in=PAYMENT_STEPS).values_list("to_status", flat=True)
    return max(moves, key=PAYMENT_STEPS.index, default=PaymentStatus.REQUESTED.value)


def payment_steps(payment: HostPayment) -> list[Step]:
    """The way of a payment."""
    closed = payment.status if payment.status in CLOSED_UNPAID else ""
    return walk(PAYMENT_STEPS, reached=last_step(payment), ended_badly=closed)


def orders_table(orders: Sequence[ExchangeOrder]) -> Table:
    """Exchange orders, the current one named."""
    return Table(
        title="Exchange orders",
        anchor="orders",
        empty="No exchange has been ordered yet.",
        columns=columns(
            "Order", "State", "Provider says", "Sends#", "Estimated#", "Provider reports#", "Pay-in address", "Polled"
        ),
        rows=[
            (
                linked_id(order, order.provider_order_id or str(order.pk)),
                cells.pill(order.status, text=f"{order.status}{'' if order.is_current else ', not current'}"),
                order.provider_status or cells.NOTHING,
                cells.eth(order.send_units),
                cells.usdt(order.expected_units),
                cells.usdt(order.reported_units),
                cells.short(order.payin_address),
                cells.when(order.polled_at),
            )
            for order in orders
        ],
    )


def transactions_table(transactions: Sequence[Transaction]) -> Table:
    """Signed variants, with what the chain made of them."""
    height = known_height()
    return Table(
        title="Transactions",
        anchor="transactions",
        empty="Nothing has been signed yet.",
        columns=columns("Hash", "State", "Nonce#", "Value#", "Block#", "Confirmations#", "Fee paid#", "Cap#", "Sent"),
        rows=[
            (
                linked_id(transaction, transaction.tx_hash),
                cells.pill(transaction.status),
                cells.count(transaction.slot.nonce),
                cells.eth(transaction.value_units),
                cells.count(transaction.block_number),
                confirmations(transaction, height),
                fee_paid(transaction),
                cells.gwei(transaction.max_fee_per_gas_wei),
                cells.when(transaction.broadcast_at),
            )
            for transaction in transactions
        ],
    )


def receipts_table(receipts: Iterable[Receipt]) -> Table:
    """What arrived."""
    return Table(
        title="Received",
        anchor="receipts",
        note="Finalised ERC-20 Transfer logs to our wallet; nothing else counts as received.",
        empty="Nothing has arrived yet.",
        columns=columns("Transaction", "Log#", "Amount#", "Block#", "From", "Order", "Credited"),
        rows=[
            (
                linked_id(receipt, receipt.tx_hash),
                cells.count(receipt.log_index),
                cells.usdt(receipt.units),
                cells.count(receipt.block_number),
                cells.short(receipt.from_address),
                linked(receipt.order),
                cells.when(receipt.created_at),
            )
            for receipt in receipts
        ],
    )


def money_sections(payments: Sequence[HostPayment]) -> list[Table]:
    """Orders, transactions and receipts of these payments, three queries."""
    orders = ExchangeOrder.objects.filter(payment__in=payments).order_by("created_at", "id")
    transactions = Transaction.objects.filter(slot__payment__in=payments).select_related("slot").order_by("id")
    receipts = Receipt.objects.filter(order__payment__in=payments).select_related("order").order_by("id")
    return [
        orders_table(list(orders[:_MOST_ROWS])),
        transactions_table(list(transactions[:_MOST_ROWS])),
        receipts_table(list(receipts[:_MOST_ROWS])),
    ]


def confirmations(transaction: Transaction, height: int | None) -> Text:
    """Blocks on top of the transaction's, its own counted; unknown while nobody has asked the node lately."""
    if transaction.block_number is None or transaction.status not in _IN_A_BLOCK or height is None:
        return cells.NOTHING
    return cells.count(max(0, height - transaction.block_number + 1))


def fee_paid(transaction: Transaction) -> Text:
    """Gas used times its price."""
    if transaction.gas_used is None or transaction.effective_gas_price_wei is None:
        return cells.NOTHING
    return cells.eth(transaction.gas_used * int(transaction.effective_gas_price_wei))


def condition(payment: HostPayment) -> list[Text]:
    """Pills for what a payment is stuck in."""
    pills = []
    if payment.review_reason:
        pills.append(cells.pill("review", text="needs review", title=payment.review_reason))
    if payment.unknown_reason:
        pills.append(cells.pill("unknown", text="outcome unknown", title=payment.unknown_reason))
    if payment.waiting_reason:
        pills.append(cells.pill("waiting", title=payment.waiting_reason))
    return list(pills)


def work_facts(payment: HostPayment) -> Facts:
    """When it is looked at again, and what went wrong last."""
    return facts(
        "Work",
        ("Looked at again", cells.when(payment.next_action_at)),
        ("Failed tries of this step", cells.count(payment.attempts)),
        ("Last error", payment.last_error),
        ("Waiting", payment.waiting_reason),
        ("Unknown", payment.unknown_reason),
        ("In review", payment.review_reason),
        ("Requester told", cells.when(payment.delivered_at)),
    )


# A payment has a handful of each; a page never draws more than this, whatever went wrong.
_MOST_ROWS = 200
