"""The node client and the signer against a real local chain."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from hostpay.providers.ethereum import (
    BroadcastOutcome,
    EthereumNode,
    Receipt,
    UnsignedTransfer,
    WouldRevertError,
)
from hostpay.providers.signer import KeystoreSigner
from hostpay.sandbox.prepare import Sandbox, prepare
from tests.lib.anvil import Anvil

TO = "0x000000000000000000000000000000000000bEEF"
NOBODY = "0x00000000000000000000000000000000DeaDBeef"
KEY = b"\x5e" * 32
PASSPHRASE = "correct horse battery staple"
GWEI = 10**9
ETHER = 10**18


@pytest.fixture
def chain(anvil: Anvil) -> Iterator[Anvil]:
    """The run's chain, as it was before the test when it is over."""
    mark = anvil.snapshot()
    yield anvil
    anvil.rpc("evm_setAutomine", True)
    anvil.revert(mark)


@pytest.fixture
def node(chain: Anvil) -> EthereumNode:
    return EthereumNode(rpc_url=chain.rpc_url, timeout_s=30)


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "wallet.json"
    path.write_text(json.dumps(Account.encrypt(KEY, PASSPHRASE, iterations=2)))
    return path


@pytest.fixture
def signer(chain: Anvil, keystore: Path) -> KeystoreSigner:
    """Of a wallet with ten ETH."""
    address = Account.from_key(KEY).address
    chain.rpc("anvil_setBalance", address, hex(10 * ETHER))
    return KeystoreSigner.open(keystore, PASSPHRASE, address)


@pytest.fixture
def transfer(node: EthereumNode, signer: KeystoreSigner) -> UnsignedTransfer:
    fees = node.fee_quote()
    return UnsignedTransfer(
        chain_id=node.chain_id(),
        nonce=node.nonce(signer.address),
        to=TO,
        value_wei=ETHER,
        gas_limit=node.estimate_gas(from_address=signer.address, to_address=TO, value_wei=ETHER),
        max_fee_per_gas_wei=2 * fees.base_fee_wei + fees.priority_fee_wei,
        max_priority_fee_per_gas_wei=fees.priority_fee_wei,
    )


def mined(node: EthereumNode, tx_hash: str) -> Receipt:
    """The receipt as soon as there is one: anvil makes its block an instant after it has answered."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        receipt = node.receipt(tx_hash)
        if receipt is not None:
            return receipt
        time.sleep(0.02)
    raise AssertionError(f"{tx_hash} was not mined")


def test_a_signed_transfer_is_mined_as_it_was_signed(
    node: EthereumNode, signer: KeystoreSigner, transfer: UnsignedTransfer
) -> None:
    signed = signer.sign(transfer)

    result = node.send_raw(signed.raw)

    assert (result.outcome, result.tx_hash, result.detail) == (BroadcastOutcome.ACCEPTED, signed.tx_hash, "")
    receipt = mined(node, signed.tx_hash)
    seen = node.transaction(signed.tx_hash)
    assert seen is not None
    assert (receipt.ok, receipt.gas_used, receipt.to_address) == (True, 21_000, TO)
    assert (seen.value_wei, seen.to_address, seen.from_address, seen.nonce) == (ETHER, TO, signer.address, 0)
    assert seen.block_hash == receipt.block_hash == node.block(receipt.block_number).hash
    assert node.block_number() == receipt.block_number == node.block("latest").number
    assert node.finalized_block_number() < receipt.block_number
    assert node.balance_wei(TO) == ETHER
    assert node.balance_wei(signer.address) == 9 * ETHER - receipt.gas_used * receipt.effective_gas_price_wei
    assert node.nonce(signer.address) == 1


def test_f44_the_same_transfer_signed_twice_is_the_same_bytes(
    signer: KeystoreSigner, transfer: UnsignedTransfer
) -> None:
    assert signer.sign(transfer) == signer.sign(transfer)
    assert signer.sign(transfer) != signer.sign(replace(transfer, value_wei=2 * ETHER))


def test_f44_the_same_bytes_again_pay_once(
    chain: Anvil, node: EthereumNode, signer: KeystoreSigner, transfer: UnsignedTransfer
) -> None:
    chain.rpc("evm_setAutomine", False)
    signed = signer.sign(transfer)

    first, second = node.send_raw(signed.raw), node.send_raw(signed.raw)
    waiting = node.transaction(signed.tx_hash)
    chain.mine()
    third = node.send_raw(signed.raw)

    assert [first.outcome, second.outcome, third.outcome] == [
        BroadcastOutcome.ACCEPTED,
        BroadcastOutcome.ALREADY_KNOWN,
        BroadcastOutcome.NONCE_TOO_LOW,
    ]
    assert waiting is not None
    assert waiting.block_number is None
    assert node.balance_wei(TO) == ETHER


def test_what_the_chain_does_not_take_is_told_by_its_reason(
    chain: Anvil, node: EthereumNode, signer: KeystoreSigner, transfer: UnsignedTransfer
) -> None:
    outcomes = [
        node.send_raw(signer.sign(broken).raw).outcome
        for broken in (
            replace(transfer, value_wei=11 * ETHER),
            replace(transfer, chain_id=1),
            replace(transfer, max_fee_per_gas_wei=1, max_priority_fee_per_gas_wei=1),
        )
    ]

    assert outcomes == [
        BroadcastOutcome.INSUFFICIENT_FUNDS,
        BroadcastOutcome.REFUSED,
        BroadcastOutcome.UNDERPRICED,
    ]
    assert (node.nonce(signer.address), node.balance_wei(TO)) == (0, 0)


def test_f52_an_estimate_at_a_contract_that_refuses_says_so(
    chain: Anvil, node: EthereumNode, signer: KeystoreSigner
) -> None:
    chain.rpc("anvil_setCode", NOBODY, "0x60006000fd")

    with pytest.raises(WouldRevertError):
        node.estimate_gas(from_address=signer.address, to_address=NOBODY, value_wei=1)
    assert node.code(NOBODY) == bytes.fromhex("60006000fd")


def test_f55_a_reorganisation_takes_receipt_and_block_away(
    chain: Anvil, node: EthereumNode, signer: KeystoreSigner, transfer: UnsignedTransfer
) -> None:
    chain.mine(3)
    signed = signer.sign(transfer)
    node.send_raw(signed.raw)
    before = mined(node, signed.tx_hash)

    chain.rpc("anvil_reorg", 1, [])

    assert node.receipt(signed.tx_hash) is None
    assert node.transaction(signed.tx_hash) is None
    assert node.block(before.block_number).hash != before.block_hash
    assert node.send_raw(signed.raw).outcome is BroadcastOutcome.ACCEPTED
    assert mined(node, signed.tx_hash).block_hash != before.block_hash


@pytest.fixture
def sandbox(chain: Anvil, tmp_path: Path) -> Sandbox:
    return prepare(rpc_url=chain.rpc_url, state=tmp_path / "state")


def test_the_tokens_of_the_sandbox_are_counted_and_their_transfers_read(
    chain: Anvil, node: EthereumNode, sandbox: Sandbox
) -> None:
    token, holder = sandbox.usdt_contract_address, sandbox.exchange_wallet_address
    chain.rpc("anvil_impersonateAccount", holder)
    start = node.block_number()
    call = "0xa9059cbb" + TO[2:].lower().rjust(64, "0") + f"{19_400_000:064x}"

    tx_hash = chain.send({"from": holder, "to": token, "data": call})

    receipt = mined(node, tx_hash)
    [transfer] = node.transfers_in(receipt, token, TO)
    assert (transfer.units, transfer.from_address, transfer.tx_hash) == (19_400_000, holder, tx_hash)
    assert node.transfers_in(receipt, sandbox.counterfeit_contract_address, TO) == ()
    assert node.usdt_balance(token, TO) == 19_400_000
    assert node.usdt_balance(sandbox.counterfeit_contract_address, TO) == 0
    found = node.transfer_logs(contract=token, to=TO, from_block=start, to_block=node.block_number())
    assert found == (transfer,)
    assert node.transfer_logs(contract=token, to=NOBODY, from_block=start, to_block=node.block_number()) == ()


def test_the_sandbox_wallet_opens_with_its_own_passphrase(sandbox: Sandbox) -> None:
    passphrase = Path(sandbox.passphrase_file).read_text().strip()

    signer = KeystoreSigner.open(Path(sandbox.keystore_path), passphrase, sandbox.host_wallet_address)

    assert signer.address == sandbox.host_wallet_address
