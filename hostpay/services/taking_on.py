"""Two people take on what our key paid to a payment's order, where the books do not know it and nothing can be adopted.

So it is where the members were given back before anybody saw that they were paid, or where another amount was sent. It
credits nothing and pays nobody: it says that a second payment for that purpose is meant, or was made impossible.
"""

from __future__ import annotations

from config.lib.audit import Actor
from config.lib.errors import RefusedError
from config.lib.money import ETH, format_units
from hostpay.models import CLOSED_UNPAID, Approval, HostPayment, PaymentStatus
from hostpay.services.adopting import ADOPT
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import examine_line, match
from hostpay.services.reconciling.orphans import is_taken_on, transactions_to, unknown_to_the_books

_NOT_PAID_BY_THE_BOOKS = (PaymentStatus.REQUESTED, PaymentStatus.ORDERED, *CLOSED_UNPAID)


def why_not_take_on(payment: HostPayment) -> str:
    """A sentence, or nothing if its order may have been paid without the books."""
    if payment.status not in _NOT_PAID_BY_THE_BOOKS:
        return f"It is {payment.status}: the books have paid its order themselves."
    if not payment.orders.filter(payin_address__isnull=False).exists():
        return "It has no order that could have been paid."
    return "Two people have taken it on before." if is_taken_on(payment) else ""


def facts_of_paid(*, payment: HostPayment) -> dict[str, str]:
    """What our key sent to the payment's orders, for the proposal.

    Raises:
        RefusedError: nothing that the books do not know; or it proves itself, and is adopted.
        ProviderError: the node did not answer.
    """
    unknown = unknown_to_the_books(examine_line(payment.wallet, settled_block=settled_block(), is_whole=True).sent)
    placed = payment.orders.filter(payin_address__isnull=False)
    sent = [each for order in placed for each in transactions_to(order.payin_address or "", unknown)]
    if not sent:
        raise RefusedError(
            why="Our key has sent nothing to an order of this payment that the books do not know.",
            next_step="Nothing is to be taken on.",
        )
    if any(match(each, payment.wallet, None) for each in sent):
        raise RefusedError(
            why="What our key sent to its order proves itself.", next_step=f"Take it into the books: {ADOPT}"
        )
    return {
        "paid_by": ", ".join(sorted(each.tx_hash for each in sent)),
        "paid_wei": str(sum(each.value_wei for each in sent)),
    }


def take_on(*, payment: HostPayment, approval: Approval, actor: Actor) -> None:
    """Say so in the payment's history, in the transaction that approves it."""
    said = approval.payload
    payment.note(
        actor=actor,
        reason=f"{format_units(int(said['paid_wei']), ETH)} that our key sent to its order by {said['paid_by']} are taken on by"
        f" {approval.proposed_by} and {approval.decided_by}: {approval.reason}",
        data={"approval": str(approval.pk)},
    )
