"""The exchange's hot wallet: one line of nonces; a transaction is signed and stored first, and sent until it is mined."""

import hmac
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from hostpay.sandbox.exchange.assets import Currency, Kind
from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.store import Payment, Store, now_ms
from hostpay.sandbox.prepare import Sandbox
from hostpay.sandbox.rpc import Node, NodeError, token_call

TRANSFER_GAS = 100_000
# Far above any base fee of a local chain, so that nothing of ours is ever stuck; what is paid is the base fee and this tip.
MAX_FEE_WEI = 1000 * 10**9
TIP_WEI = 10**9
RESEND_AFTER_MS = 2000
FINAL_AFTER_BLOCKS = 12
HARMLESS = ("already imported", "already known", "known transaction")


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Something to pay: base units of a currency to an address; `counterfeit` pays the false token instead of USDT."""

    currency: Currency
    to: str
    units: int
    counterfeit: bool = False


class Wallet:
    """Raises NodeError and NodeAwayError where it asks the chain."""

    def __init__(self, account: LocalAccount, sandbox: Sandbox, node: Node, store: Store) -> None:
        self._account = account
        self._sandbox = sandbox
        self._node = node
        self._store = store

    def next_nonce(self) -> int:
        """The nonce after all that is mined and all that is stored."""
        stored = self._store.rows("SELECT max(nonce) AS last FROM payments")[0]["last"]
        return max(self._node.nonce(self._account.address), 0 if stored is None else int(stored) + 1)

    def store(self, exchange_id: str, purpose: str, transfers: list[Transfer], first_nonce: int) -> list[str]:
        """Signs and writes down, inside the caller's transaction. Returns the hashes; nothing is sent yet."""
        return [
            self._store_one(exchange_id, purpose, leg, transfer, first_nonce + leg)
            for leg, transfer in enumerate(transfers)
        ]

    def watch(self, head: int) -> None:
        """Sends what is stored and not mined, in the order of its nonces; stamps what is."""
        for payment in self._store.payments("final = 0 AND nonce IS NOT NULL"):
            receipt = self._node.receipt(payment.tx_hash)
            if receipt is None:
                self._send(payment)
            else:
                self._stamp(payment, receipt, head)

    def _store_one(self, exchange_id: str, purpose: str, leg: int, transfer: Transfer, nonce: int) -> str:
        common = {"exchange_id": exchange_id, "purpose": purpose, "leg": leg}
        if transfer.currency.kind is Kind.ELSEWHERE:
            tx_hash = hmac.digest(exchange_id.encode(), f"{purpose}{leg}".encode(), "sha256").hex()
            self._store.insert("payments", **common, tx_hash=tx_hash, mined_block=0, final=1)
            return tx_hash
        signed = self._account.sign_transaction(self._transaction(transfer, nonce))
        tx_hash = "0x" + bytes(signed.hash).hex()
        raw = "0x" + bytes(signed.raw_transaction).hex()
        self._store.insert("payments", **common, nonce=nonce, raw=raw, tx_hash=tx_hash)
        return tx_hash

    def _transaction(self, transfer: Transfer, nonce: int) -> dict[str, Any]:
        to = str(to_checksum_address(transfer.to))
        common = {
            "chainId": self._sandbox.chain_id,
            "nonce": nonce,
            "gas": TRANSFER_GAS,
            "maxFeePerGas": MAX_FEE_WEI,
            "maxPriorityFeePerGas": TIP_WEI,
        }
        if transfer.currency.kind is Kind.COIN:
            return {**common, "to": to, "value": transfer.units}
        genuine, false = self._sandbox.usdt_contract_address, self._sandbox.counterfeit_contract_address
        data = token_call("transfer(address,uint256)", to, transfer.units)
        return {**common, "to": false if transfer.counterfeit else genuine, "value": 0, "data": data}

    def _send(self, payment: Payment) -> None:
        if now_ms() - payment.sent_ms < RESEND_AFTER_MS:
            return
        self._store.execute("UPDATE payments SET sent_ms = ?, mined_block = NULL WHERE id = ?", now_ms(), payment.id)
        try:
            self._node.call("eth_sendRawTransaction", payment.raw)
        except NodeError as error:
            if not any(words in str(error).lower() for words in HARMLESS):
                log("payment_refused", exchange=payment.exchange_id, tx=payment.tx_hash, why=str(error))
            return
        log("payment_sent", exchange=payment.exchange_id, purpose=payment.purpose, tx=payment.tx_hash)

    def _stamp(self, payment: Payment, receipt: dict[str, Any], head: int) -> None:
        block = int(receipt["blockNumber"], 16)
        if int(receipt["status"], 16) != 1:
            log("payment_reverted", exchange=payment.exchange_id, tx=payment.tx_hash)
            self._store.execute("UPDATE payments SET final = 1, mined_block = NULL WHERE id = ?", payment.id)
            return
        final = int(head - block >= FINAL_AFTER_BLOCKS)
        self._store.execute("UPDATE payments SET mined_block = ?, final = ? WHERE id = ?", block, final, payment.id)


def deposit_account(seed: str, exchange_id: str) -> LocalAccount:
    """The pay-in address of an exchange, and its key: always the same for the same seed and id."""
    account: LocalAccount = Account.from_key(hmac.digest(bytes.fromhex(seed), exchange_id.encode(), "sha256"))
    return account
