"""The host wallet on a real chain against the books: nonces, transactions, USDT that came, balances."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from config.lib.errors import RefusedError
from config.reconciliation import reconcile
from hostpay import gateways, services
from hostpay.models import (
    AcceptedDifference,
    HostPayment,
    NonceSlot,
    Receipt,
    Reconciliation,
    Scope,
    Transaction,
    TransactionStatusChange,
    Wallet,
)
from hostpay.providers.ethereum import history
from hostpay.sandbox.rpc import token_call
from hostpay.services.reconciling import sign_off
from hostpay.services.reconciling.runs import lines_of
from tests.hostpay.chain import ALICE, BOB, look, no_blocks, on_the_wire, ordered, through, use_key_elsewhere, variants
from tests.hostpay.reconciling.books import line_of, open_rows, reconciled, settle_books
from tests.lib.faulty_node import FaultyNode
from tests.lib.unguarded import unguarded
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def paid(world: World) -> NonceSlot:
    """One payment at its end, and books that agree with the chain from there on."""
    payment = world.drive_to(ordered(world), "settled")
    settle_books(world)
    return NonceSlot.objects.get(payment=payment)


def send_usdt(world: World, units: int) -> str:
    """Somebody sends USDT to our wallet, for no order; the hash."""
    call_token(world, token_call("issue(uint256)", units))
    tx_hash = call_token(world, token_call("transfer(address,uint256)", world.wallet_address, units))
    world.anvil.mine(3)
    return tx_hash


def call_token(world: World, call: str) -> str:
    owner = world.anvil.rpc("eth_accounts")[1]
    asked = {"from": owner, "to": world.usdt_contract_address, "data": call, "gas": hex(300_000)}
    tx_hash = world.anvil.send(asked)
    world.anvil.node.wait_for_receipt(tx_hash)
    return tx_hash


def test_books_that_agree_are_a_run_that_says_so_with_both_sides(world: World, paid: NonceSlot) -> None:
    world.drive_to(ordered(world), "settled")
    world.anvil.mine(3)

    run = reconciled("chain")

    assert (run.result, run.failures, open_rows(run)) == ("agrees", {}, [])
    assert run.block_number == int(world.anvil.rpc("eth_blockNumber"), 16) - 1
    came = next(line for line in lines_of(run) if line.row.startswith("USDT that came in"))
    assert came.ours == came.theirs.replace("transfers", "receipts")
    assert "in 1 receipts" in came.ours
    (eth,) = [line for line in lines_of(run) if line.row.startswith("ETH of the wallet")]
    assert eth.ours.startswith(f"{eth.theirs}: ")


def test_f48_a_transfer_of_our_wallet_that_is_not_ours_is_told_with_its_nonce_and_what_it_did(
    world: World, paid: NonceSlot
) -> None:
    foreign = use_key_elsewhere(world)
    world.anvil.mine(3)

    run = reconciled("chain")

    told = line_of(run, f"nonce {paid.nonce + 1} of {world.wallet_address}")
    assert (run.result, told.verdict, told.ours) == ("differs", "alarm", "not known")
    assert foreign in told.theirs
    assert world.wallet_address in told.theirs
    assert "Keep the wallet halted" in told.next_step
    behind = line_of(run, f"next nonce of wallet {world.wallet_address}")
    assert (behind.verdict, behind.ours, behind.theirs) == ("differs", str(paid.nonce + 1), str(paid.nonce + 2))
    # It only tells.
    assert not Wallet.objects.get().halted_reason
    assert NonceSlot.objects.count() == 1


def test_what_a_person_has_signed_off_is_known_and_any_other_figure_is_not(world: World, paid: NonceSlot) -> None:
    use_key_elsewhere(world)
    world.anvil.mine(3)
    sign_off(run=reconciled("chain"), actor=ALICE, reason="my own sweep, ticket 88")

    again = reconciled("chain")
    assert line_of(again, f"nonce {paid.nonce + 1} of {world.wallet_address}").verdict == "accepted"
    assert again.result == "agrees"

    use_key_elsewhere(world)
    world.anvil.mine(3)
    third = reconciled("chain")
    assert f"nonce {paid.nonce + 2} of {world.wallet_address}" in open_rows(third)
    assert f"nonce {paid.nonce + 1} of {world.wallet_address}" not in open_rows(third)


def test_what_waits_in_the_pool_and_is_not_ours_is_an_alarm(world: World, paid: NonceSlot) -> None:
    with no_blocks(world.anvil):
        use_key_elsewhere(world)
        run = reconciled("chain")

    told = line_of(run, f"next nonce of wallet {world.wallet_address}")
    assert (told.verdict, "in the node's pool" in told.theirs) == ("alarm", True)


def test_a_payment_of_ours_that_is_out_is_no_difference(world: World, paid: NonceSlot) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        run = reconciled("chain")
        assert (run.result, open_rows(run)) == ("agrees", [])
        world.anvil.mine(3)

        # In a block, and no worker has looked yet.
        run = reconciled("chain")
        told = line_of(run, f"nonce {paid.nonce + 1} of {world.wallet_address}")
        assert (run.result, told.verdict) == ("agrees", "noted")
        look(payment)


def test_usdt_that_belongs_to_no_order_is_told_with_amount_transaction_and_log(world: World, paid: NonceSlot) -> None:
    tx_hash = send_usdt(world, 1_230_000)

    run = reconciled("chain")

    (row,) = open_rows(run)
    assert row.startswith(f"transfer {tx_hash} log ")
    told = line_of(run, row)
    assert (told.verdict, told.ours) == ("differs", "not assigned to any order")
    assert told.theirs.startswith("1.23 USDT from 0x")
    assert Receipt.objects.count() == 1

    # Signed off it is known, also to the balance of the next run.
    sign_off(run=run, actor=ALICE, reason="a gift")
    assert reconciled("chain").result == "agrees"


def test_usdt_is_found_in_old_blocks_when_told_to_look_there(world: World, paid: NonceSlot) -> None:
    tx_hash = send_usdt(world, 2_000_000)
    sign_off(run=reconciled("chain"), actor=ALICE, reason="a gift")
    start = int(world.anvil.rpc("eth_getTransactionReceipt", tx_hash)["blockNumber"], 16)
    run = reconcile(scope=Scope.CHAIN, actor=ALICE, since_block=start)

    (told,) = [line for line in lines_of(run) if line.row.startswith(f"transfer {tx_hash}")]
    assert told.verdict == "accepted"


def test_a_receipt_that_the_chain_does_not_show_is_an_alarm(world: World, paid: NonceSlot) -> None:
    payment = world.drive_to(ordered(world), "settled")
    world.anvil.mine(3)
    with unguarded(Receipt):
        Receipt.objects.filter(order__payment=payment).update(log_index=F("log_index") + 100)

    run = reconciled("chain")

    missing = [line for line in lines_of(run) if "no such transfer" in line.theirs]
    assert [line.verdict for line in missing] == ["alarm"]
    assert "breaker" in missing[0].next_step


def test_i20_ether_that_left_by_none_of_our_transactions_is_an_alarm(world: World, paid: NonceSlot) -> None:
    before = world.anvil.rpc("eth_getBalance", world.wallet_address, "latest")
    world.anvil.rpc("anvil_setBalance", world.wallet_address, hex(int(before, 16) - 10**15))
    world.anvil.mine(3)
    try:
        run = reconciled("chain")
    finally:
        world.anvil.rpc("anvil_setBalance", world.wallet_address, before)

    (row,) = open_rows(run)
    told = line_of(run, row)
    assert (told.verdict, row.startswith("ETH of the wallet")) == ("alarm", True)
    assert "0.001 ETH less" in told.theirs
    assert "Ether is missing" in told.next_step


def test_i20_ether_that_came_in_is_customers_payments_and_no_difference(world: World, paid: NonceSlot) -> None:
    owner = world.anvil.rpc("eth_accounts")[1]
    world.anvil.send({"from": owner, "to": world.wallet_address, "value": hex(10**15)})
    world.anvil.mine(3)

    run = reconciled("chain")

    (told,) = [line for line in lines_of(run) if line.row.startswith("ETH of the wallet")]
    assert (run.result, told.verdict) == ("agrees", "agrees")
    assert "0.001 ETH more" in told.theirs


def test_a_final_transaction_that_is_not_where_the_books_have_it_is_an_alarm(world: World, paid: NonceSlot) -> None:
    payment = world.drive_to(ordered(world), "settled")
    world.anvil.mine(3)
    Transaction.objects.filter(slot__payment=payment).update(block_hash="0x" + "ee" * 32)

    run = reconciled("chain")

    (told,) = [line for line in lines_of(run) if line.row.startswith("transaction 0x")]
    assert (told.verdict, "reorganisation" in told.next_step) == ("alarm", True)


def test_where_a_state_is_pruned_the_blocks_are_read_instead(world: World, paid: NonceSlot) -> None:
    foreign = use_key_elsewhere(world)
    # This chain keeps the states of its last 256 blocks, as a full node keeps some.
    world.anvil.mine(400)

    run = reconciled("chain")

    assert run.failures == {}
    assert foreign in line_of(run, f"nonce {paid.nonce + 1} of {world.wallet_address}").theirs


def test_a_pruned_node_is_a_clear_error_and_never_nothing_found(
    world: World, paid: NonceSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beyond what the node keeps and what we read instead, on a chain that the other tests go on with.
    monkeypatch.setattr(history, "_MOST_BLOCKS_READ", 50)
    use_key_elsewhere(world)
    world.anvil.mine(400)

    run = reconciled("chain")

    assert run.result == "failed"
    assert "has pruned that state and cannot say" in run.failures["chain"]
    assert "archive node" in run.failures["chain"]
    assert "which were read instead" in run.failures["chain"]
    assert (run.lines, run.block_number) == ([], None)


def test_a_node_that_is_away_is_an_error_and_nothing_is_said_of_the_wallet(
    world: World, paid: NonceSlot, settings: Settings
) -> None:
    with through("http://127.0.0.1:9", settings):
        run = reconciled("chain")

    assert (run.result, list(run.failures), run.lines) == ("failed", ["chain"], [])
    with pytest.raises(RefusedError, match="could not be asked"):
        sign_off(run=run, actor=ALICE, reason="never mind")


@pytest.mark.parametrize(
    "method", ["eth_getLogs", "eth_getBalance", "eth_getTransactionCount", "eth_getTransactionReceipt"]
)
def test_a_node_that_fails_at_any_question_fails_the_run(
    world: World, paid: NonceSlot, settings: Settings, method: str
) -> None:
    world.drive_to(ordered(world), "settled")
    world.anvil.mine(3)
    with FaultyNode(world.anvil.rpc_url) as door, through(door.url, settings):
        door.lose_answer(method, times=9)
        run = reconciled("chain")

    assert (run.result, run.lines) == ("failed", [])


def test_a_node_that_counts_and_does_not_show_the_transaction_is_an_alarm(
    world: World, paid: NonceSlot, settings: Settings
) -> None:
    use_key_elsewhere(world)
    world.anvil.mine(3)
    with FaultyNode(world.anvil.rpc_url) as door, through(door.url, settings):
        node = gateways.node()
        head = node.block_number()
        found = next(
            sent for number in range(head, 0, -1) for sent in node.transactions_from(world.wallet_address, number)
        )
        block = world.anvil.rpc("eth_getBlockByNumber", hex(found.block_number), True)
        door.say("eth_getBlockByNumber", result={**block, "transactions": []})
        run = reconciled("chain")

    told = line_of(run, f"nonce {paid.nonce + 1} of {world.wallet_address}")
    assert (told.verdict, "by no transaction of the wallet" in told.theirs) == ("alarm", True)
    # Its cost is not known, so the balance is told and judged by nobody.
    (eth,) = [line for line in lines_of(run) if line.row.startswith("ETH of the wallet")]
    assert eth.verdict == "noted"


def test_the_database_keeps_a_run_as_it_was_recorded(world: World, paid: NonceSlot) -> None:
    run = Reconciliation.objects.get()

    def refused(statement: str, *values: Any) -> None:
        with pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.execute(statement, values)

    refused("UPDATE hostpay_reconciliation SET result = 'agrees' WHERE id = %s", run.pk)
    refused("UPDATE hostpay_reconciliation SET lines = '[]' WHERE id = %s", run.pk)
    refused("UPDATE hostpay_reconciliation SET sign_off_reason = 'another' WHERE id = %s", run.pk)
    refused("UPDATE hostpay_reconciliation SET judged_block = 0 WHERE id = %s", run.pk)
    refused("DELETE FROM hostpay_reconciliation WHERE id = %s", run.pk)
    refused("UPDATE hostpay_accepteddifference SET theirs = 'x'")


def test_what_was_accepted_of_one_wallet_says_nothing_about_another(world: World, paid: NonceSlot) -> None:
    use_key_elsewhere(world)
    world.anvil.mine(3)
    other = "0x" + "0" * 38 + "A1"
    AcceptedDifference.objects.create(
        key="0" * 64,
        row=f"nonce {paid.nonce + 1} of {other}",
        ours="not known",
        theirs="a sweep",
        reconciliation=Reconciliation.objects.get(),
    )

    assert line_of(reconciled("chain"), f"nonce {paid.nonce + 1} of {world.wallet_address}").verdict == "alarm"


def test_looking_further_back_leaves_nothing_out_between(world: World, paid: NonceSlot) -> None:
    tx_hash = send_usdt(world, 1_000_000)
    head = int(world.anvil.rpc("eth_blockNumber"), 16)

    run = reconcile(scope=Scope.CHAIN, actor=ALICE, since_block=head + 50)

    assert [row for row in open_rows(run) if row.startswith(f"transfer {tx_hash}")]
    (usdt,) = [line for line in lines_of(run) if line.row.startswith("USDT of the wallet")]
    assert (usdt.verdict, "1 USDT since" in usdt.ours) == ("agrees", True)


def test_f48_what_waits_in_the_pool_behind_a_payment_of_ours_is_an_alarm(world: World, paid: NonceSlot) -> None:
    with no_blocks(world.anvil):
        on_the_wire(world)
        use_key_elsewhere(world)
        run = reconciled("chain")

    told = line_of(run, f"next nonce of wallet {world.wallet_address}")
    assert (told.verdict, "1 more in the node's pool that are not ours" in told.theirs) == ("alarm", True)


def test_i20_what_was_accepted_before_it_was_final_is_counted_when_it_is(world: World, paid: NonceSlot) -> None:
    world.anvil.mine(3)
    foreign = use_key_elsewhere(world)
    run = reconciled("chain")
    assert run.block_number is not None
    assert run.block_number < int(world.anvil.rpc("eth_getTransactionReceipt", foreign)["blockNumber"], 16)
    sign_off(run=run, actor=ALICE, reason="my own sweep")
    world.anvil.mine(3)

    run = reconciled("chain")

    assert (run.result, line_of(run, f"nonce {paid.nonce + 1} of {world.wallet_address}").verdict) == (
        "agrees",
        "accepted",
    )


def test_a_run_is_not_signed_off_once_a_later_one_has_looked_at_the_same(world: World, paid: NonceSlot) -> None:
    use_key_elsewhere(world)
    world.anvil.mine(3)
    run, later = reconciled("chain"), reconciled("chain")

    with pytest.raises(RefusedError, match=f"Run {later.pk} has looked at the same since"):
        sign_off(run=run, actor=ALICE, reason="my own sweep")

    sign_off(run=later, actor=ALICE, reason="my own sweep")


def test_i20_a_transfer_that_a_payment_was_waiting_for_is_told_when_it_was_not_its_own(
    world: World, paid: NonceSlot
) -> None:
    payment = HostPayment.objects.get()
    waiting = {"status": "final", "received_units": None, "delivered_at": None, "next_action_at": timezone.now()}
    with unguarded(HostPayment):
        HostPayment.objects.update(**waiting, status_changed_at=timezone.now())
    tx_hash = send_usdt(world, 1_230_000)
    run = reconciled("chain")
    (told,) = [line for line in lines_of(run) if line.row.startswith(f"transfer {tx_hash}")]
    assert (run.result, told.verdict, run.judged_block != run.block_number) == ("agrees", "noted", True)
    HostPayment.objects.update(status="settled", received_units=payment.received_units)

    run = reconciled("chain")

    (row,) = open_rows(run)
    assert row.startswith(f"transfer {tx_hash}")
    sign_off(run=run, actor=ALICE, reason="a gift")
    assert reconciled("chain").result == "agrees"


def test_i4_a_transaction_that_was_not_final_at_the_last_run_is_looked_at_by_the_next(
    world: World, paid: NonceSlot
) -> None:
    world.anvil.mine(3)
    reconciled("chain")
    Transaction.objects.update(block_hash="0x" + "ee" * 32, status_changed_at=timezone.now())

    run = reconciled("chain")

    (told,) = [line for line in lines_of(run) if line.row.startswith("transaction 0x")]
    assert (run.result, told.verdict) == ("differs", "alarm")


def test_what_a_bounded_run_leaves_out_differs_until_a_whole_one_has_looked(
    world: World, paid: NonceSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostpay.services.reconciling.chain.MOST_BLOCKS_READ", 1)
    world.anvil.mine(3)

    run = reconciled("chain")

    assert open_rows(run) == ["blocks whose transfers of USDT were not read"]
    with pytest.raises(RefusedError, match=r"It can be mended.*at a shell"):
        sign_off(run=run, actor=ALICE, reason="never mind")
    assert reconcile(scope=Scope.CHAIN, actor=ALICE, is_whole=True).result == "agrees"


def test_f69_a_cancel_that_a_backup_has_forgotten_is_told_as_one(world: World, paid: NonceSlot) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        proposal = services.propose_cancel(payment=payment, actor=ALICE, reason="the exchange is gone")
        services.approve(approval=proposal, actor=BOB, reason="seen it too")
        _, cancel = variants(look(payment))
        world.anvil.mine(4)
    with unguarded(Transaction, TransactionStatusChange):
        TransactionStatusChange.objects.filter(subject=cancel).delete()
        cancel.delete()

    told = line_of(reconciled("chain"), f"nonce {paid.nonce + 1} of {world.wallet_address}")

    assert (told.verdict, cancel.tx_hash in told.theirs) == ("alarm", True)
    assert "a transfer of nothing to ourselves, as a cancel is" in told.ours
    assert "If two of you let it be cancelled" in told.next_step
