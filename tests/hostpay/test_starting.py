"""No program starts with a key that it must not have, and none that signs starts on another chain, token or wallet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery.signals import beat_init
from pytest_django import Settings

from config import doctor, starting
from config.env import SettingsError
from config.stack.paths import PROJECT_ROOT
from config.stack.ports import free_port
from hostpay import gateways
from tests.hostpay.chain import through
from tests.lib.faulty_node import FaultyNode
from tests.lib.world import World

OTHER = "0x00000000000000000000000000000000000000A1"
ALWAYS = 10**6


def run(*arguments: str, world: World, state: Path, key: bool, **changes: str) -> subprocess.CompletedProcess[str]:
    """A program of ours with the settings of the world and an environment of its own, to its end."""
    prepared = world.exchange.sandbox
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.fspath(state),
        "STATE": os.fspath(state),
        "MODE": "sandbox",
        "ETH_RPC_URLS": world.anvil.rpc_url,
        "ETH_CHAIN_ID": str(prepared.chain_id),
        "HOST_WALLET_ADDRESS": prepared.host_wallet_address,
        "USDT_CONTRACT_ADDRESS": prepared.usdt_contract_address,
        # Nobody listens there: whoever comes as far as the broker waits for it, and is ended by the time limit.
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
        **changes,
    }
    if key:
        environment["HOST_WALLET_KEYSTORE"] = prepared.keystore_path
        environment["HOST_WALLET_PASSPHRASE_FILE"] = prepared.passphrase_file
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


WORKER = ("-m", "celery", "-A", "config.celery", "worker", "--concurrency", "1", "--queues")


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        ((*WORKER, "default"), "a worker of default"),
        (("-c", "import config.wsgi"), "the web server"),
    ],
    ids=["worker", "web"],
)
def test_a_program_that_signs_nothing_refuses_to_start_with_the_key(
    world: World, tmp_path: Path, arguments: tuple[str, ...], who: str
) -> None:
    ended = run(*arguments, world=world, state=tmp_path, key=True)

    assert ended.returncode == 1
    assert f"HOST_WALLET_KEYSTORE, HOST_WALLET_PASSPHRASE_FILE is in the environment of {who}" in ended.stderr
    assert "ready" not in ended.stdout + ended.stderr


def test_beat_refuses_to_start_with_the_key(world: World) -> None:
    # As beat does before its first tick; Celery itself lets no other error of a receiver through.
    with pytest.raises(SettingsError, match="is in the environment of beat, which signs nothing"):
        beat_init.send(sender=None)


def test_f57_the_signer_refuses_to_start_on_another_chain(world: World, tmp_path: Path) -> None:
    ended = run(*WORKER, "signer", world=world, state=tmp_path, key=True, ETH_CHAIN_ID="1")

    assert ended.returncode == 1
    assert "node 1: it is on chain 31337, and ours is 1. Nothing was started." in ended.stderr


def test_f57_the_signer_refuses_to_start_with_the_key_of_another_wallet(world: World, tmp_path: Path) -> None:
    ended = run(*WORKER, "signer", world=world, state=tmp_path, key=True, HOST_WALLET_ADDRESS=OTHER)

    assert ended.returncode == 1
    assert f"is of wallet {world.wallet_address}, the settings say {OTHER}" in ended.stderr


def test_the_signer_refuses_to_start_without_the_key(world: World, tmp_path: Path) -> None:
    ended = run(*WORKER, "signer", world=world, state=tmp_path, key=False)

    assert ended.returncode == 1
    assert "The signer cannot sign: this process has no keystore" in ended.stderr


def test_a_signer_that_finds_all_as_set_may_start(world: World) -> None:
    starting.check_worker(queues=["signer"], signer_queue="signer")


def test_the_signer_takes_no_other_queue(world: World) -> None:
    with pytest.raises(SettingsError, match="takes no other queue"):
        starting.check_worker(queues=["signer", "default"], signer_queue="signer")


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (OTHER, "there is no contract at"),
        # Where a token should be, something else answers: six decimals are part of what USDT is.
        ("eighteen", "has 18 decimals, and USDT has 6"),
    ],
)
def test_f57_the_signer_refuses_a_token_that_is_not_usdt(
    world: World, settings: Settings, contract: str, words: str
) -> None:
    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        if contract == "eighteen":
            node.say("eth_call", times=ALWAYS, result=f"0x{18:064x}")
        else:
            settings.USDT_CONTRACT_ADDRESS = contract
        with pytest.raises(SettingsError, match=words):
            starting.check_worker(queues=["signer"], signer_queue="signer")


def test_f56_the_signer_refuses_to_start_if_one_of_its_nodes_is_on_another_chain(
    world: World, settings: Settings
) -> None:
    with FaultyNode(world.anvil.rpc_url) as node:
        node.say("eth_chainId", times=ALWAYS, result="0x5")
        settings.ETH_RPC_URLS = [world.anvil.rpc_url, node.url]
        gateways.node.cache_clear()

        with pytest.raises(SettingsError, match="node 2: it is on chain 5, and ours is 31337"):
            starting.check_worker(queues=["signer"], signer_queue="signer")
        found = {finding.name: finding for finding in doctor.examine()}

    assert not found["chain"].ok
    assert "node 2: it is on chain 5" in found["chain"].detail
    assert found["wallet"].ok


def test_while_no_node_answers_the_signer_waits_and_others_start(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ETH_RPC_URLS = [f"http://127.0.0.1:{free_port()}"]
    gateways.node.cache_clear()

    with pytest.raises(SettingsError, match="Nothing was started"):
        starting.check_worker(queues=["signer"], signer_queue="signer")

    for name in ("HOST_WALLET_KEYSTORE", "HOST_WALLET_PASSPHRASE_FILE"):
        monkeypatch.delenv(name)
    starting.check_worker(queues=["default"], signer_queue="signer")


def test_f57_an_ordinary_worker_refuses_another_chain_too(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST_WALLET_KEYSTORE", "HOST_WALLET_PASSPHRASE_FILE"):
        monkeypatch.delenv(name)
    settings.ETH_CHAIN_ID = 1
    gateways.node.cache_clear()

    with pytest.raises(SettingsError, match="it is on chain 31337, and ours is 1"):
        starting.check_worker(queues=["default"], signer_queue="signer")
