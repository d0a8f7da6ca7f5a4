"""Makes a fresh local chain useful: the USDT stand-in, the wallets, and what is in them.

    python -m hostpay.sandbox.prepare --rpc http://127.0.0.1:8545 --state var

Safe to repeat, also after a crash in the middle: each step first looks whether its result is there. Wallets are funded
once per chain: a wallet that ever sent or received anything is left as it is, because the books that are kept about it
must go on to explain its balance.

It writes, all readable by their owner only:

    STATE/sandbox.json                  addresses and paths, for the stack (nothing secret)
    STATE/secrets/host-wallet.json      the host wallet's key, as an encrypted keystore
    STATE/secrets/host-wallet.pass      the keystore's passphrase
    STATE/exchange/hot-wallet.key       the exchange's own key
"""

import argparse
import json
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from hostpay.sandbox import contracts
from hostpay.sandbox.files import secret, write_atomically
from hostpay.sandbox.rpc import Node, NodeAwayError, NodeError, token_call

WEI_PER_ETH = 10**18
# Enough for a month of the sandbox's own customers, who use up some 17 ETH a day.
HOST_WALLET_WEI = 500 * WEI_PER_ETH
EXCHANGE_WALLET_WEI = 1000 * WEI_PER_ETH
EXCHANGE_WALLET_USDT_UNITS = 10_000_000 * 10**6
# A local key file need not withstand years of guessing, and every start of the signer opens it.
KEYSTORE_SCRYPT_N = 2**12
DEPLOY_GAS = 3_000_000
CALL_GAS = 200_000
GAS_PRICE_WEI = 50 * 10**9
# The node's own accounts, which it signs for: one pays, the others own one token each.
FAUCET, TETHER_OWNER, COUNTERFEITER = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What STATE/sandbox.json says. The counterfeit is a token that calls itself USDT and is not."""

    chain_id: int
    usdt_contract_address: str
    counterfeit_contract_address: str
    host_wallet_address: str
    keystore_path: str
    passphrase_file: str
    exchange_wallet_address: str


def prepare(*, rpc_url: str, state: Path) -> Sandbox:
    """Does it all and returns what was written. Raises NodeError and NodeAwayError."""
    node = Node(rpc_url)
    try:
        faucet = _Faucet(node)
        keystore, passphrase_file = state / "secrets" / "host-wallet.json", state / "secrets" / "host-wallet.pass"
        host_wallet = _host_wallet(keystore, passphrase_file)
        hot_wallet = exchange_wallet(state)
        usdt = faucet.token(TETHER_OWNER)
        counterfeit = faucet.token(COUNTERFEITER)
        faucet.fund(host_wallet, HOST_WALLET_WEI)
        faucet.fund(hot_wallet.address, EXCHANGE_WALLET_WEI)
        faucet.issue(TETHER_OWNER, usdt, hot_wallet.address)
        faucet.issue(COUNTERFEITER, counterfeit, hot_wallet.address)
        sandbox = Sandbox(
            chain_id=node.chain_id(),
            usdt_contract_address=usdt,
            counterfeit_contract_address=counterfeit,
            host_wallet_address=host_wallet,
            keystore_path=str(keystore.resolve()),
            passphrase_file=str(passphrase_file.resolve()),
            exchange_wallet_address=hot_wallet.address,
        )
    finally:
        node.close()
    write_atomically(state / "sandbox.json", json.dumps(asdict(sandbox), indent=2) + "\n")
    return sandbox


def read(state: Path) -> Sandbox:
    """What an earlier run wrote. Raises FileNotFoundError."""
    return Sandbox(**json.loads((state / "sandbox.json").read_text()))


def exchange_wallet(state: Path) -> LocalAccount:
    """The exchange's hot wallet, made at the first call."""
    key = secret(state / "exchange" / "hot-wallet.key", secrets.token_hex(32))
    wallet: LocalAccount = Account.from_key(key)
    return wallet


def _host_wallet(keystore: Path, passphrase_file: Path) -> str:
    """The wallet's address. The passphrase is kept before the key: a crash between the two loses no key."""
    passphrase = secret(passphrase_file, secrets.token_urlsafe(24))
    if not keystore.is_file():
        key = secrets.token_bytes(32)
        encrypted = Account.encrypt(key, passphrase, kdf="scrypt", iterations=KEYSTORE_SCRYPT_N)
        write_atomically(keystore, json.dumps(encrypted) + "\n")
    return str(to_checksum_address(json.loads(keystore.read_text())["address"]))


class _Faucet:
    """Spends from the node's own accounts.

    Each transaction takes the account's next nonce and a fixed price, so that one repeated after a crash is the very
    same transaction, and the next is sent only after its receipt.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.accounts = [str(to_checksum_address(account)) for account in node.call("eth_accounts")]

    def fund(self, address: str, wei: int) -> None:
        """Gives the wallet its ETH, unless it has a history on this chain."""
        if self.node.balance_wei(address) == 0 and self.node.nonce(address) == 0:
            self._send({"from": self.accounts[FAUCET], "to": address, "value": hex(wei), "gas": hex(CALL_GAS)})

    def token(self, owner: int) -> str:
        """The contract the account deployed on this chain; deploys it when there is none."""
        address = self._deployed(self.accounts[owner])
        if address is None:
            creation = "0x" + contracts.tether().creation_code.hex()
            receipt = self._send({"from": self.accounts[owner], "data": creation, "gas": hex(DEPLOY_GAS)})
            address = str(to_checksum_address(receipt["contractAddress"]))
        return address

    def issue(self, owner: int, contract: str, address: str) -> None:
        """Gives the exchange its tokens, unless it has sent some away already."""
        account, units = self.accounts[owner], EXCHANGE_WALLET_USDT_UNITS
        if self.node.token_units(contract, address) > 0 or self.node.nonce(address) > 0:
            return
        if self.node.token_units(contract, account) < units:
            self._call(account, contract, token_call("issue(uint256)", units))
        self._call(account, contract, token_call("transfer(address,uint256)", address, units))

    def _deployed(self, owner: str) -> str | None:
        runtime = contracts.tether().runtime_code
        candidates = (_contract_address(owner, nonce) for nonce in range(min(self.node.nonce(owner), 128)))
        return next((address for address in candidates if self.node.code(address) == runtime), None)

    def _call(self, account: str, contract: str, data: str) -> None:
        self._send({"from": account, "to": contract, "data": data, "gas": hex(CALL_GAS)})

    def _send(self, transaction: dict[str, str]) -> dict[str, Any]:
        nonce = hex(self.node.nonce(transaction["from"]))
        sent = {**transaction, "nonce": nonce, "gasPrice": hex(GAS_PRICE_WEI)}
        tx_hash = self.node.call("eth_sendTransaction", sent)
        if self.node.receipt(tx_hash) is None:
            # The chain may make a block a second; eight transactions should not take eight.
            self.node.call("evm_mine")
        return self.node.wait_for_receipt(tx_hash)


def _contract_address(sender: str, nonce: int) -> str:
    """Where a sender's n-th transaction puts a contract (yellow paper, section 7); one byte holds nonces below 128."""
    packed = b"\xd6\x94" + bytes.fromhex(sender[2:]) + (nonce.to_bytes(1) if nonce else b"\x80")
    return str(to_checksum_address(keccak(packed)[12:]))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hostpay.sandbox.prepare", description="Deploys the token and funds the wallets of the sandbox."
    )
    parser.add_argument("--rpc", required=True, metavar="URL", help="the local node's JSON-RPC address")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the folder of the sandbox's state")
    options = parser.parse_args()
    try:
        sandbox = prepare(rpc_url=options.rpc, state=options.state)
    except (NodeError, NodeAwayError) as error:
        raise SystemExit(f"the local chain at {options.rpc} could not be prepared: {error}") from error
    sys.stdout.write(json.dumps(asdict(sandbox), indent=2) + "\n")


if __name__ == "__main__":
    main()
