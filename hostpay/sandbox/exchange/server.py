"""The HTTP side: connections, keys, the routing table, and the faults that are in force."""

import hmac
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hostpay.sandbox.exchange import faults
from hostpay.sandbox.exchange.actions import Actions
from hostpay.sandbox.exchange.api import Api
from hostpay.sandbox.exchange.control import Control
from hostpay.sandbox.exchange.errors import ApiError
from hostpay.sandbox.exchange.faults import BEFORE, SILENT, Fault, Rule
from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.numbers import Json, dumps
from hostpay.sandbox.exchange.requests import Request
from hostpay.sandbox.exchange.store import Store
from hostpay.sandbox.rpc import NodeAwayError, NodeError

MAX_BODY_BYTES = 64 * 1024
IDLE_TIME_LIMIT_S = 60
LOOPBACK = frozenset({"127.0.0.1", "::1"})
BY_REQUEST_ONLY = frozenset({"/v2/exchange/range", "/v2/exchange/estimated-amount"})
NO_KEY_NEEDED = frozenset({"/v2/exchange/currencies", "/healthz"})

Handler = Callable[[Request], Json]


class _NoAnswerError(Exception):
    """The connection is to be closed without a word."""


class Server(ThreadingHTTPServer):
    """Serves the API on 127.0.0.1. `keys` are the callers' API keys, `token` the operator's."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, port: int, *, api: Api, actions: Actions, control: Control, store: Store, keys: list[str], token: str
    ) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.api = api
        self.store = store
        self.stopping = threading.Event()
        self._keys = keys
        self._token = token
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/healthz"): lambda _request: {"ok": True},
            ("GET", "/v2/exchange/by-id"): api.by_id,
            ("GET", "/v2/exchange/estimated-amount"): api.estimated_amount,
            ("GET", "/v2/exchange/min-amount"): api.min_amount,
            ("GET", "/v2/exchange/range"): api.range,
            ("GET", "/v2/exchange/currencies"): api.currencies,
            ("GET", "/v2/validate/address"): api.validate_address,
            ("GET", "/v2/exchanges"): api.list,
            ("GET", "/v2/exchange/actions"): actions.offer,
            ("POST", "/v2/exchange/continue"): actions.proceed,
            ("POST", "/v2/exchange/refund"): actions.refund,
        }
        self._control_routes: dict[tuple[str, str], Handler] = {
            ("POST", "/control/faults"): control.add_faults,
            ("GET", "/control/faults"): control.faults,
            ("DELETE", "/control/faults"): control.clear_faults,
            ("GET", "/control/exchanges"): control.exchanges,
            ("POST", "/control/exchanges/"): control.change_exchange,
            ("GET", "/control/settings"): control.settings,
            ("POST", "/control/settings"): control.change_settings,
            ("POST", "/control/reset"): control.reset,
        }

    def answer(self, request: Request, rule: Rule | None) -> Json:
        """Raises ApiError, NodeError, NodeAwayError."""
        if request.path.startswith("/control/"):
            return self._control(request)
        if (request.method, request.path) == ("POST", "/v2/exchange"):
            self._check_key(request)
            return self.api.create(request, rule.outcome if rule else {})
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            raise ApiError(404, "page_not_found", "Page not found")
        self._check_key(request)
        return handler(request)

    def owner_of(self, key: str | None) -> str | None:
        """A fingerprint of the key if it is one of ours; it is what the books keep instead of the key."""
        found = [known for known in self._keys if key is not None and hmac.compare_digest(known.encode(), key.encode())]
        return sha256(found[0].encode()).hexdigest()[:16] if found else None

    def is_operator(self, authorization: str | None, peer: str) -> bool:
        given = (authorization or "").removeprefix("Bearer ")
        return peer in LOOPBACK and hmac.compare_digest(given.encode(), self._token.encode())

    def _control(self, request: Request) -> Json:
        if not request.is_operator:
            raise ApiError(403, "forbidden", "The control token is wrong, or the caller is not on this machine")
        folder = request.path[: request.path.rindex("/") + 1]
        routes = self._control_routes
        handler = routes.get((request.method, request.path)) or routes.get((request.method, folder))
        if handler is None:
            raise ApiError(404, "page_not_found", "Page not found")
        return handler(request)

    def _check_key(self, request: Request) -> None:
        if request.path in NO_KEY_NEEDED:
            return
        if request.owner is None:
            raise ApiError(401, "invalid_api_key", "Invalid api key")
        settings = self.api.settings()
        if request.path == "/v2/exchanges" and not settings.key_is_private:
            raise ApiError(403, "invalid_api_key", "Use private key for this endpoint")
        if request.path in BY_REQUEST_ONLY and not settings.special_access:
            raise ApiError(403, "forbidden", "Access upon dedicated request to partners@changenow.io")


class _Connection(BaseHTTPRequestHandler):
    """One connection, kept alive over requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "sandbox"
    sys_version = ""
    timeout = IDLE_TIME_LIMIT_S
    # An answer goes out in two writes; without this the second waits for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
        """The base class's lines are not wanted; `_serve` writes ours."""

    def _serve(self) -> None:
        started = time.monotonic_ns()
        request = self._read()
        rule = None if request.path.startswith("/control/") else self._rule(request)
        try:
            status, text, headers = self._respond(request, rule)
        except _NoAnswerError:
            self.close_connection = True
            status = 0
        else:
            self._write(status, text, headers)
        log(
            "request",
            method=request.method,
            path=request.path,
            status=status,
            ms=(time.monotonic_ns() - started) // 1_000_000,
            fault=rule.fault if rule else None,
        )

    def _read(self) -> Request:
        address = urlsplit(self.path)
        length = self.headers.get("Content-Length", "0")
        body = b""
        if length.isdecimal() and int(length) <= MAX_BODY_BYTES:
            body = self.rfile.read(int(length))
        else:
            self.close_connection = True
        return Request(
            method=self.command,
            path=address.path.rstrip("/"),
            query=dict(parse_qsl(address.query)),
            body=body,
            owner=self.server.owner_of(self.headers.get("x-changenow-api-key")),
            is_operator=self.server.is_operator(self.headers.get("Authorization"), self.client_address[0]),
        )

    def _rule(self, request: Request) -> Rule | None:
        return faults.applying(self.server.store, request.method, request.path)

    def _respond(self, request: Request, rule: Rule | None) -> tuple[int, str, dict[str, str]]:
        fault = rule.fault if rule else None
        if rule is not None:
            if fault is Fault.DELAY or fault is Fault.TIMEOUT_BEFORE:
                self._wait(rule)
            if fault in BEFORE and fault not in SILENT:
                return rule.refusal()
            if fault in BEFORE:
                raise _NoAnswerError
        status, body = self._api_answer(request, rule)
        if fault is Fault.TIMEOUT_AFTER and rule is not None:
            self._wait(rule)
        if fault in SILENT:
            raise _NoAnswerError
        return status, rule.spoil(body) if rule and status == 200 else dumps(body), {}

    def _api_answer(self, request: Request, rule: Rule | None) -> tuple[int, Json]:
        try:
            return 200, self.server.answer(request, rule)
        except ApiError as error:
            return error.status, error.body()
        except (NodeError, NodeAwayError) as error:
            log("chain_trouble", why=str(error))
            return 503, {"error": "service_unavailable", "message": "Try again later"}

    def _wait(self, rule: Rule) -> None:
        seconds = rule.seconds if rule.seconds is not None else self.server.api.settings().hold_s
        self.server.stopping.wait(int(seconds * 1000) / 1000)

    def _write(self, status: int, text: str, headers: dict[str, str]) -> None:
        body = text.encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            # The caller has gone; that is its right.
            self.close_connection = True
