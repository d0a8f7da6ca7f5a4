"""A node between us and the real chain, which loses requests, loses answers, or says something else."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import httpx

Fault = Literal["lose_request", "lose_answer", "say"]


@dataclass(kw_only=True)
class _Rule:
    fault: Fault
    method: str
    times: int
    answer: dict[str, Any] = field(default_factory=dict)


class FaultyNode:
    """Passes everything on to `rpc_url`, but for what a test rules. Use it in a `with`."""

    def __init__(self, rpc_url: str) -> None:
        self.asked: list[tuple[str, list[Any]]] = []
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._http = httpx.Client(base_url=rpc_url, trust_env=False, timeout=30)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
                """Nothing: pytest shows what failed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def lose_request(self, method: str, *, times: int = 1) -> None:
        """The chain never hears of it; the caller's connection breaks."""
        self._rules.append(_Rule(fault="lose_request", method=method, times=times))

    def lose_answer(self, method: str, *, times: int = 1) -> None:
        """The chain does it; the caller's connection breaks."""
        self._rules.append(_Rule(fault="lose_answer", method=method, times=times))

    def say(self, method: str, *, times: int = 1, **answer: Any) -> None:
        """`result=...` or `error=...` instead of the chain's own answer."""
        self._rules.append(_Rule(fault="say", method=method, times=times, answer=answer))

    def count(self, method: str) -> int:
        return len([asked for asked, _ in self.asked if asked == method])

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        call = json.loads(body)
        self.asked.append((call["method"], call["params"]))
        rule = self._rule_for(call["method"])
        if rule is not None and rule.fault == "lose_request":
            handler.close_connection = True
            return
        if rule is not None and rule.fault == "say":
            content = json.dumps({"jsonrpc": "2.0", "id": call["id"], **rule.answer}).encode()
        else:
            content = self._http.post("", content=body, headers={"content-type": "application/json"}).content
        if rule is not None and rule.fault == "lose_answer":
            handler.close_connection = True
            return
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _rule_for(self, method: str) -> _Rule | None:
        with self._lock:
            rule = next((each for each in self._rules if each.method == method and each.times), None)
            if rule is not None:
                rule.times -= 1
            return rule

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._http.close()
