"""A transaction that no block takes: signed again at its nonce, dearer, below the ceilings, and only so often."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, SignerTask, Switch, Transaction
from hostpay.services import Handover, replacing
from hostpay.services.steps import Proceed
from tests.hostpay.chain import (
    ACTOR,
    ALICE,
    GWEI,
    crash_at,
    is_pending,
    let_time_pass,
    look,
    no_blocks,
    notes,
    on_the_wire,
    variants,
)
from tests.lib.unguarded import unguarded
from tests.lib.world import World, make_due

pytestmark = pytest.mark.django_db(transaction=True)


def test_f49_a_stuck_payment_is_signed_again_and_whichever_is_mined_settles_it(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        sent = world.sent_transactions()
        assert len(variants(look(payment))) == 1, "it was not stuck yet"
        let_time_pass(payment)

        payment = look(payment)

        original, replacement = variants(payment)
        assert (payment.status, payment.signer_task, replacement.kind) == ("broadcast", "", "replacement")
        assert (replacement.slot_id, replacement.to_address, replacement.value_units, replacement.gas_limit) == (
            original.slot_id,
            original.to_address,
            original.value_units,
            original.gas_limit,
        )
        for name in ("max_fee_per_gas_wei", "max_priority_fee_per_gas_wei"):
            assert getattr(replacement, name) >= getattr(original, name) * Decimal("1.125") + 1
        assert is_pending(world, replacement.tx_hash)
        assert not is_pending(world, original.tx_hash)
        world.anvil.mine()
    payment = world.drive_to(payment, "settled")
    assert [v.status for v in variants(payment)] == ["dropped", "final"]
    assert world.sent_transactions() == sent + 1
    assert "is not mined since" in "\n".join(notes(payment))


def test_f49_the_market_is_taken_where_it_is_above_the_raise(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        world.anvil.rpc("evm_setBlockGasLimit", hex(20_000))
        try:
            world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10 * GWEI))
            world.anvil.mine()
        finally:
            world.anvil.rpc("evm_setBlockGasLimit", hex(30_000_000))

        payment = look(payment)

        original, replacement = variants(payment)
        assert int(replacement.max_fee_per_gas_wei) > 15 * GWEI > 2 * int(original.max_fee_per_gas_wei)
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        world.anvil.mine()
    assert world.drive_to_final(payment).review_reason == ""


def test_f49_above_the_ceiling_it_waits_and_says_so(world: World, settings: Settings) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        (original,) = variants(payment)
        settings.MAX_FEE_PER_GAS_WEI = int(original.max_fee_per_gas_wei)

        payment = look(payment)

        assert (payment.status, payment.signer_task, payment.review_reason) == ("broadcast", "", "")
        assert payment.waiting_reason.startswith(f"{original.tx_hash} is not mined since")
        assert payment.waiting_reason.endswith(f"the cap is {settings.MAX_FEE_PER_GAS_WEI}")
        assert len(variants(payment)) == 1
        world.anvil.mine()
        assert look(payment).status == "mined"


def test_f49_what_is_mined_while_the_signer_is_down_is_confirmed_by_the_worker(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        payment = look(payment, may_sign=False)
        asked_at = payment.next_action_at
        assert (payment.status, payment.signer_task) == ("broadcast", "replace")
        make_due()
        due_since = HostPayment.objects.get(pk=payment.pk).next_action_at
        assert services.advance(payment_id=payment.pk, actor=ACTOR) is Handover.SIGNER
        payment.refresh_from_db()
        # Its turn is where it was, so that it is taken at once, and its silence is seen.
        assert (payment.next_action_at, payment.signer_task) == (due_since, "replace")
        assert asked_at is not None
        world.anvil.mine()

        payment = look(payment, may_sign=False)

        assert (payment.status, payment.signer_task) == ("mined", "")
        world.anvil.mine(3)
        payment = look(payment, may_sign=False)
    assert payment.status in {"final", "settled"}
    assert len(variants(payment)) == 1


def test_f49_what_a_node_lost_is_sent_again_while_the_signer_is_down(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        look(payment, may_sign=False)
        (only,) = variants(payment)
        world.anvil.rpc("anvil_dropTransaction", only.tx_hash)

        payment = look(payment, may_sign=False)

        assert is_pending(world, only.tx_hash)
        assert (payment.signer_task, len(variants(payment))) == ("replace", 1)


def test_f49_it_is_signed_again_only_so_often_and_then_asks_a_person(world: World, settings: Settings) -> None:
    settings.MAX_REPLACEMENTS = 2
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        for _ in range(4):
            let_time_pass(payment)
            payment = look(payment)

        assert [v.kind for v in variants(payment)] == ["payment", "replacement", "replacement"]
        assert "signed 2 times again, which is as often as allowed" in payment.review_reason
        world.anvil.mine()
        # The watch goes on all the same, and a block answers what a person was asked.
        payment = look(payment)
        assert (payment.status, payment.review_reason) == ("mined", "")


def test_f49_nothing_is_signed_again_while_signing_is_paused(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        services.pause(switch=Switch.SIGNING, actor=ALICE, reason="a drill")

        payment = look(payment)

        assert "signing is paused: a drill" in payment.waiting_reason
        # Asked before the pause: the signer's own transaction refuses as well.
        HostPayment.objects.filter(pk=payment.pk).update(signer_task=SignerTask.REPLACE)
        payment = look(payment)
        assert payment.waiting_reason == "signing is paused: a drill"
        assert payment.signer_task == ""
        assert len(variants(payment)) == 1
        services.resume(switch=Switch.SIGNING, actor=ALICE)
        assert len(variants(look(payment))) == 2


def test_f34_an_order_whose_time_ran_out_is_not_paid_dearer(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        with unguarded(ExchangeOrder):
            ExchangeOrder.objects.update(valid_until=timezone.now() - timedelta(minutes=1))

        payment = look(payment)

        assert "the time for the deposit has run out; propose to cancel" in payment.review_reason
        assert len(variants(payment)) == 1


def test_f49_what_the_books_no_longer_say_is_not_signed_again(world: World) -> None:
    """The signer believes the order's row, not the transaction it is to replace."""
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        with unguarded(ExchangeOrder):
            ExchangeOrder.objects.update(payin_address="0x70997970C51812dc3A010C7d01b50e0d17dc79C8")

        payment = look(payment)

        assert "nothing was signed" in payment.review_reason
        assert (len(variants(payment)), payment.signer_task) == (1, "")


def test_f49_mined_before_the_signer_came_nothing_is_signed(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        HostPayment.objects.filter(pk=payment.pk).update(signer_task=SignerTask.REPLACE)
        world.anvil.mine()

        payment = look(payment)

        assert (payment.status, payment.signer_task) == ("mined", "")
        assert len(variants(payment)) == 1


def test_a_worker_leaves_what_the_signer_was_asked_to_the_signer(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        HostPayment.objects.filter(pk=payment.pk).update(signer_task=SignerTask.REPLACE)
        make_due()

        assert services.advance(payment_id=payment.pk, actor=ACTOR) is Handover.SIGNER
        assert len(variants(payment)) == 1
        assert services.sign(payment_id=payment.pk, actor=ACTOR) is Handover.WORKER
        assert [v.status for v in variants(payment)] == ["broadcast", "signed"]


def test_f44_a_crash_while_signing_again_leaves_the_original_and_the_request(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        HostPayment.objects.filter(pk=payment.pk).update(signer_task=SignerTask.REPLACE)
        make_due()
        with crash_at('INSERT INTO "hostpay_transactionstatuschange"'):
            services.sign(payment_id=payment.pk, actor=ACTOR)

        assert len(variants(payment)) == 1
        assert HostPayment.objects.get().signer_task == "replace"

        payment = look(payment)

        assert len(variants(payment)) == 2
        world.anvil.mine()
    world.drive_to_final(payment)


def test_f47_the_signer_asked_twice_signs_once(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        HostPayment.objects.filter(pk=payment.pk).update(signer_task=SignerTask.REPLACE)
        rows = [HostPayment.objects.select_related("wallet").get(pk=payment.pk) for _ in range(2)]

        said = [replacing.replace(payment=row, actor=ACTOR) for row in rows]

        assert said == [Proceed(), Proceed()]
        assert Transaction.objects.count() == 2
