"""`python -m tests.lib.mortal`: does one `manage.py tick` after the other, each in a process that can be killed for real.

Each line on its standard input is a place (see config.simulation.boundaries), or empty. It answers each with a line: the exit
status of the process that did the tick, negative for the signal that killed it. A process is a fork of this one, which
never touches the database: so it takes milliseconds, and dies with connections, locks and memory of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import connections

VARIABLE = "SLUICE_MORTAL"
_SETTINGS = (
    "CHANGENOW_API_URL",
    "CHANGENOW_API_KEY",
    "ETH_RPC_URLS",
    "ETH_CHAIN_ID",
    "ETH_CONFIRMATIONS",
    "HOST_WALLET_ADDRESS",
    "USDT_CONTRACT_ADDRESS",
    "PROVIDER_TIMEOUT_S",
)
_ENVIRONMENT = ("HOST_WALLET_KEYSTORE", "HOST_WALLET_PASSPHRASE_FILE")


class Mortals:
    """The other end of it, for a test; use it in a `with`. It works on the test's own database, chain and exchange."""

    def __init__(self, folder: Path) -> None:
        self._places = folder / "places.json"
        given = {
            "places": os.fspath(self._places),
            "database": connections["default"].settings_dict["NAME"],
            "settings": {name: getattr(settings, name) for name in _SETTINGS},
            "environment": {name: os.environ[name] for name in _ENVIRONMENT},
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.lib.mortal"],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", VARIABLE: json.dumps(given)},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tick(self, die_at: str = "") -> int:
        """One tick in a process of its own; its exit status, -9 if it met the place and was killed there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{die_at}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def places(self) -> list[str]:
        """The places that the latest tick that lived came by."""
        found: list[str] = json.loads(self._places.read_text())
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(120)
        self._process.stdout.close()


def _serve() -> None:
    given: dict[str, Any] = json.loads(os.environ.pop(VARIABLE))
    settings.DATABASES["default"]["NAME"] = given["database"]
    for name, value in given["settings"].items():
        setattr(settings, name, value)
    os.environ.update(given["environment"])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _die_or_tick(line.rstrip("\n"), Path(given["places"]))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _die_or_tick(place: str, places: Path) -> None:
    """Ends the process, one way or the other."""
    from django.core.management import call_command  # noqa: PLC0415 (after Django's setup)

    from config.simulation.boundaries import Boundaries  # noqa: PLC0415

    status = 1
    try:
        boundaries = Boundaries(die_at=place, die=lambda: os.kill(os.getpid(), signal.SIGKILL))
        with boundaries.installed():
            # The engine, and nothing else: each place more is a whole life more.
            call_command("tick", "--only", "check_threshold", "--only", "sweep_payments", stdout=StringIO())
        places.write_text(json.dumps(boundaries.places))
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    import django

    django.setup()
    # What every signer needs, once and not once a process.
    import eth_account  # noqa: F401

    _serve()
