"""The exchange's hot wallet: one line of nonces; a transaction is signed and stored first, and sent until it is mined."""

import hmac
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

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

    def store_together(self, exchange_id: str, transfers: list[Transfer], first_nonce: int) -> str:
        """As `store`, with all the transfers of a token in one transaction; returns its hash.

        It creates a contract that makes them while it is created and leaves nothing behind. The token must be there
        first: the transaction before it brings the sum to the address that the contract will have.
        """
        whole = Transfer(
            currency=transfers[0].currency,
            to=_created_at(self._account.address, first_nonce + 1),
            units=sum(transfer.units for transfer in transfers),
        )
        token = self._sandbox.usdt_contract_address
        calls = [token_call("transfer(address,uint256)", transfer.to, transfer.units) for transfer in transfers]
        together = {
            **self._common(first_nonce + 1),
            "gas": TRANSFER_GAS * (1 + len(transfers)),
            "value": 0,
            "data": _code_of_calls(token, calls),
        }
        self._sign_and_insert(exchange_id, "payout", 0, self._transaction(whole, first_nonce), first_nonce)
        return self._sign_and_insert(exchange_id, "payout", 1, together, first_nonce + 1)

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
        return self._sign_and_insert(exchange_id, purpose, leg, self._transaction(transfer, nonce), nonce)

    def _sign_and_insert(self, exchange_id: str, purpose: str, leg: int, fields: dict[str, Any], nonce: int) -> str:
        signed = self._account.sign_transaction(fields)
        tx_hash = "0x" + bytes(signed.hash).hex()
        raw = "0x" + bytes(signed.raw_transaction).hex()
        self._store.insert(
            "payments", exchange_id=exchange_id, purpose=purpose, leg=leg, nonce=nonce, raw=raw, tx_hash=tx_hash
        )
        return tx_hash

    def _common(self, nonce: int) -> dict[str, Any]:
        return {
            "chainId": self._sandbox.chain_id,
            "nonce": nonce,
            "gas": TRANSFER_GAS,
            "maxFeePerGas": MAX_FEE_WEI,
            "maxPriorityFeePerGas": TIP_WEI,
        }

    def _transaction(self, transfer: Transfer, nonce: int) -> dict[str, Any]:
        to = str(to_checksum_address(transfer.to))
        common = self._common(nonce)
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


def _created_at(sender: str, nonce: int) -> str:
    """The address of what `sender` creates with that nonce: the hash of both, as RLP writes them."""
    digits = nonce.to_bytes((nonce.bit_length() + 7) // 8)
    written = digits if 0 < nonce < 0x80 else bytes([0x80 + len(digits)]) + digits
    pair = bytes([0x94]) + bytes.fromhex(sender[2:]) + written
    return str(to_checksum_address(keccak(bytes([0xC0 + len(pair)]) + pair)[12:]))


def _code_of_calls(contract: str, calls: list[str]) -> str:
    """Creation code that makes the calls, of two arguments each, one after the other; all are undone if one fails."""
    code = b""
    for call in calls:
        data = bytes.fromhex(call[2:]).ljust(96, b"\0")
        for at in (0, 32, 64):
            # PUSH32, PUSH1, MSTORE
            code += b"\x7f" + data[at : at + 32] + b"\x60" + bytes([at]) + b"\x52"
        # No answer wanted, 68 bytes from 0, no value; GAS, CALL.
        code += bytes.fromhex("60006000604460006000") + b"\x73" + bytes.fromhex(contract[2:]) + b"\x5a\xf1"
        # ISZERO, PUSH2 the end, JUMPI
        code += b"\x15\x61" + (len(calls) * _CALL_LENGTH + 1).to_bytes(2) + b"\x57"
    # STOP; JUMPDEST, REVERT without words.
    return "0x" + (code + bytes.fromhex("005b60006000fd")).hex()


# The bytes of one call in the code above.
_CALL_LENGTH = 3 * 36 + 10 + 21 + 2 + 5
