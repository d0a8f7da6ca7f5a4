"""A node's answers as an enemy, or a broken node, would write them. What a real one says is in test_ethereum_on_chain."""

import json
from dataclasses import replace
from typing import Any

import pytest

from config.lib.errors import OutcomeUnknownError, PermanentError, ProviderError, RateLimitedError, TransientError
from hostpay.providers.ethereum import (
    BroadcastOutcome,
    EthereumNode,
    InsufficientFundsError,
    NodeAnswerError,
    UnsignableError,
    UnsignedTransfer,
    WouldRevertError,
)
from tests.lib.scripted_http import Reply, ScriptedServer

TO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TOKEN = "0xdAC17F958D2ee523a2206206994597C13D831ec7"
RAW = bytes.fromhex("02f8")
TX = "0x" + "1a" * 32
BLOCK = "0x" + "2b" * 32
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def padded(address: str) -> str:
    return "0x" + "0" * 24 + address[2:].lower()


LOG = {
    "address": TOKEN.lower(),
    "topics": [TRANSFER, padded(WALLET), padded(TO)],
    "data": "0x" + f"{57_000_000:064x}",
    "transactionHash": TX,
    "blockNumber": "0x10",
    "blockHash": BLOCK,
    "logIndex": "0x3",
    "removed": False,
}

RECEIPT = {
    "transactionHash": TX,
    "blockNumber": "0x10",
    "blockHash": BLOCK,
    "status": "0x1",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x3b9aca00",
    "from": WALLET.lower(),
    "to": TO.lower(),
    "logs": [LOG],
}


@pytest.fixture
def node(server: ScriptedServer) -> EthereumNode:
    return EthereumNode(rpc_url=f"{server.url}/v3/rpc-secret-key", timeout_s=3)


def results(*values: Any) -> tuple[Reply, ...]:
    return tuple(Reply(body=f'{{"jsonrpc":"2.0","id":$ID,"result":{json.dumps(value)}}}'.encode()) for value in values)


def refusal(code: int, message: str) -> Reply:
    error = json.dumps({"code": code, "message": message})
    return Reply(body=f'{{"jsonrpc":"2.0","id":$ID,"error":{error}}}'.encode())


def test_it_asks_in_the_nodes_own_words(server: ScriptedServer, node: EthereumNode) -> None:
    server.say(*results("0x7a69", "0x0", "0x1bc16d674ec80000", "0x6000"))

    assert node.chain_id() == 31337
    assert node.nonce(WALLET) == 0
    assert node.balance_wei(WALLET) == 2 * 10**18
    assert node.code(TO) == b"\x60\x00"
    assert [(asked.json["method"], asked.json["params"]) for asked in server.asked] == [
        ("eth_chainId", []),
        ("eth_getTransactionCount", [WALLET, "latest"]),
        ("eth_getBalance", [WALLET, "latest"]),
        ("eth_getCode", [TO, "latest"]),
    ]


@pytest.mark.parametrize(
    "value", [None, "", "0x", "12", 12, "0x01", "-0x1", "0xZZ", "0x" + "1" * 65, True, [], {}, "1e5"]
)
def test_f56_an_answer_that_is_no_number_never_becomes_zero(
    server: ScriptedServer, node: EthereumNode, value: Any
) -> None:
    server.say(*results(value))

    for ask in (node.chain_id, node.block_number, lambda: node.nonce(WALLET), lambda: node.balance_wei(WALLET)):
        with pytest.raises(NodeAnswerError):
            ask()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"id":$ID}', b'{"id":0,"result":"0x1"}', b"null", b""])
def test_f56_an_answer_to_no_question_is_none(server: ScriptedServer, node: EthereumNode, body: bytes) -> None:
    server.say(Reply(body=body))

    with pytest.raises(ProviderError):
        node.block_number()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal(-32000, "header not found"), TransientError),
        (refusal(-32603, "internal error with 429 in it"), TransientError),
        (refusal(-32005, "limit exceeded"), RateLimitedError),
        (refusal(-32601, "the method does not exist"), PermanentError),
        (refusal(-32602, "invalid argument 0"), PermanentError),
        (Reply(status=401, body=b"no key"), PermanentError),
        (Reply(status=429), RateLimitedError),
        (Reply(status=503), TransientError),
        (Reply(pause_s=4), TransientError),
    ],
)
def test_f56_a_failed_question_is_an_error_of_its_kind(
    server: ScriptedServer, node: EthereumNode, reply: Reply, error: type[ProviderError]
) -> None:
    server.say(reply)

    with pytest.raises(ProviderError) as failed:
        node.balance_wei(WALLET)

    assert type(failed.value) is error
    assert "rpc-secret-key" not in str(failed.value)
    assert len(server.asked) == 1


def test_a_receipt_is_none_only_when_the_node_says_null(server: ScriptedServer, node: EthereumNode) -> None:
    server.say(*results(None))

    assert node.receipt(TX) is None
    assert node.transaction(TX) is None
    with pytest.raises(TransientError):
        node.block(5)
    with pytest.raises(PermanentError):
        node.receipt("0x12")


def test_a_receipt_proves_its_transfers(server: ScriptedServer, node: EthereumNode) -> None:
    server.say(*results(RECEIPT))

    receipt = node.receipt(TX)

    assert receipt is not None
    assert (receipt.ok, receipt.block_number, receipt.gas_used) == (True, 16, 21000)
    [transfer] = node.transfers_in(receipt, TOKEN, TO)
    assert (transfer.units, transfer.log_index, transfer.contract) == (57_000_000, 3, TOKEN)
    assert (transfer.from_address, transfer.to_address) == (WALLET, TO)
    assert node.transfers_in(replace(receipt, ok=False), TOKEN, TO) == ()
    assert node.transfers_in(receipt, TOKEN, WALLET) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"address": WALLET.lower()},
        {"topics": [TRANSFER, padded(WALLET)]},
        {"topics": [TRANSFER, padded(WALLET), padded(TO), "0x" + "0" * 64]},
        {"topics": ["0x" + "8c" * 32, padded(WALLET), padded(TO)]},
        {"topics": [TRANSFER, padded(WALLET), "0x" + "1" + padded(TO)[3:]]},
        {"data": "0x"},
        {"data": "0x" + "0" * 126 + "ff"},
        {"removed": True},
    ],
    ids=["fake token", "two topics", "erc-721", "other event", "dirty topic", "no data", "long data", "removed"],
)
def test_f43_a_log_of_another_shape_or_token_brings_nothing(
    server: ScriptedServer, node: EthereumNode, changes: dict[str, Any]
) -> None:
    server.say(*results({**RECEIPT, "logs": [{**LOG, **changes}]}))

    receipt = node.receipt(TX)

    assert receipt is not None
    assert node.transfers_in(receipt, TOKEN, TO) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": None},
        {"status": "0x2"},
        {"transactionHash": BLOCK},
        {"blockNumber": None},
        {"blockHash": None},
        {"gasUsed": "21000"},
        {"logs": None},
        {"logs": [{**LOG, "transactionHash": BLOCK}]},
        {"logs": [{**LOG, "data": "0xf"}]},
    ],
)
def test_f56_a_receipt_that_is_none_is_a_bad_answer(
    server: ScriptedServer, node: EthereumNode, changes: dict[str, Any]
) -> None:
    server.say(*results({**RECEIPT, **changes}))

    with pytest.raises(NodeAnswerError):
        node.receipt(TX)


def test_a_balance_at_an_address_without_a_token_is_an_error(server: ScriptedServer, node: EthereumNode) -> None:
    server.say(*results("0x"))

    with pytest.raises(NodeAnswerError, match="no such token"):
        node.usdt_balance(TOKEN, WALLET)


def history(bases: list[str], tips: list[str]) -> dict[str, Any]:
    return {"oldestBlock": "0x1", "baseFeePerGas": bases, "reward": [[tip] for tip in tips]}


def test_a_fee_quote_is_the_next_base_fee_and_a_usual_tip(server: ScriptedServer, node: EthereumNode) -> None:
    gwei = 10**9
    server.say(
        *results(
            history([hex(gwei)] * 5 + [hex(2 * gwei)], [hex(tip * gwei) for tip in (1, 3, 900, 2, 1)]),
            history(["0x7", "0x7"], ["0x0"]),
        )
    )

    market, idle = node.fee_quote(), node.fee_quote()

    assert (market.base_fee_wei, market.priority_fee_wei) == (2 * gwei, 2 * gwei)
    assert (idle.base_fee_wei, idle.priority_fee_wei) == (7, gwei // 10)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (history(["0x0", "0x0"], ["0x1"]), TransientError),
        (history(["0x1", hex(10**14)], ["0x1"]), TransientError),
        (history(["0x1", "0x1"], [hex(10**13)]), TransientError),
        (history(["0x1"], ["0x1"]), NodeAnswerError),
        (history(["0x1"], []), NodeAnswerError),
        ({"baseFeePerGas": ["0x1", "0x1"], "reward": None}, NodeAnswerError),
        ({"baseFeePerGas": ["0x1", None], "reward": [["0x1"]]}, NodeAnswerError),
        (None, NodeAnswerError),
        ("0x1", NodeAnswerError),
    ],
)
def test_f54_fees_of_no_market_are_an_error(
    server: ScriptedServer, node: EthereumNode, answer: Any, error: type[ProviderError]
) -> None:
    server.say(*results(answer))

    with pytest.raises(ProviderError) as failed:
        node.fee_quote()

    assert type(failed.value) is error


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("already known", BroadcastOutcome.ALREADY_KNOWN),
        ("transaction already imported", BroadcastOutcome.ALREADY_KNOWN),
        (f"Known transaction: {TX}", BroadcastOutcome.ALREADY_KNOWN),
        ("Transaction with the same hash was already imported.", BroadcastOutcome.ALREADY_KNOWN),
        ("ALREADY_EXISTS: already known", BroadcastOutcome.ALREADY_KNOWN),
        ("nonce too low: next nonce 5, tx nonce 4", BroadcastOutcome.NONCE_TOO_LOW),
        ("OldNonce", BroadcastOutcome.NONCE_TOO_LOW),
        ("replacement transaction underpriced", BroadcastOutcome.UNDERPRICED),
        ("transaction underpriced: tip needed 1, tip permitted 0", BroadcastOutcome.UNDERPRICED),
        ("max fee per gas less than block base fee: address 0x1", BroadcastOutcome.UNDERPRICED),
        ("Insufficient funds for gas * price + value", BroadcastOutcome.INSUFFICIENT_FUNDS),
        ("insufficient funds for gas * price + value: balance 1, tx cost 2", BroadcastOutcome.INSUFFICIENT_FUNDS),
        ("intrinsic gas too low", BroadcastOutcome.REFUSED),
        ("invalid chain id for signer: have 1 want 31337", BroadcastOutcome.REFUSED),
        ("unknown transaction: rlp: expected List", BroadcastOutcome.REFUSED),
        ("exceeds next nonce", BroadcastOutcome.REFUSED),
    ],
)
def test_f45_each_wording_of_a_refusal_has_its_meaning(
    server: ScriptedServer, node: EthereumNode, words: str, outcome: BroadcastOutcome
) -> None:
    server.say(refusal(-32000, words))

    result = node.send_raw(RAW)

    assert (result.outcome, result.detail) == (outcome, words)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(pause_s=4),
        Reply(drop=True),
        Reply(status=500),
        Reply(status=504, body=b"<html>"),
        refusal(-32000, "something new"),
        refusal(-32005, "daily request count exceeded"),
        refusal(-32603, f"error for {'0x' + '429' * 21}0"),
        refusal(-32000, "unknown transaction type"),
        refusal(-32000, ""),
        *results(TX, None, "0x", 1),
    ],
)
def test_f45_whatever_does_not_tell_is_unknown_and_sent_once(
    server: ScriptedServer, node: EthereumNode, reply: Reply
) -> None:
    server.say(reply)

    with pytest.raises(OutcomeUnknownError):
        node.send_raw(RAW)

    assert len(server.asked) == 1


@pytest.mark.parametrize("reply", [Reply(body=b"<html>"), Reply(body=b"[]"), Reply(body=b'{"id":9}')])
def test_f45_an_unreadable_answer_to_a_broadcast_is_unknown(
    server: ScriptedServer, node: EthereumNode, reply: Reply
) -> None:
    server.say(reply)

    with pytest.raises(OutcomeUnknownError):
        node.send_raw(RAW)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal(-32003, "Insufficient funds for gas * price + value"), InsufficientFundsError),
        (refusal(-32000, "gas required exceeds allowance (0)"), InsufficientFundsError),
        (refusal(3, "execution reverted: no"), WouldRevertError),
        (refusal(-32000, "header not found"), TransientError),
        (refusal(-32602, "bad"), PermanentError),
    ],
)
def test_f52_f53_an_estimate_says_why_not(
    server: ScriptedServer, node: EthereumNode, reply: Reply, error: type[ProviderError]
) -> None:
    server.say(reply)

    with pytest.raises(ProviderError) as failed:
        node.estimate_gas(from_address=WALLET, to_address=TO, value_wei=5)

    assert type(failed.value) is error
    assert server.asked[0].json["params"] == [{"from": WALLET, "to": TO, "value": "0x5", "data": "0x"}]


TRANSFER_OF_ONE_WEI = UnsignedTransfer(
    chain_id=31337,
    nonce=0,
    to=TO,
    value_wei=1,
    gas_limit=21_000,
    max_fee_per_gas_wei=2,
    max_priority_fee_per_gas_wei=1,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"to": ""},
        {"to": None},
        {"to": TO.lower()},
        {"to": TO[:-1] + "c"},
        {"to": "0x" + "0" * 40},
        {"chain_id": 0},
        {"chain_id": None},
        {"nonce": -1},
        {"nonce": True},
        {"value_wei": 1.0},
        {"value_wei": "1"},
        {"value_wei": -1},
        {"value_wei": 2**256},
        {"gas_limit": 20_999},
        {"gas_limit": 30_000_001},
        {"max_fee_per_gas_wei": 0},
        {"max_priority_fee_per_gas_wei": 3},
        {"data": "0x"},
        {"data": None},
    ],
)
def test_f58_a_transfer_that_burns_or_misleads_cannot_even_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsignableError):
        replace(TRANSFER_OF_ONE_WEI, **changes)
