"""A local Ethereum node for tests: anvil in its own process, on a free port, with its home in a folder of its own."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from hostpay.sandbox import anvil
from hostpay.sandbox.rpc import RECEIPT_POLL_S, RECEIPT_TIME_LIMIT_S, Node, NodeAwayError
from tests.lib.ports import own_port

START_TIME_LIMIT_S = 120
STOP_TIME_LIMIT_S = 60
_BLOCKS_AT_ONCE = 100


class Anvil:
    """`start` it, `stop` it (or use it in a `with`); every call in between is plain JSON-RPC.

    Without `block_time_s` each transaction is mined at once. With `state_file` a stopped node can be started again
    with its chain, on the same port.
    """

    def __init__(self, home: Path, *, block_time_s: str | None = None, state_file: Path | None = None) -> None:
        self.home = home
        self.block_time_s = block_time_s
        self.state_file = state_file
        self.port = own_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._node = Node(self.rpc_url)

    @property
    def rpc_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Returns when the node answers. Raises RuntimeError when it does not."""
        anvil.install()
        self.home.mkdir(parents=True, exist_ok=True)
        command = anvil.anvil_command(port=self.port, state_file=self.state_file, block_time_s=self.block_time_s)
        self._process = subprocess.Popen(command, env={**os.environ, "HOME": str(self.home)})
        deadline = time.monotonic() + START_TIME_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(NodeAwayError):
                self._node.chain_id()
                return self
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"anvil did not answer on port {self.port}")

    def stop(self) -> None:
        """Ends the node as an operator would; the state file is written."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIME_LIMIT_S)
            self._process = None

    def kill(self) -> None:
        """Ends the node without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIME_LIMIT_S)
            self._process = None

    def close(self) -> None:
        """Ends the node and the connection to it, for good."""
        self.stop()
        self._node.close()

    def rpc(self, method: str, *params: Any) -> Any:
        """Raises NodeError with the node's words, or NodeAwayError."""
        return self._node.call(method, *params)

    @property
    def node(self) -> Node:
        """The same connection, with the sandbox's helpers for balances and receipts."""
        return self._node

    def mine(self, blocks: int = 1) -> None:
        # In portions, each of which is made well within a call's time on a busy machine.
        for made in range(0, blocks, _BLOCKS_AT_ONCE):
            self.rpc("anvil_mine", hex(min(_BLOCKS_AT_ONCE, blocks - made)))

    def send(self, transaction: dict[str, str]) -> str:
        """Send from an account whose key the node has; the hash.

        Where each transaction has its block at once, it has it by then: the node answers as soon as it has taken it.
        """
        tx_hash = str(self.rpc("eth_sendTransaction", transaction))
        deadline = time.monotonic() + RECEIPT_TIME_LIMIT_S
        while self.rpc("anvil_getAutomine") and self._node.receipt(tx_hash) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"transaction {tx_hash} was not mined within {RECEIPT_TIME_LIMIT_S} s")
            time.sleep(RECEIPT_POLL_S)
        return tx_hash

    def snapshot(self) -> str:
        """A mark to `revert` to, once."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, mark: str) -> None:
        if self.rpc("evm_revert", mark) is not True:
            raise RuntimeError(f"anvil has no snapshot {mark}")
        self.set_clock()

    def set_clock(self) -> None:
        """Let its clock be ours again: a revert and a reorganisation leave it where it was in the block they go back to."""
        self.rpc("evm_setTime", hex(int(time.time())))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.close()
