"""A chain of its own and an exchange for these tests, and a customer who deals with it over plain HTTP."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from hostpay.sandbox.rpc import TRANSFER_TOPIC, address_topic, token_call
from tests.lib.anvil import Anvil
from tests.lib.exchange import SandboxExchange

PAIR = {"fromCurrency": "eth", "fromNetwork": "eth", "toCurrency": "usdt", "toNetwork": "eth"}
WAIT_LIMIT_S = 60


@dataclass(frozen=True)
class Customer:
    """Pays and is paid like any user of the provider; knows nothing of its insides."""

    chain: Anvil
    shop: SandboxExchange
    wallet: LocalAccount

    def create(self, **fields: Any) -> httpx.Response:
        body = {**PAIR, "fromAmount": "0.1", "address": self.wallet.address, "refundAddress": self.wallet.address}
        return self.shop.http.post("/v2/exchange", json={**body, **fields})

    def order(self, **fields: Any) -> dict[str, Any]:
        answer = self.create(**fields)
        assert answer.status_code == 200, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def pay(self, to: str, wei: int) -> str:
        """Signs and sends ETH; returns the hash."""
        return self._send({"to": to, "value": wei, "gas": 21000})

    def pay_usdt(self, to: str, units: int) -> str:
        data = token_call("transfer(address,uint256)", to, units)
        return self._send({"to": self.shop.sandbox.usdt_contract_address, "value": 0, "gas": 100_000, "data": data})

    def look(self, exchange_id: str) -> dict[str, Any]:
        answer = self.shop.http.get("/v2/exchange/by-id", params={"id": exchange_id})
        assert answer.status_code == 200, answer.text
        seen: dict[str, Any] = answer.json()
        return seen

    def wait_for(self, exchange_id: str, *statuses: str) -> dict[str, Any]:
        """Looks until one of the statuses shows."""
        deadline = time.monotonic() + WAIT_LIMIT_S
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline:
            seen = self.look(exchange_id)
            if seen["status"] in statuses:
                return seen
            time.sleep(0.05)
        raise AssertionError(f"{statuses} never came, last seen: {seen}")

    def children(self, exchange_id: str, relation: str) -> list[dict[str, Any]]:
        """Looks until the exchange tells of others beside it, `repeated` or `related`, and each of them has come to an end."""
        deadline = time.monotonic() + WAIT_LIMIT_S
        found: list[dict[str, Any]] = []
        while not found or any(each["status"] not in {"finished", "failed"} for each in found):
            assert time.monotonic() < deadline, f"no {relation} exchange has ended: {found}"
            time.sleep(0.05)
            found = self.look(exchange_id)[f"{relation}ExchangesInfo"] or []
        return found

    def received(self, contract: str | None = None) -> list[int]:
        """The units of every Transfer to the customer, oldest first."""
        wanted = {
            "fromBlock": "0x0",
            "toBlock": "latest",
            "address": contract or self.shop.sandbox.usdt_contract_address,
            "topics": [TRANSFER_TOPIC, None, address_topic(self.wallet.address)],
        }
        return [int(entry["data"], 16) for entry in self.chain.rpc("eth_getLogs", wanted)]

    def ticks(self) -> None:
        """Gives the exchange time to do what it must not do."""
        time.sleep(1)

    def _send(self, transaction: dict[str, Any]) -> str:
        nonce = self.chain.node.nonce(self.wallet.address)
        fees = {"maxFeePerGas": 100 * 10**9, "maxPriorityFeePerGas": 10**9, "chainId": 31337, "nonce": nonce}
        signed = self.wallet.sign_transaction({**transaction, **fees})
        tx_hash = str(self.chain.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))
        self.chain.node.wait_for_receipt(tx_hash)
        return tx_hash


@pytest.fixture(scope="package")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A chain of these tests' own: they kill and revert it. A block for each transaction."""
    with Anvil(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


@pytest.fixture(scope="package")
def running_shop(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxExchange]:
    with SandboxExchange(chain.rpc_url, tmp_path_factory.mktemp("shop"), exchanging_s="0.1") as shop:
        yield shop


@pytest.fixture
def shop(running_shop: SandboxExchange) -> Iterator[SandboxExchange]:
    """The exchange, without a past."""
    running_shop.reset()
    yield running_shop
    running_shop.reset()


@pytest.fixture
def customer(chain: Anvil, shop: SandboxExchange) -> Customer:
    """A new wallet with 10 ETH."""
    wallet: LocalAccount = Account.create()
    chain.rpc("anvil_setBalance", wallet.address, hex(10 * 10**18))
    return Customer(chain, shop, wallet)
