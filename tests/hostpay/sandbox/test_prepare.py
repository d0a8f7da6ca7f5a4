"""Preparing a chain: what is there afterwards, and that doing it again changes nothing."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account

from hostpay.sandbox import anvil, contracts, prepare
from hostpay.sandbox.rpc import NodeError, token_call
from tests.lib.anvil import Anvil


def test_it_leaves_funded_wallets_and_a_keystore_that_opens(chain: Anvil, tmp_path: Path) -> None:
    made = prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)

    keystore, passphrase = Path(made.keystore_path), Path(made.passphrase_file)
    key = Account.decrypt(keystore.read_text(), passphrase.read_text().strip())
    assert Account.from_key(key).address == made.host_wallet_address
    assert {stat.S_IMODE(file.stat().st_mode) for file in (keystore, passphrase)} == {0o600}
    assert chain.node.balance_wei(made.host_wallet_address) == prepare.HOST_WALLET_WEI
    assert chain.node.token_units(made.usdt_contract_address, made.exchange_wallet_address) == 10**13
    assert chain.node.code(made.usdt_contract_address) == contracts.tether().runtime_code
    assert json.loads((tmp_path / "sandbox.json").read_text())["chain_id"] == 31337


def test_it_changes_nothing_the_second_time(chain: Anvil, tmp_path: Path) -> None:
    first = prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)
    height = chain.node.head()

    assert prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path) == first
    assert chain.node.head() == height


def test_it_does_not_fill_up_a_wallet_that_has_spent(chain: Anvil, tmp_path: Path) -> None:
    made = prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)
    chain.rpc("anvil_setBalance", made.host_wallet_address, "0x1")
    prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)

    assert chain.node.balance_wei(made.host_wallet_address) == 1


def test_it_goes_on_after_a_crash_in_the_middle(chain: Anvil, tmp_path: Path) -> None:
    made = prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)
    Path(made.keystore_path).unlink()
    (tmp_path / "sandbox.json").unlink()
    again = prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)

    assert again.host_wallet_address != made.host_wallet_address
    assert again.exchange_wallet_address == made.exchange_wallet_address
    assert chain.node.balance_wei(again.host_wallet_address) == prepare.HOST_WALLET_WEI


def test_it_says_when_there_is_no_chain(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hostpay.sandbox.prepare", "--rpc", "http://127.0.0.1:9", "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "could not be prepared: eth_accounts: ConnectError" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_token_returns_nothing_from_a_transfer_and_refuses_what_is_not_there(chain: Anvil, tmp_path: Path) -> None:
    made = prepare.prepare(rpc_url=chain.rpc_url, state=tmp_path)
    call = {"from": made.exchange_wallet_address, "to": made.usdt_contract_address}
    transfer = token_call("transfer(address,uint256)", made.host_wallet_address, 10**13)
    too_much = token_call("transfer(address,uint256)", made.host_wallet_address, 10**13 + 1)

    assert chain.rpc("eth_call", {**call, "data": transfer}, "latest") == "0x"
    with pytest.raises(NodeError, match="balance too low"):
        chain.rpc("eth_call", {**call, "data": too_much}, "latest")
    with pytest.raises(NodeError, match="not the owner"):
        chain.rpc("eth_call", {**call, "data": token_call("issue(uint256)", 1)}, "latest")


def test_the_node_keeps_its_chain_over_a_restart(tmp_path: Path) -> None:
    with Anvil(tmp_path / "home", state_file=tmp_path / "chain.json") as node:
        made = prepare.prepare(rpc_url=node.rpc_url, state=tmp_path)
        before = node.node.head(), node.node.block_hash(0)
        node.stop()
        node.start()

        assert (node.node.head(), node.node.block_hash(0)) == before
        assert node.node.balance_wei(made.host_wallet_address) == prepare.HOST_WALLET_WEI


def test_the_node_is_started_as_the_plain_binary(tmp_path: Path) -> None:
    command = anvil.anvil_command(port=1234, state_file=tmp_path / "chain.json", block_time_s="1")

    assert command[0] == str(anvil.locate_anvil())
    assert command[1:7] == ["--host", "127.0.0.1", "--port", "1234", "--chain-id", "31337"]
    assert command[-6:] == ["--state", str(tmp_path / "chain.json"), "--state-interval", "1", "--block-time", "1"]


def test_the_lock_names_no_server() -> None:
    lock = (anvil.CHAIN_FOLDER / "package-lock.json").read_text()

    assert "http" not in lock
    assert json.loads(lock)["packages"]["node_modules/@foundry-rs/anvil-linux-amd64"]["integrity"].startswith("sha512-")
