"""The machine room fails: the database goes away, the disk is full, the books come from a backup, a switch is thrown."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import Model
from django.utils import timezone

from config.lib.errors import RefusedError
from hostpay import services, tasks
from hostpay.models import (
    ExchangeOrder,
    ExchangeOrderStatusChange,
    HostPayment,
    HostPaymentStatusChange,
    NonceSlot,
    Pause,
    Receipt,
    Switch,
    Transaction,
    TransactionStatusChange,
    Wallet,
)
from hostpay.services import halting
from tests.hostpay.chain import ACTOR, ALICE, look, ordered, requested, variants
from tests.lib.concurrency import crew
from tests.lib.swaps import Swaps
from tests.lib.unguarded import unguarded
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)

SIGNATURE = 'INSERT INTO "hostpay_transaction"'
OUTCOME = 'UPDATE "hostpay_transaction" SET "status"'


@contextmanager
def before(fragment: str, act: Callable[[], None]) -> Iterator[None]:
    """Do something just before the first statement with the fragment."""
    met: list[str] = []

    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if fragment in sql and not met:
            met.append(sql)
            act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
    assert met, f"nothing was sent with {fragment!r}"


def cut_connection() -> None:
    """What a restart or a failover of PostgreSQL does to us."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    finally:
        other.close()


def fail_as_if_the_disk_were_full() -> None:
    raise OperationalError("could not extend file: No space left on device")


def test_f65_a_database_that_restarts_while_we_sign_takes_the_signature_with_it(world: World) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()

    with before(SIGNATURE, cut_connection), pytest.raises(DatabaseError):
        services.sign(payment_id=payment.pk, actor=ACTOR)
    connection.close()

    assert HostPayment.objects.get().status == "ordered"
    assert not NonceSlot.objects.exists()
    assert world.sent_transactions() == sent_before

    world.drive_to_final(payment)

    assert world.sent_transactions() == sent_before + 1
    assert len(variants(payment)) == 1


def test_f65_a_database_that_restarts_after_the_broadcast_leads_to_no_second_payment(world: World) -> None:
    payment = ordered(world)
    services.sign(payment_id=payment.pk, actor=ACTOR)
    sent_before = world.sent_transactions()

    with before(OUTCOME, cut_connection), pytest.raises(DatabaseError):
        services.advance(payment_id=payment.pk, actor=ACTOR)
    connection.close()

    assert HostPayment.objects.get().status == "signed"
    # The node answers before it has made the block.
    world.anvil.mine()
    assert world.sent_transactions() == sent_before + 1

    payment = world.drive_to_final(payment)

    assert world.sent_transactions() == sent_before + 1
    assert [variant.broadcasts for variant in variants(payment)] == [1]


def test_f65_who_waits_too_long_for_the_wallet_signs_nothing_and_comes_again(world: World) -> None:
    payment = ordered(world)
    held, may_go = threading.Event(), threading.Event()

    def hold_wallet() -> None:
        with transaction.atomic():
            Wallet.objects.select_for_update().get(pk=payment.wallet_id)
            held.set()
            may_go.wait(20)

    with crew(1) as workers:
        holding = workers.start(hold_wallet)
        assert held.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            services.sign(payment_id=payment.pk, actor=ACTOR)
        may_go.set()
        holding.result()
    connection.close()

    assert not NonceSlot.objects.exists()
    world.drive_to_final(payment)
    assert len(variants(payment)) == 1


@pytest.mark.parametrize("statement", [SIGNATURE, 'INSERT INTO "hostpay_nonceslot"', 'UPDATE "hostpay_hostpayment"'])
def test_f70_with_a_full_disk_the_write_fails_before_anything_leaves(world: World, statement: str) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()

    with before(statement, fail_as_if_the_disk_were_full), pytest.raises(OperationalError, match="No space left"):
        services.sign(payment_id=payment.pk, actor=ACTOR)

    assert not Transaction.objects.exists()
    assert world.sent_transactions() == sent_before

    world.drive_to_final(payment)
    assert world.sent_transactions() == sent_before + 1


def test_f70_bytes_are_not_handed_out_unless_the_try_could_be_written_down(world: World) -> None:
    payment = ordered(world)
    services.sign(payment_id=payment.pk, actor=ACTOR)
    sent_before = world.sent_transactions()

    with (
        before('UPDATE "hostpay_transaction" SET "broadcast', fail_as_if_the_disk_were_full),
        pytest.raises(OperationalError, match="No space left"),
    ):
        services.advance(payment_id=payment.pk, actor=ACTOR)

    assert world.sent_transactions() == sent_before
    assert [variant.broadcasts for variant in variants(payment)] == [0]

    world.drive_to_final(payment)
    assert world.sent_transactions() == sent_before + 1


def test_f70_a_log_that_cannot_be_written_stops_no_payment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(StringIO):
        lost = 0

        def write(self, _text: str) -> int:
            FullDisk.lost += 1
            raise OSError(28, "No space left on device")

    sink = logging.StreamHandler(FullDisk())
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger().addHandler(sink)
    try:
        payment = world.drive_to_final(ordered(world))
    finally:
        logging.getLogger().removeHandler(sink)

    assert FullDisk.lost > 0
    assert len(variants(payment)) == 1


def test_f26_a_pause_waits_for_the_signature_under_way_and_none_follows_it(world: World) -> None:
    first, second = ordered(world), ordered(world)
    inside, may_go = threading.Event(), threading.Event()

    def sign() -> None:
        def hold() -> None:
            inside.set()
            assert may_go.wait(20)

        with before(SIGNATURE, hold):
            services.sign(payment_id=first.pk, actor=ACTOR)

    def pause() -> Pause:
        return services.pause(switch=Switch.SIGNING, actor=ALICE, reason="look into it")

    with crew(2) as workers:
        signing = workers.start(sign)
        assert inside.wait(10)
        pausing = workers.start(pause)
        time.sleep(0.3)
        is_held_up = not Pause.objects.exists()
        may_go.set()
        signing.result()
        paused = pausing.result()

    assert is_held_up
    (signed,) = Transaction.objects.all()
    assert signed.slot.payment == first
    assert signed.created_at < paused.paused_at

    # What was signed goes its way; the next one waits.
    world.drive_to_final(first)
    second = look(second)
    assert second.waiting_reason == "signing is paused: look into it"
    assert Transaction.objects.count() == 1


def restore_from_before_the_signature(payment: HostPayment, nonce: int) -> None:
    """The books as a backup has them: the payment is ordered, and nothing of what came after was ever written."""
    everything = (
        TransactionStatusChange,
        Transaction,
        NonceSlot,
        HostPaymentStatusChange,
        HostPayment,
        Receipt,
        ExchangeOrderStatusChange,
        ExchangeOrder,
        Wallet,
    )
    with unguarded(*everything):
        TransactionStatusChange.objects.filter(subject__slot__payment=payment).delete()
        Transaction.objects.filter(slot__payment=payment).delete()
        NonceSlot.objects.filter(payment=payment).delete()
        HostPaymentStatusChange.objects.filter(subject=payment).exclude(to_status__in=("requested", "ordered")).delete()
        Receipt.objects.filter(order__payment=payment).delete()
        ExchangeOrderStatusChange.objects.filter(subject__payment=payment).exclude(
            to_status__in=("ordering", "open")
        ).delete()
        an_hour_ago = timezone.now() - timedelta(hours=1)
        HostPayment.objects.filter(pk=payment.pk).update(
            status="ordered",
            status_changed_at=an_hour_ago,
            next_action_at=timezone.now(),
            received_units=None,
            delivered_at=None,
        )
        ExchangeOrder.objects.filter(payment=payment).update(
            status="open",
            status_changed_at=an_hour_ago,
            polled_at=None,
            created_at=an_hour_ago,
            provider_status="waiting",
            reported_units=None,
            payout_hash="",
        )
        Wallet.objects.filter(pk=payment.wallet_id).update(next_nonce=nonce)


def test_f66_messages_that_are_all_lost_and_then_come_twice_change_nothing(world: World, broker_down: None) -> None:
    # No message leaves while the broker is away: only what is due is looked at, as the sweep and `tick` do.
    sent_before = world.sent_transactions()
    payment = world.drive_to(ordered(world), "settled")
    world.drive(lambda: HostPayment.objects.filter(delivered_at__isnull=False).count() == 1)
    before = books()

    for _ in range(2):
        for task in (tasks.advance_payment, tasks.sign_payment, tasks.advance_payment):
            task(str(payment.pk))

    assert books() == before
    assert world.sent_transactions() == sent_before + 1


def books() -> dict[str, list[Any]]:
    """Every row of a payment's life."""
    kept: tuple[type[Model], ...] = (
        HostPayment, HostPaymentStatusChange, ExchangeOrder, ExchangeOrderStatusChange, NonceSlot, Transaction,
        TransactionStatusChange, Receipt, Wallet,
    )  # fmt: skip
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in kept}


def test_f69_books_from_a_backup_sign_nothing_and_a_lifted_halt_pays_nothing_twice(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    payment = world.drive_to_final(ordered(world))
    Swaps(world=world).seen_by_provider(payment)
    nonce = NonceSlot.objects.get(payment=payment).nonce
    sent = world.sent_transactions()

    restore_from_before_the_signature(payment, nonce)
    other = look(requested())
    payment = look(payment)

    # The chain knows more than the books: a person must look before anything is signed again.
    wallet = Wallet.objects.get()
    assert "the wallet's key was used elsewhere" in wallet.halted_reason
    assert payment.status == "ordered"
    assert "the wallet is halted" in payment.waiting_reason
    assert other.status == "ordered"
    assert world.sent_transactions() == sent

    # And who lifts the halt without having looked is not punished with a second payment: the exchange has been paid.
    with pytest.raises(RefusedError, match="which the books do not know, paid order"):
        services.lift_halt(wallet=wallet, actor=ALICE, reason="it will be fine")
    halting.lift_halt(wallet=wallet, actor=ALICE, reason="as if nobody had looked at the chain")
    services.retry_payment(payment=payment, actor=ALICE, reason="go on")
    payment = look(payment)

    assert payment.status == "ordered"
    assert "nothing was paid to it by us; nothing was signed" in payment.review_reason
    assert payment.next_action_at is None
    assert payment.orders.count() == 1
    assert world.sent_transactions() == sent
