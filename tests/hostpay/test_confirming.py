"""broadcast → mined → final: reorganisations, reverts, and which variant the chain took."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import Breaker, HostPayment, PaymentStatus, Receipt, Transaction, Wallet
from tests.hostpay.chain import (
    ACTOR,
    ALICE,
    height,
    is_pending,
    let_time_pass,
    look,
    no_blocks,
    notes,
    on_the_wire,
    ordered,
    through,
    use_key_elsewhere,
    variants,
)
from tests.lib.faulty_node import FaultyNode
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def raw_of(variant: Transaction) -> str:
    return f"0x{bytes(variant.raw).hex()}"


def mined(world: World) -> HostPayment:
    """A payment in the chain's latest block. Only where no blocks are made."""
    payment = on_the_wire(world)
    world.anvil.mine()
    payment = look(payment)
    assert payment.status == "mined"
    return payment


def test_f55_a_reorganisation_takes_the_block_and_the_same_bytes_are_sent_again(world: World) -> None:
    with no_blocks(world.anvil):
        payment = mined(world)
        (variant,) = variants(payment)
        sent = world.sent_transactions()
        world.anvil.rpc("anvil_reorg", 1, [])
        assert world.sent_transactions() == sent - 1

        payment = look(payment)

        assert payment.status == "broadcast"
        assert "the chain was reorganised" in notes(payment)[-1]
        (back,) = variants(payment)
        assert (back.status, back.block_number, back.block_hash, back.gas_used) == ("broadcast", None, "", None)
        assert (back.broadcasts, bytes(back.raw)) == (2, bytes(variant.raw))
        assert is_pending(world, back.tx_hash)
        world.anvil.mine()
        payment = look(payment)
        assert payment.status == "mined"
        assert world.sent_transactions() == sent
    payment = world.drive_to_final(payment)
    assert [v.tx_hash for v in variants(payment)] == [variant.tx_hash]
    assert not Breaker.objects.exists()


def test_f55_the_same_transaction_in_another_block_is_normal(world: World) -> None:
    with no_blocks(world.anvil):
        payment = mined(world)
        (before,) = variants(payment)
        # One block earlier: made anew in the same second, its own block would be the very same one.
        world.anvil.rpc("anvil_reorg", 2, [[raw_of(before), 0]])

        payment = look(payment)

        (after,) = variants(payment)
        assert (payment.status, after.status, after.broadcasts) == ("mined", "mined", 1)
        assert after.block_hash != before.block_hash
    payment = world.drive_to_final(payment)
    assert payment.review_reason == ""
    assert not Breaker.objects.exists()


def test_f55_a_block_that_the_node_still_has_is_not_taken_for_gone(world: World, settings: Settings) -> None:
    """A node that lags, or forgets receipts, says "not found" of what is in the chain."""
    with no_blocks(world.anvil):
        payment = mined(world)
        with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
            node.say("eth_getTransactionReceipt", result=None, times=2)

            payment = look(payment)

            assert payment.status == "mined"
            assert node.count("eth_sendRawTransaction") == 0
    world.drive_to_final(payment)
    assert not any("reorganised" in note for note in notes(payment))


def test_f55_a_reorganisation_deeper_than_finality_opens_the_breaker(world: World) -> None:
    payment = world.drive_to_final(ordered(world))
    (final,) = variants(payment)
    # The exchange has paid or not: what matters is that our deposit's block goes.
    with no_blocks(world.anvil):
        sent = world.sent_transactions()
        world.anvil.rpc("anvil_reorg", height(world) - int(final.block_number or 0) + 1, [])
        assert world.sent_transactions() == sent - 1

        payment = look(payment)

        breaker = Breaker.objects.get()
        assert (breaker.cause, breaker.closed_at, breaker.opened_by) == ("chain", None, str(ACTOR))
        assert f"block {final.block_number} is gone, {final.tx_hash} is in no block" in breaker.detail
        assert payment.status == "final"
        assert payment.review_reason == breaker.detail
        assert is_pending(world, final.tx_hash)
        assert not Receipt.objects.exists()
        world.anvil.mine()

        payment = look(payment)

        (back,) = variants(payment)
        assert world.sent_transactions() == sent
        assert (back.status, back.tx_hash) == ("final", final.tx_hash)
        assert back.block_hash != final.block_hash
    assert Breaker.objects.get().closed_at is None


def test_f52_a_transaction_that_reverted_costs_its_gas_and_asks_a_person(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (variant,) = variants(payment)
        sent = world.sent_transactions()
        world.anvil.rpc("anvil_setCode", variant.to_address, "0x60006000fd")
        world.anvil.mine()

        payment = look(payment)
        assert payment.status == "broadcast", "a revert is believed only when it is final"
        world.anvil.mine()
        payment = look(payment)

    assert payment.status == "failed"
    assert payment.review_reason == f"{variant.tx_hash} reverted in block {height_of(variant)}; the value did not leave"
    (reverted,) = variants(payment)
    assert (reverted.status, reverted.gas_used is not None) == ("reverted", True)
    assert int(reverted.effective_gas_price_wei or 0) > 0
    assert payment.delivered_at is None
    assert [(order.status, order.is_current) for order in payment.orders.all()] == [("expired", True)]
    assert world.sent_transactions() == sent + 1
    # Nothing new is made by itself, and the wallet is free for others.
    look(payment)
    assert HostPayment.objects.count() == 1
    world.drive_to_final(ordered(world))
    services.close_unsent(payment=HostPayment.objects.get(pk=payment.pk), actor=ALICE, reason="ordered by hand")
    assert HostPayment.objects.get(pk=payment.pk).delivered_at is not None


def height_of(variant: Transaction) -> int:
    return int(Transaction.objects.get(pk=variant.pk).block_number or 0)


def test_f50_the_original_is_mined_after_the_replacement_was_sent(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        payment = look(payment)
        original, replacement = variants(payment)
        sent = world.sent_transactions()
        # Another node still has the original, and its block wins.
        world.anvil.rpc("anvil_dropTransaction", replacement.tx_hash)
        world.anvil.rpc("eth_sendRawTransaction", raw_of(original))
        world.anvil.mine()

        payment = look(payment)

        assert payment.status == "mined"
        assert [v.status for v in variants(payment)] == ["mined", "broadcast"]
    payment = world.drive_to(payment, "settled")
    assert [v.status for v in variants(payment)] == ["final", "dropped"]
    assert world.sent_transactions() == sent + 1


def test_f50_a_reorganisation_can_change_which_variant_pays(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        payment = look(payment)
        original, replacement = variants(payment)
        world.anvil.mine()
        payment = look(payment)
        assert [v.status for v in variants(payment)] == ["broadcast", "mined"]
        world.anvil.rpc("anvil_reorg", 1, [[raw_of(original), 0]])

        payment = look(payment)

        assert payment.status == "mined"
        assert [v.status for v in variants(payment)] == ["mined", "broadcast"]
    payment = world.drive_to_final(payment)
    assert [v.status for v in variants(payment)] == ["final", "dropped"]
    assert original.tx_hash != replacement.tx_hash


def test_f48_a_pending_transaction_that_vanished_is_sent_again(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (variant,) = variants(payment)
        world.anvil.rpc("anvil_dropTransaction", variant.tx_hash)

        payment = look(payment)

        assert payment.status == "broadcast"
        assert is_pending(world, variant.tx_hash)
        assert [(v.tx_hash, v.broadcasts) for v in variants(payment)] == [(variant.tx_hash, 2)]
    assert Wallet.objects.get().halted_at is None


def test_f45_our_own_block_found_late_is_not_taken_for_somebody_elses(world: World, settings: Settings) -> None:
    """Mined between the question for the receipt and the bytes sent again."""
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        world.anvil.mine()
        with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
            node.say("eth_getTransactionReceipt", result=None)
            node.say("eth_getTransactionByHash", result=None)

            payment = look(payment)

            assert (payment.status, payment.review_reason) == ("broadcast", "")
            assert "shows no block" in payment.waiting_reason
            assert node.count("eth_sendRawTransaction") == 1
        assert Wallet.objects.get().halted_at is None
        assert look(payment).status == "mined"


def test_f48_a_nonce_used_elsewhere_under_our_payment_fails_it_when_that_is_final(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (variant,) = variants(payment)
        world.anvil.rpc("anvil_dropTransaction", variant.tx_hash)
        use_key_elsewhere(world)
        world.anvil.mine()

        payment = look(payment)

        assert payment.status == "broadcast"
        assert "not by any transaction of ours" in payment.review_reason
        assert Wallet.objects.get().halted_at is not None
        with pytest.raises(RefusedError, match="may still be mined"):
            services.close_unsent(payment=payment, actor=ALICE, reason="it will not come")
        world.anvil.mine()

        payment = look(payment)

    assert payment.status == "failed"
    assert "finally so; the value did not leave by us" in payment.review_reason
    assert payment.delivered_at is None
    assert [v.status for v in variants(payment)] == ["dropped"]
    waiting = look(ordered(world))
    assert waiting.waiting_reason.startswith("the wallet is halted")
    assert Transaction.objects.count() == 1


def test_a_payment_is_final_only_with_all_confirmations(world: World, settings: Settings) -> None:
    settings.ETH_CONFIRMATIONS = 3
    with no_blocks(world.anvil):
        payment = mined(world)
        statuses = [look(payment).status]
        for _ in range(2):
            world.anvil.mine()
            statuses.append(look(payment).status)

    assert statuses == [PaymentStatus.MINED, PaymentStatus.MINED, PaymentStatus.FINAL]


def test_f55_with_the_chains_own_finality_confirmations_alone_are_not_final(world: World, settings: Settings) -> None:
    settings.ETH_FINALITY, settings.ETH_CONFIRMATIONS = "finalized", 1
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        world.anvil.mine()
        look(payment)

        payment = look(payment)

        block = int(variants(payment)[0].block_number or 0)
        finalized = int(world.anvil.rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)
        assert (payment.status, finalized < block) == ("mined", True)
        world.anvil.mine(5)
        payment = look(payment)
    assert payment.status in {"final", "settled"}
