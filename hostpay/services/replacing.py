"""A transaction that no block takes is signed again: the same nonce, receiver and value, with higher fees.

The worker sees that it is stuck and asks the signer; the signer derives everything anew from the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from config.lib import clock, locks
from config.lib.audit import Actor
from config.lib.money import ETH, format_units
from hostpay import gateways
from hostpay.models import (
    ExchangeOrder,
    HostPayment,
    OrderStatus,
    SignerTask,
    Switch,
    Transaction,
    TransactionKind,
    Wallet,
)
from hostpay.services.fees import Fees, market_fees, raised_fees, too_dear
from hostpay.services.guarding import why_stopped
from hostpay.services.pausing import is_paused
from hostpay.services.sending import is_too_late
from hostpay.services.signing import fee_quote, refuse_other_chain, why_not_now
from hostpay.services.steps import Proceed, Review, Said, Wait
from hostpay.services.variants import fees_of, find_mined, sign_variant, variants_of


def ask_if_stuck(*, payment: HostPayment, variants: Sequence[Transaction], actor: Actor) -> Said | None:
    """Ask the signer for a replacement if the newest variant waits too long; None if it may wait on.

    Raises:
        ProviderError: the node did not answer.
    """
    newest = variants[0]
    if payment.signer_task:
        # Asked already: for this, or for a cancel, which comes first.
        return None
    if clock.now() - newest.created_at < timedelta(seconds=settings.REPLACE_AFTER_S):
        return None
    stuck = f"{newest.tx_hash} is not mined since {newest.created_at:%Y-%m-%d %H:%M} UTC"
    why_not = _why_not_again(payment, variants)
    if why_not is None:
        return _ask_signer(payment, stuck, actor)
    reason = f"{stuck}; {why_not.reason}"
    if isinstance(why_not, Review):
        return Review(reason=reason, after_s=settings.CHAIN_POLL_EVERY_S)
    return Wait(reason=reason, after_s=settings.CHAIN_POLL_EVERY_S)


def replace(*, payment: HostPayment, actor: Actor) -> Said:
    """Sign the newest variant again with higher fees, unless a block has taken one meanwhile.

    Raises:
        ProviderError: the node did not answer, or is on the wrong chain.
    """
    variants = variants_of(payment)
    newest = variants[0]
    if find_mined(variants) is not None:
        drop_task(payment)
        return Proceed()
    refuse_other_chain(newest.slot.wallet)
    fees = _next_fees(newest)
    if isinstance(fees, Wait):
        # The worker goes on watching, and asks again when it finds it still stuck.
        drop_task(payment)
        return fees
    not_now = _sign_again(payment, newest, fees, actor)
    if not_now is not None:
        drop_task(payment)
        return not_now
    return Proceed()


def drop_task(payment: HostPayment) -> None:
    """What the signer was asked is not to be done any more."""
    HostPayment.objects.filter(pk=payment.pk, signer_task=payment.signer_task).update(signer_task="")


def _why_not_again(payment: HostPayment, variants: Sequence[Transaction]) -> Review | Wait | None:
    """What speaks against signing it again: the rest of the reason."""
    newest = variants[0]
    if _order_ran_out(payment, newest):
        return Review(reason="the time for the deposit has run out; propose to cancel the payment")
    replaced = len([variant for variant in variants if variant.kind == _kind_after(newest)]) - _first_ones(newest)
    if replaced >= settings.MAX_REPLACEMENTS:
        return Review(reason=f"it was signed {replaced} times again, which is as often as allowed")
    paused = is_paused(Switch.SIGNING)
    if paused is not None:
        return Wait(reason=f"signing is paused: {paused.reason}", after_s=settings.CHAIN_POLL_EVERY_S)
    stopped = why_stopped()
    if stopped is not None:
        return stopped
    fees = _next_fees(newest)
    return fees if isinstance(fees, Wait) else None


def _ask_signer(payment: HostPayment, stuck: str, actor: Actor) -> Proceed:
    with transaction.atomic():
        row = payment.locked()
        if not row.signer_task:
            HostPayment.objects.filter(pk=row.pk).update(signer_task=SignerTask.REPLACE)
            row.note(actor=actor, reason=f"{stuck}: the signer is asked for higher fees")
    return Proceed()


def _next_fees(newest: Transaction) -> Fees | Wait:
    """The fees of the next variant, or why it must wait: they break a ceiling, or the wallet cannot pay them."""
    quote = fee_quote()
    if isinstance(quote, Wait):
        return quote
    fees = raised_fees(fees_of(newest), market_fees(quote))
    dear = too_dear(fees, gas_limit=newest.gas_limit, value_wei=int(newest.value_units))
    if dear:
        return Wait(reason=f"signed again, {dear}", after_s=settings.CHAIN_POLL_EVERY_S)
    balance_wei = gateways.node().balance_wei(newest.slot.wallet.address)
    needed_wei = int(newest.value_units) + newest.gas_limit * fees.max_fee_per_gas_wei
    if balance_wei < needed_wei:
        return Wait(
            reason=f"signed again, it would need {format_units(needed_wei, ETH)} with gas, and the wallet has"
            f" {format_units(balance_wei, ETH)}",
            after_s=settings.CHAIN_POLL_EVERY_S,
        )
    return fees


def _sign_again(payment: HostPayment, newest: Transaction, fees: Fees, actor: Actor) -> Said | None:
    with transaction.atomic():
        locks.hold_shared(locks.Lock.SIGNING)
        wallet = Wallet.objects.select_for_update().get(pk=payment.wallet_id)
        row = payment.locked()
        not_now = why_not_now(payment=payment, wallet=wallet) or _not_the_same(payment, newest)
        if not_now is not None:
            return not_now
        if row.signer_task != SignerTask.REPLACE or variants_of(payment)[0] != newest:
            # A cancel was approved meanwhile, or somebody has signed already.
            return None
        variant = sign_variant(
            slot=newest.slot,
            kind=_kind_after(newest),
            to=newest.to_address,
            value_wei=int(newest.value_units),
            gas_limit=newest.gas_limit,
            fees=fees,
            actor=actor,
        )
        HostPayment.objects.filter(pk=row.pk).update(signer_task="")
        row.note(
            actor=actor,
            reason=f"signed again with up to {fees.max_fee_per_gas_wei} wei per gas instead of {newest.max_fee_per_gas_wei}",
            data={"tx_hash": variant.tx_hash, "replaces": newest.tx_hash},
        )
    return None


def _not_the_same(payment: HostPayment, newest: Transaction) -> Review | None:
    """Receiver and value as the payment's order says them today, not as the transaction to be replaced does."""
    if newest.kind == TransactionKind.CANCEL:
        right = (newest.slot.wallet.address, 0)
    else:
        current = ExchangeOrder.objects.filter(payment=payment, is_current=True, status=OrderStatus.OPEN).first()
        if current is None:
            return Review(
                reason=f"{newest.tx_hash} has no open order to pay any more; nothing was signed",
                after_s=settings.CHAIN_POLL_EVERY_S,
            )
        right = (current.payin_address or "", int(current.send_units))
    if (newest.to_address, int(newest.value_units)) == right:
        return None
    return Review(
        reason=f"{newest.tx_hash} sends {newest.value_units} wei to {newest.to_address}, the books say {right[1]} wei to"
        f" {right[0]}; nothing was signed",
        after_s=settings.CHAIN_POLL_EVERY_S,
    )


def _order_ran_out(payment: HostPayment, newest: Transaction) -> bool:
    if newest.kind == TransactionKind.CANCEL:
        return False
    current = payment.orders.filter(is_current=True).first()
    return current is not None and is_too_late(current, was_sent=True)


def _kind_after(newest: Transaction) -> TransactionKind:
    return TransactionKind.CANCEL if newest.kind == TransactionKind.CANCEL else TransactionKind.REPLACEMENT


def _first_ones(newest: Transaction) -> int:
    """How many variants of the kind to be counted replaced nothing of their kind: the first cancel."""
    return 1 if newest.kind == TransactionKind.CANCEL else 0
