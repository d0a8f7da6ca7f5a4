"""Orders of our account at the exchange that no row of ours names: whether our own key paid one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hostpay import gateways
from hostpay.models import (
    CLOSED_UNPAID,
    ApprovalAction,
    ApprovalDecision,
    ExchangeOrder,
    HostPayment,
    PaymentStatus,
    Transaction,
    TransactionStatus,
    Wallet,
)
from hostpay.providers.changenow import ExchangeState
from hostpay.providers.ethereum import ChainTransaction, SentTransaction
from hostpay.services.adopting import ADOPT

# Transactions of the wallet that the books do not know, found out only where somebody needs them.
Unknown = Callable[[], Sequence[SentTransaction]]


def unknown_to_the_books(sent: Iterable[SentTransaction]) -> list[SentTransaction]:
    """Those that no row of ours is of."""
    found = list(sent)
    known = set(
        Transaction.objects.filter(tx_hash__in=[each.tx_hash for each in found]).values_list("tx_hash", flat=True)
    )
    return [each for each in found if each.tx_hash not in known]


def paid_by_our_key(wallet: Wallet, payin_address: str | None, state: ExchangeState, unknown: Unknown) -> str:
    """The hash of the wallet's transaction that paid there and has no row in the books; empty if there is none.

    The exchange's word for the hash is the shorter way; what our key sent there counts without it, too.

    Raises:
        ProviderError: the node did not answer.
    """
    named = gateways.node().transaction(state.payin_hash) if state.payin_hash else None
    address = (payin_address or state.payin_address or "").lower()
    if named is not None and _paid(wallet, address, named):
        return named.tx_hash
    return next((each.tx_hash for each in unknown() if _paid(wallet, address, each)), "")


def transactions_to(payin_address: str, sent: Iterable[SentTransaction]) -> list[SentTransaction]:
    """Those of the wallet's transactions that went to the address."""
    wanted = payin_address.lower()
    return [each for each in sent if (each.to_address or "").lower() == wanted]


def is_taken_on(payment: HostPayment) -> bool:
    """Whether two people have taken on what our key paid to the payment's order, unknown to the books."""
    return payment.approvals.filter(action=ApprovalAction.TAKE_ON, decision=ApprovalDecision.APPROVED).exists()


def may_be_taken_on(payin_address: str | None) -> bool:
    """Whether a person may take on that our key paid there and the books have no row of it.

    Only at the address of an order of ours that is done with: nothing can be paid again by that, and nothing be attached.
    Whatever else our key paid is of a payment that is there to be paid a second time, or of one to be made.
    """
    known = ExchangeOrder.objects.filter(payin_address__iexact=payin_address or "").select_related("payment").first()
    return known is not None and is_done_with(known)


def is_done_with(order: ExchangeOrder) -> bool:
    """Whether the order's payment has ended with its own money: by proceeds, or by a transaction that the books know.

    Or two people have taken on what our key paid.
    A payment that was closed as if nothing had left is not done with, if our key has paid the order all the same: its
    members were given back, and would be paid a second time.
    """
    status = order.payment.status
    if is_taken_on(order.payment):
        return True
    if status not in CLOSED_UNPAID:
        return status == PaymentStatus.SETTLED
    return Transaction.objects.filter(
        slot__payment=order.payment, to_address__iexact=order.payin_address or "", status=TransactionStatus.FINAL
    ).exists()


def how_to_answer(order: ExchangeOrder) -> str:
    """What an operator does about an order of ours that our key paid, unknown to the books."""
    if is_taken_on(order.payment):
        return "Two people have taken it on: sign the run off, and lift the halt."
    if is_done_with(order):
        return "Its purpose was paid all the same: ask the exchange for its return, then sign the run off."
    if order.payment.status in CLOSED_UNPAID:
        return (
            f"Its payment {order.payment_id} was closed as if nothing had left. Keep the wallet halted and hold its members, so"
            " that they are not paid a second time; ask the exchange where its proceeds are. Then two people take it on, on the payment's page, and the run can be signed"
            " off."
        )
    return (
        f"Keep the wallet halted, release nothing and retry nothing of payment {order.payment_id}. Take what paid the order into"
        f" the books: {ADOPT}. What does not prove itself there, ask the exchange for; then two people take it on, on the"
        " payment's page, and the run can be signed off."
    )


def how_to_attach(order_id: str) -> str:
    """What an operator does about an order that our key paid and that no payment has."""
    attach = f"manage.py reconcile --provider --attach {order_id}"
    return (
        f"Nobody can sign this off. Attach it to the payment it was made for ({attach} --payment … --reason …), or, if no"
        f" payment is left or can be made again that it was for, to a new one of its own ({attach} --new-payment --reason …);"
        f" then take what paid it into the books: {ADOPT}"
    )


def _paid(wallet: Wallet, payin_address: str, sent: ChainTransaction | SentTransaction) -> bool:
    return (
        sent.from_address.lower() == wallet.address.lower()
        and (sent.to_address or "").lower() == payin_address
        and not Transaction.objects.filter(tx_hash=sent.tx_hash).exists()
    )
