"""Several nodes asked as one: two doors to one real chain, of which each may lie, lag, forget or stay shut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from config.lib.errors import OutcomeUnknownError, PermanentError, TransientError
from hostpay import gateways, services
from hostpay.providers.ethereum import BroadcastOutcome, InsufficientFundsError, NodePool
from tests.hostpay.chain import GWEI, look, ordered, variants
from tests.lib.anvil import Anvil
from tests.lib.faulty_node import FaultyNode
from tests.lib.world import World

CHAIN_ID = 31337
RICH = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
POOR = "0x00000000000000000000000000000000000000A1"
ALWAYS = 10**6


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def doors(anvil: Anvil) -> Iterator[tuple[FaultyNode, FaultyNode]]:
    with FaultyNode(anvil.rpc_url) as one, FaultyNode(anvil.rpc_url) as two:
        yield one, two


@pytest.fixture
def pool(doors: tuple[FaultyNode, FaultyNode], clock: Clock) -> NodePool:
    return NodePool(rpc_urls=[door.url for door in doors], chain_id=CHAIN_ID, timeout_s=20, clock=clock)


def mined(anvil: Anvil) -> str:
    """The hash of a transfer that is in a block."""
    tx_hash = anvil.send({"from": RICH, "to": POOR, "value": "0x1", "maxFeePerGas": hex(50 * GWEI)})
    anvil.mine()
    return tx_hash


def test_f56_what_one_node_has_counts_though_the_other_says_not_found(
    anvil: Anvil, doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    tx_hash = mined(anvil)
    doors[0].say("eth_getTransactionReceipt", times=ALWAYS, result=None)
    doors[0].say("eth_getTransactionByHash", times=ALWAYS, result=None)

    receipt, transaction = pool.receipt(tx_hash), pool.transaction(tx_hash)

    assert receipt is not None
    assert receipt.ok
    assert transaction is not None
    assert transaction.block_hash == receipt.block_hash
    assert doors[0].count("eth_getTransactionReceipt") == 1


def test_f56_not_found_counts_when_two_nodes_say_so(pool: NodePool) -> None:
    assert pool.receipt("0x" + "ab" * 32) is None
    assert pool.transaction("0x" + "ab" * 32) is None


def test_f56_one_alone_that_finds_nothing_proves_nothing(doors: tuple[FaultyNode, FaultyNode], pool: NodePool) -> None:
    doors[1].lose_request("eth_getTransactionReceipt", times=ALWAYS)

    with pytest.raises(TransientError, match=r"node 1 of 2 do not know it.*only when 2 nodes in step agree"):
        pool.receipt("0x" + "ab" * 32)


def test_f56_a_single_node_is_believed_alone(doors: tuple[FaultyNode, FaultyNode]) -> None:
    pool = NodePool(rpc_urls=[doors[0].url], chain_id=CHAIN_ID, timeout_s=20)

    assert pool.receipt("0x" + "ab" * 32) is None
    # And asked for nothing but what was asked.
    assert [method for method, _ in doors[0].asked] == ["eth_getTransactionReceipt"]


def test_f56_a_node_stuck_at_an_old_block_confirms_no_absence_and_names_no_head(
    anvil: Anvil, doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    anvil.mine(10)
    head = int(anvil.rpc("eth_blockNumber"), 16)
    doors[0].say("eth_blockNumber", times=ALWAYS, result=hex(head - 9))
    doors[0].say("eth_getTransactionCount", times=ALWAYS, result="0x0")
    used = int(anvil.rpc("eth_getTransactionCount", RICH, "latest"), 16)

    with pytest.raises(TransientError, match="node 1, node 2 of 2 do not know it"):
        pool.receipt("0x" + "ab" * 32)

    assert pool.block_number() == head
    assert pool.nonce(RICH) == used
    assert doors[0].count("eth_getTransactionCount") == 0
    assert [view.problem for view in pool.look()] == [f"it is at block {head - 9}, 9 behind", ""]


def test_f56_nodes_a_block_apart_are_in_step_and_the_lower_head_counts(
    anvil: Anvil, doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    anvil.mine(3)
    head = int(anvil.rpc("eth_blockNumber"), 16)
    doors[1].say("eth_blockNumber", times=ALWAYS, result=hex(head - 1))

    assert pool.block_number() == head - 1
    assert pool.receipt("0x" + "ab" * 32) is None


def test_f56_a_node_on_another_chain_is_never_asked_for_more_than_its_chain(
    doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    doors[0].say("eth_chainId", times=ALWAYS, result="0x5")

    assert pool.chain_id() == CHAIN_ID
    assert pool.balance_wei(RICH) > 0
    assert pool.nonce(RICH) >= 0
    assert {method for method, _ in doors[0].asked} == {"eth_chainId"}
    assert [(view.chain_id, view.problem) for view in pool.look()] == [
        (5, f"it is on chain 5, and ours is {CHAIN_ID}"),
        (CHAIN_ID, ""),
    ]


def test_f56_where_every_node_is_on_another_chain_nothing_is_asked(
    doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    for door in doors:
        door.say("eth_chainId", times=ALWAYS, result="0x5")

    assert pool.chain_id() == 5
    with pytest.raises(PermanentError, match=f"no node is on chain {CHAIN_ID}: node 1 on 5, node 2 on 5"):
        pool.send_raw(b"\x02")
    assert all(door.count("eth_sendRawTransaction") == 0 for door in doors)


def test_f56_nodes_that_see_different_blocks_are_not_believed(
    anvil: Anvil, doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    anvil.mine()
    there = anvil.rpc("eth_getBlockByNumber", "0x1", False)
    doors[0].say("eth_getBlockByNumber", times=1, result={**there, "hash": "0x" + "77" * 32})

    with pytest.raises(TransientError, match=f"block 1: the nodes disagree, 0x7777.*, {there['hash']}"):
        pool.block(1)
    assert pool.block(1).hash == there["hash"]


def test_f56_lists_of_transfers_that_differ_are_not_believed(
    doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    log = {
        "address": POOR.lower(),
        "topics": [
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
            "0x" + "0" * 24 + RICH[2:].lower(),
            "0x" + "0" * 24 + RICH[2:].lower(),
        ],
        "data": "0x" + f"{57_000_000:064x}",
        "transactionHash": "0x" + "1a" * 32,
        "blockNumber": "0x1",
        "blockHash": "0x" + "2b" * 32,
        "logIndex": "0x3",
        "removed": False,
    }
    asked: dict[str, Any] = {"contract": POOR, "to": RICH, "from_block": 0, "to_block": 1}
    doors[1].say("eth_getLogs", times=1, result=[log])

    with pytest.raises(TransientError, match="the nodes disagree, 0, 1 of them"):
        pool.transfer_logs(**asked)
    assert pool.transfer_logs(**asked) == ()

    doors[1].lose_request("eth_getLogs", times=1)
    with pytest.raises(TransientError, match="one node alone knows of none"):
        pool.transfer_logs(**asked)


def test_a_node_that_does_not_answer_is_left_alone_for_a_while(
    doors: tuple[FaultyNode, FaultyNode], pool: NodePool, clock: Clock
) -> None:
    assert pool.balance_wei(RICH) > 0
    doors[0].lose_request("eth_getBalance", times=1)

    pool.balance_wei(RICH)
    pool.balance_wei(RICH)

    assert [door.count("eth_getBalance") for door in doors] == [2, 2]

    clock.now += 11
    pool.balance_wei(RICH)

    assert [door.count("eth_getBalance") for door in doors] == [3, 2]


def test_when_no_node_answers_it_says_what_the_first_said(doors: tuple[FaultyNode, FaultyNode], pool: NodePool) -> None:
    for door in doors:
        door.lose_request("eth_chainId", times=ALWAYS)

    with pytest.raises(TransientError, match="no node is on chain 31337: node 1 on no chain that it told"):
        pool.balance_wei(RICH)


def test_bytes_go_to_the_next_node_when_one_does_not_answer(
    doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    doors[0].say("eth_sendRawTransaction", times=ALWAYS, error={"code": -32000, "message": "nonce too low"})
    doors[1].say("eth_sendRawTransaction", times=1, error={"code": -32000, "message": "already known"})

    assert pool.send_raw(b"\x02\x01").outcome is BroadcastOutcome.ALREADY_KNOWN

    doors[1].lose_answer("eth_sendRawTransaction", times=1)
    with pytest.raises(OutcomeUnknownError):
        pool.send_raw(b"\x02\x01")


def test_a_refusal_for_want_of_money_is_an_answer_and_no_other_node_is_asked(
    doors: tuple[FaultyNode, FaultyNode], pool: NodePool
) -> None:
    doors[0].say("eth_estimateGas", error={"code": -32000, "message": "insufficient funds for transfer"})

    with pytest.raises(InsufficientFundsError):
        pool.estimate_gas(from_address=POOR, to_address=RICH, value_wei=10**18)

    assert [door.count("eth_estimateGas") for door in doors] == [1, 0]


@pytest.mark.django_db(transaction=True)
def test_f56_a_payment_ends_well_though_one_node_never_finds_it(
    world: World, settings: Settings, doors: tuple[FaultyNode, FaultyNode]
) -> None:
    doors[0].say("eth_getTransactionReceipt", times=ALWAYS, result=None)
    doors[0].say("eth_getTransactionByHash", times=ALWAYS, result=None)
    settings.ETH_RPC_URLS = [door.url for door in doors]
    gateways.node.cache_clear()
    sent_before = world.sent_transactions()

    payment = world.drive_to(ordered(world), "settled")

    assert world.sent_transactions() == sent_before + 1
    (only,) = variants(payment)
    assert (only.status, only.broadcasts) == ("final", 1)


@pytest.mark.django_db(transaction=True)
def test_f56_nothing_is_signed_where_every_node_is_on_another_chain(
    world: World, settings: Settings, doors: tuple[FaultyNode, FaultyNode]
) -> None:
    payment = ordered(world)
    settings.ETH_RPC_URLS = [door.url for door in doors]
    gateways.node.cache_clear()
    for door in doors:
        door.say("eth_chainId", times=ALWAYS, result="0x5")

    payment = look(payment)

    assert payment.status == "ordered"
    assert "chain 5" in payment.review_reason
    assert variants(payment) == []
    assert not services.open_breakers()
