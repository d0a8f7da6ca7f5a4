"""What every test can rely on: a real PostgreSQL and Redis, a real chain and exchange on request, no outside world."""

import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from config.stack.paths import State
from tests.lib.anvil import Anvil
from tests.lib.servers import SharedServers

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
    socket.socket.connect = _connect_to_this_machine  # type: ignore[method-assign]
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    state = State(settings.STATE_DIR)
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
    return str(settings.CELERY_BROKER_URL)


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A local chain that makes a block for each transaction; one for each xdist worker."""
    chain = Anvil(tmp_path_factory.mktemp("anvil"))
    with chain:
        yield chain


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a unix socket's name, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="sl-") as name:
        yield Path(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a browser where there is none."""
    if os.environ.get("SLUICE_CHROMIUM") or Path("/usr/bin/chromium").exists():
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason="no chromium on this machine"))
