"""The outside as our HTTP clients meet it: a node and a provider that answer in their wire formats, and misbehave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final

import httpx

from config.simulation.boundaries import Body
from config.simulation.chain import Chain, RefusedCallError
from config.simulation.exchange import Exchange

EXCHANGE_URL: Final = "http://exchange.simulated"
NODE_URL: Final = "http://node.simulated"
FAULTS: Final = ("not reached", "lost on the way", "answer lost", "503", "429", "a page of HTML", "another address")


@dataclass
class World(httpx.BaseTransport):
    """A transport without sockets. With `is_kind` nothing goes wrong."""

    random: Random
    chain: Chain
    exchange: Exchange
    now: Callable[[], datetime]
    fault_rate: float = 0.05
    is_kind: bool = False
    faults: Counter[str] = field(default_factory=Counter)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fault = ""
        if not self.is_kind and self.random.random() < self.fault_rate:
            fault = self.random.choice(FAULTS)
            self.faults[fault] += 1
        if fault == "not reached":
            raise httpx.ConnectError("connection refused", request=request)
        if fault == "lost on the way":
            raise httpx.ReadTimeout("timed out", request=request)
        if fault in {"503", "429"}:
            return _response(int(fault), b"try later", {"retry-after": "7"} if fault == "429" else {})
        if fault == "a page of HTML":
            return _response(200, b"<html>Just a moment...</html>")
        status, answer = self._answer(request)
        if fault == "answer lost":
            raise httpx.ReadTimeout("timed out", request=request)
        if fault == "another address" and isinstance(answer, dict) and "payoutAddress" in answer:
            answer = {**answer, "payoutAddress": answer.get("payinAddress", "")}
        return _response(status, json.dumps(answer).encode())

    def _answer(self, request: httpx.Request) -> tuple[int, Any]:
        if request.url.host == httpx.URL(NODE_URL).host:
            return 200, self._rpc(json.loads(request.content))
        body = json.loads(request.content) if request.content else {}
        answer = self.exchange.answer(request.method, request.url.path, dict(request.url.params), body, self.now())
        if answer is None:
            return 404, {"error": "not_found", "message": "Not found"}
        return 200, answer

    def _rpc(self, asked: dict[str, Any]) -> dict[str, Any]:
        head = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            return {**head, "result": self.chain.answer(asked["method"], asked["params"])}
        except RefusedCallError as error:
            return {**head, "error": {"code": -32000, "message": str(error)}}


def _response(status: int, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=Body(content))
