"""What every test can rely on: a real PostgreSQL and Redis, a real chain and exchange on request, no outside world."""

import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from celery import current_app
from django.conf import settings as django_settings
from pytest_django import Settings

from config.stack.paths import State
from hostpay import gateways
from hostpay.models import Wallet
from hostpay.services.reconciling import line
from payouts.services.unproven import shut_out
from tests.lib.anvil import Anvil
from tests.lib.browsers import CHROMIUM
from tests.lib.exchange import SandboxExchange
from tests.lib.servers import SharedServers
from tests.lib.world import World

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("sluice", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("sluice")

SERVERS = pytest.StashKey[SharedServers]()

_connect = socket.socket.connect


class OutsideConnectionError(RuntimeError):
    """A test wanted to reach another machine."""


def _connect_to_this_machine(self: socket.socket, address: Any, /) -> None:
    if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(str(address[0])):
        raise OutsideConnectionError(f"tests reach this machine only, not {address[0]}")
    _connect(self, address)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def pytest_configure(config: pytest.Config) -> None:
    """Starts the shared servers, in the one process that is not an xdist worker."""
    socket.socket.connect = _connect_to_this_machine  # type: ignore[method-assign, assignment]
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    state = State(django_settings.STATE_DIR)
    servers = SharedServers(state.root, sockets=state.sockets, redis_socket=state.redis_socket)
    config.stash[SERVERS] = servers
    servers.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    socket.socket.connect = _connect  # type: ignore[method-assign]
    if SERVERS in config.stash:
        config.stash[SERVERS].stop()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The broker of this run, shared by all its workers."""
    return str(django_settings.CELERY_BROKER_URL)


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A local chain that makes a block for each transaction; one for each xdist worker."""
    chain = Anvil(tmp_path_factory.mktemp("anvil"))
    with chain:
        yield chain


@pytest.fixture
def broker_down(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A broker at an address where nobody listens."""
    # Celery believes this variable before its own configuration.
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    address = current_app.conf.broker_url
    _connect_anew("redis://127.0.0.1:1/0")
    yield
    _connect_anew(address)


def _connect_anew(address: str) -> None:
    current_app.conf.update(broker_url=address)
    # Celery keeps its connections; this is how it forgets them in a new process.
    current_app._after_fork()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def clocks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain that tests share makes more blocks in a quarter of an hour than it keeps the states of; its clock is ours."""
    monkeypatch.setattr(line, "_CLOCKS_APART", timedelta(seconds=5))


@pytest.fixture(autouse=True)
def nobody_is_shut_out() -> Iterator[None]:
    """A process remembers for seconds whom it does not listen to, and the tests are one process."""
    yield
    shut_out.forget()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a unix socket's name, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="sl-") as name:
        yield Path(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a browser where there is none; with CI set that is an error, not a gap nobody notices.

    Raises:
        pytest.UsageError: CI is set, and there is no browser for the tests that need one.
    """
    if CHROMIUM.exists():
        return
    driving = [item for item in items if item.get_closest_marker("browser")]
    if driving and os.environ.get("CI", "").strip():
        message = f"{len(driving)} tests drive a browser, and there is none at {CHROMIUM}. SLUICE_CHROMIUM names one."
        raise pytest.UsageError(message)
    for item in driving:
        item.add_marker(pytest.mark.skip(reason=f"no browser at {CHROMIUM}; SLUICE_CHROMIUM names one"))


@pytest.fixture(scope="session")
def sandbox_exchange(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxExchange]:
    """The sandbox exchange on the run's chain, quick about everything; one for each xdist worker."""
    exchange = SandboxExchange(
        anvil.rpc_url, tmp_path_factory.mktemp("exchange"), price_eth_usd="2000.00", exchanging_s="0", confirmations="1"
    )
    try:
        yield exchange.start()
    finally:
        exchange.close()


@pytest.fixture
def world(
    transactional_db: None,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    anvil: Anvil,
    sandbox_exchange: SandboxExchange,
) -> Iterator[World]:
    """Our settings pointed at the run's chain and exchange, and this process made able to sign."""
    prepared = sandbox_exchange.sandbox
    settings.CHANGENOW_API_URL = sandbox_exchange.url
    settings.CHANGENOW_API_KEY = sandbox_exchange.api_key
    settings.ETH_RPC_URLS = [anvil.rpc_url]
    settings.ETH_CHAIN_ID = prepared.chain_id
    settings.ETH_CONFIRMATIONS = 2
    settings.HOST_WALLET_ADDRESS = prepared.host_wallet_address
    settings.USDT_CONTRACT_ADDRESS = prepared.usdt_contract_address
    settings.PROVIDER_TIMEOUT_S = 10
    monkeypatch.setenv("HOST_WALLET_KEYSTORE", prepared.keystore_path)
    monkeypatch.setenv("HOST_WALLET_PASSPHRASE_FILE", prepared.passphrase_file)
    _forget_gateways()
    # Its orders of earlier tests would be orders of ours that new books do not know.
    sandbox_exchange.reset()
    _confirm_the_past_of(prepared.host_wallet_address, anvil)
    # Tests before this one may have reorganised the chain.
    anvil.set_clock()
    yield World(
        anvil=anvil,
        exchange=sandbox_exchange,
        wallet_address=prepared.host_wallet_address,
        usdt_contract_address=prepared.usdt_contract_address,
    )
    sandbox_exchange.clear_faults()
    _forget_gateways()


def _confirm_the_past_of(wallet_address: str, anvil: Anvil) -> None:
    """The run's chain remembers the tests before this one, and the books are new: as a person does with a used wallet."""
    used = int(anvil.rpc("eth_getTransactionCount", wallet_address, "latest"), 16)
    if used:
        Wallet.objects.create(chain_id=django_settings.ETH_CHAIN_ID, address=wallet_address, next_nonce=used)


def _forget_gateways() -> None:
    for build in (gateways.exchange, gateways.node, gateways.signer):
        build.cache_clear()
