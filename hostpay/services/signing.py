"""ordered → signed: the one place where a signature comes into being, and the only process with the key runs it.

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
    Wallet,
)
from hostpay.providers.ethereum import InsufficientFundsError, UnsignedTransfer
from hostpay.services.ordering import is_fundable, order_again
from hostpay.services.pausing import is_paused
from hostpay.services.steps import Proceed, Review, Said, Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """What the node said just before signing."""

    nonce: int
    balance_wei: int
    gas_limit: int
    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int

    @property
    def gas_cost_wei(self) -> int:
        """At most."""
        return self.gas_limit * self.max_fee_per_gas_wei


def sign(*, payment: HostPayment, actor: Actor) -> Said:
    """Sign the payment to the pay-in address of its current order, and store the bytes.

    Raises:
        ProviderError: the node did not answer, or is on the wrong chain.
    """
    current = payment.orders.filter(is_current=True, status=OrderStatus.OPEN).first()
    if current is None:
        return Review(reason="it is ordered, and has no open order; nothing was signed")
    if not is_fundable(current):
        order_again(payment, current, actor, "the order was not paid in time; another one is made")
        return Proceed()
    try:
        chain = _ask_chain(payment, current)
    except InsufficientFundsError as error:
        return Wait(reason=str(error), after_s=settings.CHAIN_POLL_EVERY_S)
    held_back = _held_back(current, chain)
    if held_back is not None:
        return held_back
    return _sign_and_store(payment, current, chain, actor)


def _ask_chain(payment: HostPayment, current: ExchangeOrder) -> _Chain:
    node = gateways.node()
    wallet = payment.wallet
    chain_id = node.chain_id()
    if chain_id != wallet.chain_id:
        message = f"the node is on chain {chain_id}, the wallet on {wallet.chain_id}; nothing was signed"
        raise PermanentError(message)
    fees = node.fee_quote()
    return _Chain(
        nonce=node.nonce(wallet.address),
        balance_wei=node.balance_wei(wallet.address),
        gas_limit=node.estimate_gas(
            from_address=wallet.address, to_address=current.payin_address or "", value_wei=int(current.send_units)
        ),
        # Twice the base fee outlives six full blocks in a row, each an eighth dearer.
        max_fee_per_gas_wei=2 * fees.base_fee_wei + fees.priority_fee_wei,
        max_priority_fee_per_gas_wei=fees.priority_fee_wei,
    )


def _held_back(current: ExchangeOrder, chain: _Chain) -> Said | None:
    if chain.max_fee_per_gas_wei > settings.MAX_FEE_PER_GAS_WEI:
        return Wait(
            reason=f"gas costs up to {chain.max_fee_per_gas_wei} wei, the cap is {settings.MAX_FEE_PER_GAS_WEI}",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    needed = int(current.send_units) + chain.gas_cost_wei
    if chain.balance_wei < needed:
        return Wait(
            reason=f"the wallet has {format_units(chain.balance_wei, ETH)} and needs {format_units(needed, ETH)}"
            " with gas",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return None


def _sign_and_store(payment: HostPayment, current: ExchangeOrder, chain: _Chain, actor: Actor) -> Said:
    with transaction.atomic():
        locks.hold_shared(locks.Lock.SIGNING)
        paused = is_paused(Switch.SIGNING)
        if paused is not None:
            return Wait(reason=f"signing is paused: {paused.reason}", after_s=settings.SWEEP_EVERY_S)
        wallet = Wallet.objects.select_for_update().get(pk=payment.wallet_id)
        payment.locked()
        still_current = ExchangeOrder.objects.get(pk=current.pk, is_current=True, status=OrderStatus.OPEN)
        not_now = _wallet_not_free(wallet, payment, chain.nonce)
        if not_now is not None:
            return not_now
        _store_signed(wallet, payment, still_current, chain, actor)
    return Proceed()


def _wallet_not_free(wallet: Wallet, payment: HostPayment, chain_nonce: int) -> Said | None:
    busy = wallet.payments.on_the_wire().exclude(pk=payment.pk).first()
    if busy is not None:
        return Wait(
            reason=f"the wallet is busy with {busy.context} {busy.reference} ({busy.status})",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    expected = wallet.next_nonce
    if expected is None or chain_nonce == expected:
        return None
    if chain_nonce < expected:
        return Wait(
            reason=f"the node has seen {chain_nonce} transactions of the wallet and we {expected}: it lags, or one of"
            " ours is missing",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return Review(
        reason=f"the wallet's key was used elsewhere: the chain is at nonce {chain_nonce}, we at {expected};"
        " nothing was signed"
    )


def _store_signed(wallet: Wallet, payment: HostPayment, current: ExchangeOrder, chain: _Chain, actor: Actor) -> None:
    unsigned = UnsignedTransfer(
        chain_id=wallet.chain_id,
        nonce=chain.nonce,
        to=current.payin_address or "",
        value_wei=int(current.send_units),
        gas_limit=chain.gas_limit,
        max_fee_per_gas_wei=chain.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=chain.max_priority_fee_per_gas_wei,
    )
    signed = gateways.signer().sign(unsigned)
    slot = NonceSlot.objects.create(wallet=wallet, nonce=unsigned.nonce, payment=payment)
    variant = Transaction.objects.create(
        slot=slot,
        to_address=unsigned.to,
        value_units=unsigned.value_wei,
        gas_limit=unsigned.gas_limit,
        max_fee_per_gas_wei=unsigned.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=unsigned.max_priority_fee_per_gas_wei,
        raw=signed.raw,
        tx_hash=signed.tx_hash,
    )
    variant.record_birth(actor=actor, reason=f"signed with nonce {slot.nonce}")
    Wallet.objects.filter(pk=wallet.pk).update(next_nonce=slot.nonce + 1)
    payment.move(
        PaymentStatus.SIGNED,
        actor=actor,
        reason=f"{format_units(unsigned.value_wei, ETH)} to {unsigned.to}, nonce {slot.nonce}",
        data={"tx_hash": signed.tx_hash},
    )
