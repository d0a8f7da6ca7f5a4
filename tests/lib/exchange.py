"""The sandbox exchange for tests: its own process, which can be killed and started again."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx

from hostpay.sandbox.prepare import Sandbox, prepare
from tests.lib.ports import own_port

START_TIME_LIMIT_S = 120
STOP_TIME_LIMIT_S = 60
PROJECT = Path(__file__).parents[2]


class SandboxExchange:
    """`start` prepares the chain and starts the exchange; `state` is a folder of its own.

    Flags are the exchange's settings, `exchanging_s="0"` and the like.
    """

    def __init__(self, rpc_url: str, state: Path, *, api_key: str = "sandbox-key", **flags: str) -> None:
        self.rpc_url = rpc_url
        self.state = state
        self.api_key = api_key
        self.other_api_key = f"{api_key}-of-somebody-else"
        self.flags = flags
        self.port = own_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._sandbox: Sandbox | None = None
        self.http = httpx.Client(
            base_url=self.url, headers={"x-changenow-api-key": api_key}, trust_env=False, timeout=30
        )

    @property
    def url(self) -> str:
        """Where the API's paths (`/v2/...`) begin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.state / "exchange.log"

    @property
    def sandbox(self) -> Sandbox:
        """The addresses of the prepared chain. Raises RuntimeError before `start`."""
        if self._sandbox is None:
            raise RuntimeError("the sandbox exchange was not started")
        return self._sandbox

    def start(self) -> Self:
        """Returns when it answers. Raises RuntimeError with its log when it does not."""
        self._sandbox = prepare(rpc_url=self.rpc_url, state=self.state)
        command = [sys.executable, "-m", "hostpay.sandbox.exchange", "--port", str(self.port), "--rpc", self.rpc_url]
        command += ["--state", str(self.state)]
        command += [part for name, value in self.flags.items() for part in (f"--{name.replace('_', '-')}", value)]
        environment = {**os.environ, "SANDBOX_EXCHANGE_API_KEY": f"{self.api_key},{self.other_api_key}"}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIME_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.http.get("/healthz").status_code == httpx.codes.OK:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the sandbox exchange did not start:\n{self.log_file.read_text()}")

    def stop(self) -> int:
        """Ends it as an operator would. Returns its exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        status = self._process.wait(STOP_TIME_LIMIT_S)
        self._process = None
        return status

    def kill(self) -> None:
        """Ends it without a warning (kill -9)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIME_LIMIT_S)
            self._process = None

    def restart(self) -> Self:
        """Starts it again with the same books, on the same port."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Ends it and the connection to it, for good."""
        self.stop()
        self.http.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the control API: `control("POST", "faults", {...})`. Raises httpx.HTTPStatusError."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = self.http.request(method, f"/control/{path}", json=body, headers=headers)
        answer.raise_for_status()
        return answer.json()

    def fault(self, fault: str, path: str = "*", **rule: Any) -> None:
        """A rule for the next request to `path`; `match` in `rule` refines it."""
        match = {"path": path, **rule.pop("match", {})}
        self.control("POST", "faults", {"match": match, "fault": fault, **rule})

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def set(self, **settings: Any) -> None:
        self.control("POST", "settings", settings)

    def outcome(self, exchange_id: str, **outcome: Any) -> None:
        """Replaces what is to happen to the exchange."""
        self.control("POST", f"exchanges/{exchange_id}", {"outcome": outcome})

    def force(self, exchange_id: str, status: str) -> None:
        """Freezes the exchange in a status, any word."""
        self.control("POST", f"exchanges/{exchange_id}", {"status": status})

    def exchanges(self) -> list[dict[str, Any]]:
        """The books, oldest first."""
        found: list[dict[str, Any]] = self.control("GET", "exchanges")
        return found

    def reset(self) -> None:
        """Forgets everything but the chain. Call it before the chain is reverted."""
        self.control("POST", "reset")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.close()
