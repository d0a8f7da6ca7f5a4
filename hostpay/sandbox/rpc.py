"""The few JSON-RPC calls the sandbox makes of its node."""

import time
from itertools import count
from typing import Any, TypedDict

import httpx
from eth_utils.crypto import keccak

from hostpay.sandbox import contracts

TRANSFER_TOPIC = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
RECEIPT_TIME_LIMIT_S = 30
RECEIPT_POLL_S = 0.05


class NodeError(Exception):
    """The node answered with an error; the text is its message."""


class NodeAwayError(Exception):
    """No usable answer came: the node is down, hangs, or something else answers on its port."""


class Call(TypedDict):
    """A transaction's target and data, for `eth_call`."""

    to: str
    data: str


class Node:
    """A JSON-RPC connection. Any method raises NodeError or NodeAwayError. Safe to share between threads."""

    def __init__(self, url: str, *, timeout_s: int = 10) -> None:
        self.url = url
        # No proxies from the environment: the node is on this machine.
        self._http = httpx.Client(timeout=timeout_s, trust_env=False)
        self._ids = count(1)

    def call(self, method: str, *params: Any) -> Any:
        question = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            answer = self._http.post(self.url, json=question).json()
        except (httpx.HTTPError, ValueError) as error:
            raise NodeAwayError(f"{method}: {type(error).__name__}") from error
        if "error" in answer:
            raise NodeError(str(answer["error"].get("message", answer["error"])))
        return answer["result"]

    def chain_id(self) -> int:
        return int(self.call("eth_chainId"), 16)

    def head(self) -> int:
        """The number of the latest block."""
        return int(self.call("eth_blockNumber"), 16)

    def block_hash(self, number: int) -> str | None:
        """None when the chain is shorter than that."""
        block = self.call("eth_getBlockByNumber", hex(number), False)  # noqa: FBT003 (the RPC wants it by position)
        return None if block is None else str(block["hash"])

    def nonce(self, address: str) -> int:
        """How many transactions of the address are mined."""
        return int(self.call("eth_getTransactionCount", address, "latest"), 16)

    def balance_wei(self, address: str) -> int:
        return int(self.call("eth_getBalance", address, "latest"), 16)

    def code(self, address: str) -> bytes:
        return bytes.fromhex(str(self.call("eth_getCode", address, "latest"))[2:])

    def token_units(self, contract: str, address: str) -> int:
        """The address's balance of a token, in its base units."""
        call = Call(to=contract, data=token_call("balanceOf(address)", address))
        return int(self.call("eth_call", call, "latest"), 16)

    def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        """None while the transaction is not mined."""
        found: dict[str, Any] | None = self.call("eth_getTransactionReceipt", tx_hash)
        return found

    def wait_for_receipt(self, tx_hash: str) -> dict[str, Any]:
        """Raises NodeAwayError after RECEIPT_TIME_LIMIT_S, NodeError if the transaction was mined and reverted."""
        deadline = time.monotonic() + RECEIPT_TIME_LIMIT_S
        while time.monotonic() < deadline:
            receipt = self.receipt(tx_hash)
            if receipt is None:
                time.sleep(RECEIPT_POLL_S)
            elif int(receipt["status"], 16) == 1:
                return receipt
            else:
                raise NodeError(f"transaction {tx_hash} was reverted")
        raise NodeAwayError(f"transaction {tx_hash} was not mined within {RECEIPT_TIME_LIMIT_S} s")

    def close(self) -> None:
        self._http.close()


def token_call(signature: str, *arguments: str | int) -> str:
    """The call data of a function of the token: addresses and whole numbers only, 32 bytes each."""
    words = (
        int(argument, 16).to_bytes(32) if isinstance(argument, str) else argument.to_bytes(32) for argument in arguments
    )
    return "0x" + (contracts.tether().selectors[signature] + b"".join(words)).hex()


def address_topic(address: str) -> str:
    """An address as a log's topic holds it."""
    return "0x" + address[2:].lower().rjust(64, "0")
