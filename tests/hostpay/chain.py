"""Hands for tests of the chain side: payments on a real chain, blocks when the test says so, crashes at a statement."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from config.lib import audit
from config.lib.audit import Actor
from hostpay import gateways, services
from hostpay.models import Context, HostPayment, PaymentStatus, Transaction
from tests.lib.anvil import Anvil
from tests.lib.unguarded import unguarded
from tests.lib.world import World, make_due

ACTOR: Actor = audit.worker("test")
ALICE = audit.admin("alice")
BOB = audit.admin("bob")

GWEI = 10**9
# $20 at the sandbox's price.
VALUE_WEI = 10**16


class SimulatedCrash(BaseException):
    """The process is gone: nothing may catch it."""


def requested(amount_wei: int = VALUE_WEI) -> HostPayment:
    """A payment of its own purpose, just requested."""
    return services.request_payment(
        context=Context.INSTANT, reference=f"test-{uuid.uuid4().hex}", amount_units=amount_wei, actor=ACTOR
    )


def ordered(world: World, amount_wei: int = VALUE_WEI) -> HostPayment:
    """A payment that only wants a signature, on a market without other people's tips in its latest blocks."""
    world.anvil.mine(5)
    payment = requested(amount_wei)
    look(payment, may_sign=False)
    payment.refresh_from_db()
    assert payment.status == PaymentStatus.ORDERED, (payment.status, payment.waiting_reason, payment.last_error)
    assert world.wallet_address == payment.wallet.address
    return payment


def look(payment: HostPayment, *, may_sign: bool = True) -> HostPayment:
    """One look at this payment, through all steps it takes at once; returns it as it is then."""
    make_due()
    handover = services.Handover.WORKER
    while handover is not services.Handover.NOBODY:
        if handover is services.Handover.SIGNER and not may_sign:
            break
        take = services.sign if handover is services.Handover.SIGNER else services.advance
        handover = take(payment_id=payment.pk, actor=ACTOR)
    return HostPayment.objects.select_related("wallet").get(pk=payment.pk)


def on_the_wire(world: World) -> HostPayment:
    """A payment whose transaction waits in the node's pool. Only where no blocks are made."""
    payment = look(ordered(world))
    assert payment.status == PaymentStatus.BROADCAST, (payment.status, payment.waiting_reason, payment.review_reason)
    return payment


@contextmanager
def no_blocks(anvil: Anvil) -> Iterator[None]:
    """Within, blocks come only from `anvil.mine()`; what is left in the pool afterwards is thrown away."""
    anvil.rpc("evm_setAutomine", False)
    try:
        yield
    finally:
        anvil.rpc("anvil_dropAllTransactions")
        anvil.rpc("evm_setAutomine", True)
        anvil.mine()


@contextmanager
def crash_at(fragment: str) -> Iterator[None]:
    """The process "dies" where it is about to send the first statement with `fragment`, and ends the block."""

    def die(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if fragment in sql:
            raise SimulatedCrash(fragment)
        return execute(sql, params, many, context)

    try:
        with connection.execute_wrapper(die):
            yield
    except SimulatedCrash:
        return
    raise AssertionError(f"nothing was sent with {fragment!r}")


@contextmanager
def through(url: str, settings: Any) -> Iterator[None]:
    """Within, our node is the one at `url`."""
    before = settings.ETH_RPC_URLS
    settings.ETH_RPC_URLS = [url]
    gateways.node.cache_clear()
    try:
        yield
    finally:
        settings.ETH_RPC_URLS = before
        gateways.node.cache_clear()


@contextmanager
def balance_of(world: World, wei: int) -> Iterator[None]:
    """Within, the wallet has so many wei; afterwards what it had before."""
    before = world.anvil.rpc("eth_getBalance", world.wallet_address, "latest")
    world.anvil.rpc("anvil_setBalance", world.wallet_address, hex(wei))
    try:
        yield
    finally:
        world.anvil.rpc("anvil_setBalance", world.wallet_address, before)


def use_key_elsewhere(world: World) -> str:
    """Somebody else sends a transaction from our wallet; returns its hash."""
    anvil = world.anvil
    anvil.rpc("anvil_impersonateAccount", world.wallet_address)
    try:
        return anvil.send(
            {
                "from": world.wallet_address,
                "to": world.wallet_address,
                "value": "0x1",
                "maxFeePerGas": hex(100 * GWEI),
                "maxPriorityFeePerGas": hex(GWEI),
            }
        )
    finally:
        anvil.rpc("anvil_stopImpersonatingAccount", world.wallet_address)


def let_time_pass(payment: HostPayment) -> None:
    """Everything signed for the payment was signed an hour ago."""
    with unguarded(Transaction):
        Transaction.objects.filter(slot__payment=payment).update(created_at=timezone.now() - timedelta(hours=1))


def variants(payment: HostPayment) -> list[Transaction]:
    """In the order of their signing."""
    return list(Transaction.objects.filter(slot__payment=payment).order_by("pk"))


def notes(payment: HostPayment) -> list[str]:
    """The history's reasons, oldest first."""
    return [change.reason for change in payment.status_changes.order_by("pk")]


def height(world: World) -> int:
    return int(world.anvil.rpc("eth_blockNumber"), 16)


def is_pending(world: World, tx_hash: str) -> bool:
    found = world.anvil.rpc("eth_getTransactionByHash", tx_hash)
    return found is not None and found["blockNumber"] is None
