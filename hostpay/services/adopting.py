"""Orders that exist at the provider before we know them: the requester's own, and those whose answer was lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db import IntegrityError, transaction

from config.lib.audit import Actor
from config.lib.errors import OutcomeUnknownError, TransientError
from config.lib.money import ETH, USDT, from_units
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, OrderStatus, PaymentStatus, Wallet
from hostpay.providers.addresses import AddressError, checksummed
from hostpay.providers.changenow import ExchangeState, ExchangeStatus, ListedExchange, NotAllowedError, same_amount
from hostpay.services import health
from hostpay.services.steps import Proceed, Review, Said
from hostpay.services.valuing import usdt_units

# How what left the wallet unknown to the books is taken back into them.
ADOPT = "manage.py reconcile --chain --adopt --reason …"
UNPAID = (ExchangeStatus.NEW, ExchangeStatus.WAITING)
# The provider's clock and ours need not agree.
_CLOCKS_APART = timedelta(minutes=2)
# The deposit is there, or was.
PAID = (
    ExchangeStatus.CONFIRMING,
    ExchangeStatus.EXCHANGING,
    ExchangeStatus.SENDING,
    ExchangeStatus.FINISHED,
    ExchangeStatus.VERIFYING,
    ExchangeStatus.REFUNDED,
)
_NOBODY = "0x0000000000000000000000000000000000000000"


def deposit_told(state: ExchangeState) -> str:
    """What the provider says of a deposit to the order, whatever it calls the order now; empty if it knows of none."""
    if state.payin_hash is None and state.amount_from is None and state.status not in PAID:
        return ""
    amount = "a deposit" if state.amount_from is None else f"a deposit of {state.amount_from:f} ETH"
    return f"{amount} by {state.payin_hash or 'a transaction it does not name'}"


def find_unanswered(payment: HostPayment, intent: ExchangeOrder, actor: Actor) -> bool | Review:
    """Look for the order that a create whose answer we never got may have made; says whether `intent` now names it.

    What the provider has and nobody will pay is noted on the intent: it moves no money and expires. One that was paid is
    neither: only books from a backup do not know it, and a person gives it back to the payment.

    Raises:
        OutcomeUnknownError: the provider did not tell; nothing is ordered before it does.
    """
    listed = _listed(intent)
    if listed is None:
        return False
    known = set(
        ExchangeOrder.objects.filter(provider_order_id__in=[row.order_id for row in listed]).values_list(
            "provider_order_id", flat=True
        )
    )
    candidates = [row for row in listed if row.order_id not in known and _may_be(row, intent)]
    paid = _paid_one(payment, candidates)
    if paid is not None:
        return paid
    # Any of them would do, as all are ours and unpaid; our own id settles it, else the newest lives longest.
    candidates.sort(key=lambda row: (row.tag == str(intent.pk), row.status in UNPAID))
    found = candidates.pop() if candidates and candidates[-1].status in UNPAID else None
    if candidates:
        orphans = [row.order_id for row in candidates]
        intent.note(actor=actor, reason=f"nobody will pay {', '.join(orphans)}", data={"orphans": orphans})
    return found is not None and _name(payment, intent, found, actor)


def adopt(payment: HostPayment, current: ExchangeOrder, actor: Actor) -> Said:
    """Verify, with the provider, an order that stands there already.

    Raises:
        ProviderError: the provider did not answer as it should.
    """
    state = ask(current.provider_order_id or "")
    wrong = differences(payment, current, state)
    if deposit := deposit_told(state):
        return Review(
            reason=f"exchange {current.provider_order_id} is {state.raw_status} and has {deposit} that the books do not know;"
            f" nothing was signed. Is it this payment's: {attach_command(payment, current.provider_order_id or '')}"
        )
    if state.status not in UNPAID:
        wrong.append(f"status is {state.raw_status}, not waiting")
    if not wrong and state.expected_from is None:
        wrong = _amount_in_list(current)
    if wrong:
        return Review(
            reason=f"exchange {current.provider_order_id} is not what was requested: {'; '.join(wrong)}; nothing was signed"
        )
    with transaction.atomic():
        payment.locked()
        current.move(
            OrderStatus.OPEN,
            actor=actor,
            reason="an order that stood already, verified with the provider",
            expected_units=units_or_none(state.expected_to),
            valid_until=state.valid_until,
            placed_answer=state.raw,
        )
        payment.move(PaymentStatus.ORDERED, actor=actor, reason=f"exchange {current.provider_order_id} adopted")
    return Proceed()


def differences(payment: HostPayment, order: ExchangeOrder, state: ExchangeState) -> list[str]:
    """Everything in which the provider's order is not ours as we stored it; empty if it may be paid.

    An amount it does not name is no difference: the provider leaves it out of orders that are well. Of an order that we
    placed, the answer has confirmed it; for any other, `adopt` asks further.
    """
    payin_address = order.payin_address or ""
    asked_and_answered: dict[str, tuple[object, object]] = {
        "pay-in address": (payin_address.lower(), (state.payin_address or "").lower()),
        "pay-in memo": ("", state.payin_extra_id or ""),
        "payout address": (order.payout_address.lower(), (state.payout_address or "").lower()),
        # What goes wrong must come home: a missing refund address is as bad as a foreign one.
        "refund address": (order.refund_address.lower(), (state.refund_address or "").lower()),
        "from": (ETH, state.from_asset),
        "to": (USDT, state.to_asset),
    }
    amount = from_units(int(order.send_units), ETH)
    if state.expected_from is not None and not same_amount(amount, state.expected_from):
        asked_and_answered["amount"] = (amount, state.expected_from)
    wrong = [f"{name} is {said}, not {asked}" for name, (asked, said) in asked_and_answered.items() if asked != said]
    return wrong + wrong_payin(payment, order, payin_address)


def wrong_payin(payment: HostPayment, order: ExchangeOrder, payin_address: str) -> list[str]:
    """Why the address must not be paid: it is ours, a contract we know, nobody's, or was given to us before."""
    ours = {settings.USDT_CONTRACT_ADDRESS.lower(), payment.payout_address.lower(), _NOBODY}
    ours |= {address.lower() for address in Wallet.objects.values_list("address", flat=True)}
    if payin_address.lower() in ours:
        return [f"pay-in address {payin_address} is our own"]
    if ExchangeOrder.objects.filter(payin_address__iexact=payin_address).exclude(pk=order.pk).exists():
        return [f"pay-in address {payin_address} was used before"]
    return []


def units_or_none(amount: Decimal | None) -> int | None:
    """Base units of USDT in a figure of the provider, which rounds to eight places where the token has six."""
    return None if amount is None else usdt_units(amount)


def attach_command(payment: HostPayment, order_id: str) -> str:
    """How a person gives an order that was paid back to its payment."""
    return f"manage.py reconcile --provider --attach {order_id} --payment {payment.pk} --reason …"


def ask(order_id: str) -> ExchangeState:
    """The order as the provider has it now.

    Raises:
        ProviderError: it did not answer as it should.
    """
    with health.counted(health.EXCHANGE):
        return gateways.exchange().exchange(order_id)


def _listed(intent: ExchangeOrder) -> tuple[ListedExchange, ...] | None:
    """The account's orders since the intent; None if our key may not list them."""
    try:
        with health.counted(health.EXCHANGE):
            return gateways.exchange().find_exchanges(
                payout_address=intent.payout_address, since=intent.created_at - _CLOCKS_APART
            )
    except NotAllowedError:
        return None
    except TransientError as error:
        raise OutcomeUnknownError(f"whether an order was made cannot be looked up yet: {error}") from None


def _amount_in_list(order: ExchangeOrder) -> list[str]:
    """Why an order whose own page names no amount must not be paid: only the account's list can still confirm it.

    Address and payout would be ours all the same; but a deposit of another amount than was ordered is exchanged at
    another rate, or sent back, and money whose amount nobody has confirmed is not signed away.
    """
    nowhere = "its amount is confirmed by nobody: the provider's page of it names none, and"
    try:
        with health.counted(health.EXCHANGE):
            row = gateways.exchange().listed_exchange(order.provider_order_id or "")
    except NotAllowedError:
        return [f"{nowhere} our key may not ask the list"]
    if row is None or row.amount_from is None:
        return [f"{nowhere} neither does the list"]
    amount = from_units(int(order.send_units), ETH)
    return [] if same_amount(amount, row.amount_from) else [f"amount is {row.amount_from}, not {amount}"]


def _may_be(row: ListedExchange, intent: ExchangeOrder) -> bool:
    if _payin_of(row) is None or row.tag not in {None, str(intent.pk)}:
        return False
    if row.amount_from is None:
        return row.tag is not None
    return same_amount(from_units(int(intent.send_units), ETH), row.amount_from)


def _paid_one(payment: HostPayment, candidates: Sequence[ListedExchange]) -> Review | None:
    """The question to a person about an order that could be the payment's, and holds a deposit."""
    for row in candidates:
        if row.status not in UNPAID and (deposit := deposit_told(ask(row.order_id))):
            return Review(
                reason=f"exchange {row.order_id}, which the books do not know, is {row.raw_status} and has {deposit}; nothing"
                f" was ordered again. Was it made for this payment: {attach_command(payment, row.order_id)}"
            )
    return None


def _payin_of(row: ListedExchange) -> str | None:
    try:
        return checksummed(row.payin_address or "", field="pay-in address")
    except AddressError:
        return None


def _name(payment: HostPayment, intent: ExchangeOrder, found: ListedExchange, actor: Actor) -> bool:
    try:
        with transaction.atomic():
            payment.locked()
            intent.provider_order_id = found.order_id
            intent.payin_address = _payin_of(found)
            intent.save(update_fields=("provider_order_id", "payin_address"))
            intent.note(actor=actor, reason=f"its answer was lost; the provider has it as {found.order_id}")
    except IntegrityError:
        # Another payment of the same amount was looking too, and was first.
        intent.refresh_from_db(fields=("provider_order_id", "payin_address"))
        return False
    return True
