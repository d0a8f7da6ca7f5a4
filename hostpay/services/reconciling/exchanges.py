"""`reconcile --provider`: our orders at the exchange against its own word, and orders there that we do not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

from django.db.models import Case, IntegerField, Q, Sum, When

from config.lib import clock
from config.lib.differences import Line, Verdict, left_out
from config.lib.money import ETH, USDT, format_units, from_units
from hostpay import gateways
from hostpay.models import (
    CLOSED_UNPAID,
    ExchangeOrder,
    OrderStatus,
    PaymentStatus,
    Scope,
    Transaction,
    TransactionStatus,
    Wallet,
)
from hostpay.providers.changenow import (
    ExchangeState,
    ExchangeStatus,
    ListedExchange,
    NotAllowedError,
    OrderNotFoundError,
    same_amount,
)
from hostpay.providers.ethereum import PrunedError
from hostpay.services import health
from hostpay.services.adopting import UNPAID, differences, units_or_none
from hostpay.services.reconciling.blocks import settled_block
from hostpay.services.reconciling.line import NonceLine, examine_line
from hostpay.services.reconciling.orphans import (
    how_to_answer,
    how_to_attach,
    is_done_with,
    may_be_taken_on,
    paid_by_our_key,
)
from hostpay.services.reconciling.runs import latest_settled
from hostpay.services.wallets import our_wallet

# What changed a little before the last run may have been told to neither.
_OVERLAP = timedelta(days=1)
_FIRST_LOOK_BACK = timedelta(days=30)
# A followed order is polled every minute or so: the provider's word is old where nobody has looked for this long.
_LOOKED_AT_WITHIN = timedelta(minutes=15)
_MOST_READ = 500
# The deposit is there, or was.
_PAID = (
    ExchangeStatus.CONFIRMING,
    ExchangeStatus.EXCHANGING,
    ExchangeStatus.SENDING,
    ExchangeStatus.FINISHED,
    ExchangeStatus.VERIFYING,
    ExchangeStatus.REFUNDED,
)
# The wallet's line of nonces, examined when somebody first needs it.
_LineOnce = Callable[[], NonceLine]
_SENT = (TransactionStatus.BROADCAST, TransactionStatus.MINED, TransactionStatus.FINAL)


def reconcile_provider(*, is_whole: bool = False) -> list[Line]:
    """Ask the exchange anew about orders that are open or ended lately, and for those that it has and we do not.

    Args:
        is_whole: without the bound that keeps a worker's run short.

    Raises:
        ProviderError: exchange or node did not answer; nothing is taken for not there.
    """
    before = latest_settled(Scope.ALL, Scope.PROVIDER)
    since = before.started_at - _OVERLAP if before else clock.now() - _FIRST_LOOK_BACK
    wallet = our_wallet()

    # Looked up once, and only if a deposit may be of our own key, and no row of ours is of it.
    @cache
    def line() -> NonceLine:
        return examine_line(wallet, settled_block=settled_block(), is_whole=is_whole)

    return [*_reread(since, line, is_whole=is_whole), *_unknown(since, wallet, line)]


def _reread(since: datetime, line: _LineOnce, *, is_whole: bool) -> list[Line]:
    is_open = Case(When(status=OrderStatus.OPEN, then=0), default=1, output_field=IntegerField())
    placed = ExchangeOrder.objects.filter(provider_order_id__isnull=False).select_related("payment__wallet")
    wanted = placed.filter(Q(status=OrderStatus.OPEN) | Q(status_changed_at__gte=since)).order_by(is_open, "created_at")
    read = list(wanted if is_whole else wanted[:_MOST_READ])
    rest = wanted.count() - len(read)
    found = {order: _compared(order, line) for order in read}
    same = sum(not any(line.verdict is not Verdict.AGREES for line in lines) for lines in found.values())
    summary = Line(
        row="orders of ours, asked for anew",
        ours=f"{len(read)}",
        theirs=f"{same} as in our books",
        verdict=Verdict.AGREES if same == len(read) else Verdict.NOTED,
    )
    more = [left_out("further orders of ours", rest)] if rest > 0 else []
    return [summary, *(line for lines in found.values() for line in lines), *more]


def _compared(order: ExchangeOrder, line: _LineOnce) -> list[Line]:
    try:
        state = _ask(order.provider_order_id or "")
    except OrderNotFoundError as error:
        is_out = order.payment.status not in {PaymentStatus.REQUESTED, PaymentStatus.ORDERED}
        return [
            _line(
                order,
                f"{order.status}, {_eth(order)}",
                f"not known: {error}",
                Verdict.ALARM if is_out and order.is_current else Verdict.DIFFERS,
                "Ask the exchange's support, with this id; pay nothing to its address.",
            )
        ]
    found = (_terms(order, state), _deposit(order, state, line), _status(order, state), _proceeds(order, state))
    return [told for told in found if told is not None] + _further(order, state, line)


def _terms(order: ExchangeOrder, state: ExchangeState) -> Line | None:
    wrong = differences(order.payment, order, state)
    if not wrong:
        return None
    next_step = "It is not what was ordered: open the breaker, and ask the exchange."
    return _line(order, "as ordered", "; ".join(wrong), Verdict.ALARM, next_step)


def _deposit(order: ExchangeOrder, state: ExchangeState, line: _LineOnce) -> Line | None:
    """Money that reached the order, against what we sent there."""
    if state.status not in _PAID and state.payin_hash is None:
        return None
    paid = Transaction.objects.filter(
        slot__payment=order.payment, to_address__iexact=order.payin_address or "", status__in=_SENT
    ).first()
    came = f"{state.amount_from:f} ETH" if state.amount_from is not None else "a deposit"
    if paid is None:
        is_acceptable = _may_be_taken_on(order, state, line)
        closed = order.payment.status in CLOSED_UNPAID and not is_acceptable
        return _line(
            order,
            f"never paid; {order.status}, payment {order.payment_id} is {order.payment.status}",
            f"{state.raw_status}, {came} by {state.payin_hash or 'a transaction it does not name'}",
            Verdict.ALARM,
            f"Pay this purpose no second time. {how_to_answer(order)}"
            if closed
            else "If it left our wallet, `reconcile --chain` shows it, and adopts what proves itself. Pay this purpose no second time.",
            is_acceptable=is_acceptable,
        )
    if state.payin_hash is not None and not _is_ours(order, state.payin_hash):
        return _line(
            order,
            f"{_eth(order)} sent by {paid.tx_hash}",
            f"{came} by {state.payin_hash}",
            Verdict.DIFFERS,
            "Another transaction than ours is said to have paid it: ask the exchange whose deposit it has, and where ours is.",
        )
    if state.amount_from is None or same_amount(from_units(int(order.send_units), ETH), state.amount_from):
        return None
    return _line(
        order,
        f"{_eth(order)} sent by {paid.tx_hash}",
        f"{came} received",
        Verdict.DIFFERS,
        "Ask the exchange for what is missing, with the transaction's hash.",
    )


def _may_be_taken_on(order: ExchangeOrder, state: ExchangeState, line: _LineOnce) -> bool:
    """Whether the deposit pays nothing a second time: taken on too soon, what our key has sent there would."""
    if is_done_with(order):
        return True
    if order.payment.status not in CLOSED_UNPAID:
        return False
    wallet = order.payment.wallet
    try:
        return not paid_by_our_key(wallet, order.payin_address, state, lambda: line().sent) and not line().left_out
    except PrunedError:
        # Not seen is not absent; the rest of the run stands.
        return False


def _is_ours(order: ExchangeOrder, tx_hash: str) -> bool:
    return Transaction.objects.filter(slot__payment=order.payment, tx_hash__iexact=tx_hash).exists()


def _status(order: ExchangeOrder, state: ExchangeState) -> Line | None:
    """An order that has ended must have ended the same way there; one that is open must be looked at."""
    ended = {
        OrderStatus.FINISHED: ExchangeStatus.FINISHED,
        OrderStatus.REFUNDED: ExchangeStatus.REFUNDED,
    }.get(OrderStatus(order.status))
    if ended is not None and state.status is not ended:
        return _line(
            order,
            f"{order.status}, by what the chain proves",
            state.raw_status,
            Verdict.DIFFERS,
            "The chain is right about what arrived. Ask the exchange if its word stays.",
        )
    if order.status != OrderStatus.OPEN or state.raw_status == (order.provider_status or state.raw_status):
        return None
    looked_at = order.polled_at or order.created_at
    is_followed = clock.now() - looked_at < _LOOKED_AT_WITHIN
    return _line(
        order,
        f"{order.provider_status} at {looked_at:%Y-%m-%d %H:%M} UTC",
        state.raw_status,
        Verdict.NOTED if is_followed else Verdict.DIFFERS,
        "A worker finds it at its next look."
        if is_followed
        else f"Nobody looks at payment {order.payment_id}: are beat and the worker running? (/readyz, manage.py explain)",
    )


def _proceeds(order: ExchangeOrder, state: ExchangeState) -> Line | None:
    told = units_or_none(state.amount_to)
    if order.status != OrderStatus.FINISHED or told is None:
        return None
    received = int(order.receipts.aggregate(units=Sum("units"))["units"] or 0)
    if not received or received == told:
        # What went to an address outside leaves us no receipt.
        return None
    return _line(
        order,
        f"{_usdt(received)} received, by the chain's logs",
        f"{_usdt(told)} paid",
        Verdict.DIFFERS,
        "What arrived was shared. Ask the exchange for a difference in our disfavour.",
    )


def _further(order: ExchangeOrder, state: ExchangeState, line: _LineOnce) -> list[Line]:
    """Another deposit to the same address makes an order of its own there."""
    known = _known(state.further_ids)
    return [
        _line(
            order,
            "paid once",
            f"another deposit came to its address: order {order_id}",
            Verdict.ALARM,
            "Run `reconcile --chain`: did it leave our wallet? Ask the exchange for its return.",
            is_acceptable=_may_be_taken_on(order, state, line),
        )
        for order_id in state.further_ids
        if order_id not in known
    ]


def _unknown(since: datetime, wallet: Wallet, line: _LineOnce) -> list[Line]:
    """Orders of our account that no order of ours names, with whether money reached them."""
    try:
        with health.counted(health.EXCHANGE):
            # To whatever address: what the books have forgotten may have gone outside.
            listed = gateways.exchange().find_exchanges(since=since)
    except NotAllowedError as error:
        return [
            Line(
                row="orders at the exchange that we do not know",
                ours="not looked for",
                theirs=str(error),
                verdict=Verdict.NOTED,
                next_step="Only a private key may list; ask the exchange for one. An orphan moves no money by itself.",
            )
        ]
    known = _known(row.order_id for row in listed)
    unknown = [row for row in listed if row.order_id not in known]
    summary = Line(
        row=f"orders at the exchange since {since:%Y-%m-%d %H:%M} UTC",
        ours=f"{len(listed) - len(unknown)} known",
        theirs=f"{len(listed)} listed",
        verdict=Verdict.NOTED if unknown else Verdict.AGREES,
    )
    return [summary, *(_orphan(row, wallet, line) for row in unknown)]


def _orphan(row: ListedExchange, wallet: Wallet, line: _LineOnce) -> Line:
    name, ours = f"order {row.order_id}", f"not known{_intended(row)}"
    asked = f"{row.amount_from:f} ETH to {row.payin_address}" if row.amount_from is not None else f"{row.payin_address}"
    if row.status in UNPAID:
        return Line(
            row=name,
            ours=ours,
            theirs=f"{row.raw_status}, no deposit; {asked}",
            verdict=Verdict.NOTED,
            next_step="It moves no money, and expires.",
        )
    state = _ask(row.order_id)
    if state.payin_hash is None and state.amount_from is None and state.status not in _PAID:
        return Line(row=name, ours=ours, theirs=f"{row.raw_status}, no deposit; {asked}", verdict=Verdict.NOTED)
    came = f"{state.amount_from:f} ETH" if state.amount_from is not None else "a deposit"
    theirs = (
        f"{row.raw_status}, {came} at {row.payin_address} by {state.payin_hash or 'a transaction it does not name'}"
    )
    if tx_hash := paid_by_our_key(wallet, row.payin_address, state, lambda: line().sent):
        return _paid_by_us(row, tx_hash, ours, theirs)
    return Line(
        row=name,
        ours=ours,
        theirs=theirs,
        verdict=Verdict.ALARM,
        next_step="Money is at an order that no payment of ours has, and by none of our transactions that the books do not know."
        " Ask the exchange whose it is, and for its refund."
        + (" Not all of them were looked up: run manage.py reconcile at a shell." if line().left_out else ""),
        is_acceptable=not line().left_out,
    )


def _paid_by_us(row: ListedExchange, tx_hash: str, ours: str, theirs: str) -> Line:
    """Whoever took this on could pay its purpose a second time, and money of ours would have left without a row."""
    is_acceptable = may_be_taken_on(row.payin_address)
    at_an_old_one = (
        "It went to the address of an order of ours whose payment has ended: ask the exchange for its return, then sign the"
        " run off."
    )
    return Line(
        row=f"order {row.order_id}",
        ours=ours,
        theirs=f"{theirs}; our own key paid it by {tx_hash}, which the books do not know",
        verdict=Verdict.ALARM,
        next_step="Release and retry nothing of that amount: it would be paid a second time. "
        + (at_an_old_one if is_acceptable else how_to_attach(row.order_id)),
        is_acceptable=is_acceptable,
    )


def _intended(row: ListedExchange) -> str:
    """Whether our own id of an intent stands in it: its answer was lost, and another order was made."""
    if row.tag is None:
        return ""
    intent = ExchangeOrder.objects.filter(pk__in=_uuids(row.tag)).first()
    return f"; made for intent {intent.pk} of payment {intent.payment_id}, {intent.status}" if intent else ""


def _uuids(text: str) -> list[str]:
    try:
        return [str(UUID(text))]
    except ValueError:
        return []


def _known(order_ids: Iterable[str]) -> set[str]:
    wanted: Sequence[str] = list(order_ids)
    named = ExchangeOrder.objects.filter(provider_order_id__in=wanted).values_list("provider_order_id", flat=True)
    return {order_id for order_id in named if order_id is not None}


def _ask(order_id: str) -> ExchangeState:
    with health.counted(health.EXCHANGE):
        return gateways.exchange().exchange(order_id)


def _line(
    order: ExchangeOrder, ours: str, theirs: str, verdict: Verdict, next_step: str, *, is_acceptable: bool = True
) -> Line:
    return Line(
        row=f"order {order.provider_order_id}",
        ours=ours,
        theirs=theirs,
        verdict=verdict,
        next_step=next_step,
        is_acceptable=is_acceptable,
    )


def _eth(order: ExchangeOrder) -> str:
    return format_units(int(order.send_units), ETH)


def _usdt(units: int) -> str:
    return format_units(units, USDT)
