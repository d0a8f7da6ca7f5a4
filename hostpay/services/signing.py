"""ordered → signed: the first signature of a payment. Only the process with the key runs it.

Everything that is signed is derived from rows here, never from a message. The wallet's row is locked from the choice
of the nonce until nonce, raw bytes and hash are committed; only what was committed is ever sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from config.lib import locks
from config.lib.audit import Actor
from config.lib.errors import PermanentError
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    ExchangeOrder,
    HostPayment,
    NonceSlot,
    OrderStatus,
    PaymentStatus,
    Switch,
    Transaction,
    TransactionKind,
    TransactionStatus,
    Wallet,
)
from hostpay.providers.ethereum import FeeQuote, InsufficientFundsError, NodeAnswerError
from hostpay.services.fees import Fees, market_fees, too_dear
from hostpay.services.funding import why_not_fund
from hostpay.services.guarding import why_not_sign, why_stopped
from hostpay.services.halting import halt_wallet
from hostpay.services.limits import why_over_limit
from hostpay.services.ordering import is_fundable
from hostpay.services.pausing import is_paused
from hostpay.services.sending import send
from hostpay.services.steps import Poll, Proceed, Review, Said, Wait
from hostpay.services.variants import sign_variant

# What a transfer to an account takes, always. To a contract it depends on the contract's state when it is mined.
_GAS_TO_AN_ACCOUNT = 21_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """How many transactions of the wallet the node knows; `pool_nonce` counts what waits in its pool as well."""

    nonce: int
    pool_nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """What the node said just before signing."""

    line: _Line
    balance_wei: int
    gas_limit: int
    fees: Fees


def sign(*, payment: HostPayment, actor: Actor) -> Said:
    """Sign the payment to the pay-in address of its current order, and store the bytes.

    Raises:
        ProviderError: the node did not answer, or is on the wrong chain.
    """
    current = payment.orders.filter(is_current=True, status=OrderStatus.OPEN).first()
    if current is None:
        return Review(reason="it is ordered, and has no open order; nothing was signed")
    # Ours first, which cost nothing: an order is not made anew for a payment that may not be signed anyway. They are
    # asked again under the locks.
    unfit = (
        why_not_now(payment=payment, wallet=payment.wallet)
        or why_over_limit(payment=payment, provider=current.provider, value_wei=int(current.send_units))
        # Books that know less than the chain end no payment, and give no order up: it may be the one that was paid.
        or _behind_the_chain(payment.wallet, actor)
        or why_not_fund(payment=payment, current=current, actor=actor)
    )
    if unfit is not None:
        return unfit
    quote = fee_quote()
    if isinstance(quote, Wait):
        return quote
    try:
        chain = _ask_chain(payment, current, market_fees(quote))
    except InsufficientFundsError as error:
        return Wait(reason=_needs_more(payment, current, error), after_s=settings.CHAIN_POLL_EVERY_S)
    held_back = _held_back(current, chain)
    if held_back is not None:
        return held_back
    _send_missing(payment.wallet, chain.line.nonce)
    return _sign_and_store(payment, current, chain, actor)


def refuse_other_chain(wallet: Wallet) -> None:
    """Go on only if our key is the wallet's, and the node on its chain.

    Raises:
        PermanentError: one of them is not.
        ProviderError: the node did not answer.
        NoKeyError: this process has no key.
    """
    # Here, before the transaction that signs: opening the keystore takes a second, which no lock must wait for.
    key_of = gateways.signer().address
    if key_of != wallet.address:
        message = f"the key is of {key_of}, the payment is to leave {wallet.address}; nothing was signed"
        raise PermanentError(message)
    chain_id = gateways.node().chain_id()
    if chain_id != wallet.chain_id:
        message = f"the node is on chain {chain_id}, the wallet on {wallet.chain_id}; nothing was signed"
        raise PermanentError(message)


def fee_quote() -> FeeQuote | Wait:
    """The market's fees; figures that make no sense are waited out, never signed.

    Raises:
        ProviderError: the node did not answer.
    """
    try:
        return gateways.node().fee_quote()
    except NodeAnswerError as error:
        return Wait(reason=f"the node names no usable fee: {error}", after_s=settings.CHAIN_POLL_EVERY_S)


def why_not_now(*, payment: HostPayment, wallet: Wallet) -> Said | None:
    """What forbids any new signature for the wallet; to be asked in the transaction that signs, under its locks."""
    paused = is_paused(Switch.SIGNING)
    if paused is not None:
        return Wait(reason=f"signing is paused: {paused.reason}", after_s=settings.SWEEP_EVERY_S)
    stopped = why_stopped()
    if stopped is not None:
        return stopped
    if wallet.halted_at is not None:
        return Wait(reason=f"the wallet is halted: {wallet.halted_reason}", after_s=settings.SWEEP_EVERY_S)
    busy = wallet.payments.on_the_wire().exclude(pk=payment.pk).first()
    if busy is not None:
        return Wait(
            reason=f"the wallet is busy with {busy.context} {busy.reference} ({busy.status})",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return None


def _behind_the_chain(wallet: Wallet, actor: Actor) -> Said | None:
    refuse_other_chain(wallet)
    # The chain first: what it has seen by now was committed here before it was sent.
    line = _ask_line(wallet)
    wallet.refresh_from_db(fields=("next_nonce",))
    return _used_elsewhere(wallet, line, actor)


def _ask_line(wallet: Wallet) -> _Line:
    node = gateways.node()
    return _Line(nonce=node.nonce(wallet.address), pool_nonce=node.nonce(wallet.address, "pending"))


def _ask_chain(payment: HostPayment, current: ExchangeOrder, fees: Fees) -> _Chain:
    node = gateways.node()
    address = payment.wallet.address
    gas = node.estimate_gas(
        from_address=address, to_address=current.payin_address or "", value_wei=int(current.send_units)
    )
    return _Chain(
        line=_ask_line(payment.wallet),
        balance_wei=node.balance_wei(address),
        # A quarter more than estimated where there is code: what is not used is not paid, what is missing reverts.
        gas_limit=gas if gas <= _GAS_TO_AN_ACCOUNT else gas + gas // 4,
        fees=fees,
    )


def _held_back(current: ExchangeOrder, chain: _Chain) -> Said | None:
    value_wei = int(current.send_units)
    dear = too_dear(chain.fees, gas_limit=chain.gas_limit, value_wei=value_wei)
    if dear:
        return Wait(reason=dear, after_s=settings.CHAIN_POLL_EVERY_S)
    needed = value_wei + chain.gas_limit * chain.fees.max_fee_per_gas_wei
    if chain.balance_wei < needed:
        return Wait(reason=_has_and_needs(chain.balance_wei, needed), after_s=settings.CHAIN_POLL_EVERY_S)
    return None


def _needs_more(payment: HostPayment, current: ExchangeOrder, error: InsufficientFundsError) -> str:
    """The node would not even estimate; the figures are the operator's, so they are asked for."""
    balance_wei = gateways.node().balance_wei(payment.wallet.address)
    if balance_wei < int(current.send_units):
        return _has_and_needs(balance_wei, int(current.send_units))
    return str(error)


def _has_and_needs(balance_wei: int, needed_wei: int) -> str:
    return (
        f"insufficient funds: the wallet has {format_units(balance_wei, ETH)} and needs"
        f" {format_units(needed_wei, ETH)} with gas"
    )


def _send_missing(wallet: Wallet, chain_nonce: int) -> None:
    """Hand the node what we know was in the chain and its nonce says is not: the same bytes, in their order."""
    wallet.refresh_from_db(fields=("next_nonce",))
    if wallet.next_nonce is None or chain_nonce >= wallet.next_nonce or wallet.payments.on_the_wire().exists():
        return
    missing = Transaction.objects.filter(
        slot__wallet=wallet,
        slot__nonce__gte=chain_nonce,
        status__in=(TransactionStatus.FINAL, TransactionStatus.REVERTED),
    )
    for variant in missing.order_by("slot__nonce"):
        send(variant)


def _sign_and_store(payment: HostPayment, current: ExchangeOrder, chain: _Chain, actor: Actor) -> Said:
    with transaction.atomic():
        locks.hold_shared(locks.Lock.SIGNING)
        wallet = Wallet.objects.select_for_update().get(pk=payment.wallet_id)
        row = payment.locked()
        if row.review_reason:
            # Our lease ran out while we asked, and whoever came next found something that a person must see.
            return Review(reason=row.review_reason)
        still_current = ExchangeOrder.objects.filter(pk=current.pk, is_current=True, status=OrderStatus.OPEN).first()
        if still_current is None or not is_fundable(still_current):
            # Given up, or too old to be paid, while we asked: the next look asks afresh.
            return Poll(after_s=1)
        not_now = (
            why_not_now(payment=payment, wallet=wallet)
            or why_not_sign(
                payment=payment,
                wallet=wallet,
                current=still_current,
                value_wei=int(still_current.send_units),
                actor=actor,
            )
            or _nonce_is_not_ours(wallet, chain.line, actor)
        )
        if not_now is not None:
            return not_now
        _store_signed(wallet, payment, still_current, chain, actor)
    return Proceed()


def _nonce_is_not_ours(wallet: Wallet, line: _Line, actor: Actor) -> Said | None:
    expected = wallet.next_nonce or 0
    if line.nonce < expected:
        return Wait(
            reason=f"the node has seen {line.nonce} transactions of the wallet and we {expected}: it lags, or one of"
            " ours is missing and was sent again",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return _used_elsewhere(wallet, line, actor)


def _used_elsewhere(wallet: Wallet, line: _Line, actor: Actor) -> Said | None:
    """Halt the wallet if the chain or its pool has more of its transactions than the books."""
    expected = wallet.next_nonce or 0
    if max(line.nonce, line.pool_nonce) <= expected:
        return None
    if wallet.next_nonce is None:
        # Nobody can tell a wallet with a past from books without one: a person confirms it, once, and all goes on.
        reason = (
            f"the wallet has sent {max(line.nonce, line.pool_nonce)} transactions, and these books have signed none: was"
            " the wallet used before Sluice had it, lift the halt; are these books from a backup, reconcile first"
        )
        halt_wallet(wallet=wallet, actor=actor, reason=reason)
        return Wait(reason=f"the wallet is halted: {reason}", after_s=settings.SWEEP_EVERY_S)
    where = f"the chain is at nonce {line.nonce}, its pool at {line.pool_nonce}, we at {expected}"
    reason = f"the wallet's key was used elsewhere: {where}; nothing was signed"
    halt_wallet(wallet=wallet, actor=actor, reason=reason)
    return Review(reason=reason)


def _store_signed(wallet: Wallet, payment: HostPayment, current: ExchangeOrder, chain: _Chain, actor: Actor) -> None:
    slot = NonceSlot.objects.create(wallet=wallet, nonce=chain.line.nonce, payment=payment)
    variant = sign_variant(
        slot=slot,
        kind=TransactionKind.PAYMENT,
        to=current.payin_address or "",
        value_wei=int(current.send_units),
        gas_limit=chain.gas_limit,
        fees=chain.fees,
        actor=actor,
    )
    Wallet.objects.filter(pk=wallet.pk).update(next_nonce=slot.nonce + 1)
    payment.move(
        PaymentStatus.SIGNED,
        actor=actor,
        reason=f"{format_units(int(variant.value_units), ETH)} to {variant.to_address}, nonce {slot.nonce}",
        data={"tx_hash": variant.tx_hash},
    )
