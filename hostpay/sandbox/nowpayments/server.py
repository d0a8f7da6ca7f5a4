"""The HTTP side: the provider's two calls, and the control API."""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.numbers import dumps
from hostpay.sandbox.nowpayments.books import BadRequestError, Books, Payment, UnknownPaymentError
from hostpay.sandbox.nowpayments.deliveries import Notifier

MAX_BODY_BYTES = 64 * 1024
_PAYMENT = re.compile(r"/v1/payment/([0-9]{1,15})")
_CONTROLLED = re.compile(r"/control/payments/([0-9]{1,15})(/deposit|/resend)?")
# Notifications alone tell the fee and the parent; answers have times as text.
_NOT_ANSWERED = ("fee", "parent_payment_id", "actually_paid_at_fiat")
_UNAUTHORIZED = (403, {"statusCode": 403, "code": "INVALID_API_KEY", "message": "Invalid api key"})
_NOT_FOUND = (404, {"statusCode": 404, "code": "NOT_FOUND", "message": "Not found"})

Answer = tuple[int, Any]


class Server(ThreadingHTTPServer):
    """Serves on 127.0.0.1. The API key is the control API's token too."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, *, books: Books, notifier: Notifier, api_key: str) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.stopping = threading.Event()
        self._books = books
        self._notifier = notifier
        self._api_key = api_key

    def answer(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Status and content for one request."""
        if path == "/v1/status":
            return 200, {"message": "OK"}
        given = headers.get("x-api-key") or headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._api_key.encode()):
            return _UNAUTHORIZED
        try:
            return self._route(method, path, _object(body))
        except UnknownPaymentError:
            return 404, {"statusCode": 404, "code": "NOT_FOUND", "message": "Payment not found"}
        except (BadRequestError, ArithmeticError, ValueError) as error:
            return 400, {"statusCode": 400, "code": "BAD_REQUEST", "message": str(error)}

    def _route(self, method: str, path: str, content: dict[str, Any]) -> Answer:
        if (method, path) == ("POST", "/v1/payment"):
            created = _shown(self._books.create(content))
            # In the answer to a creation the number is text.
            return 201, {**created, "payment_id": str(created["payment_id"])}
        if method == "GET" and (found := _PAYMENT.fullmatch(path)):
            return 200, _shown(self._books.payment(int(found[1])))
        if path == "/control/settings":
            self._books.settings.change(content)
            return 200, self._books.settings.as_json()
        if path == "/control/deliveries":
            return 200, list(self._notifier.deliveries)
        if method == "POST" and (found := _CONTROLLED.fullmatch(path)):
            return 200, _shown(self._control(self._books.payment(int(found[1])), found[2] or "", content))
        return _NOT_FOUND

    def _control(self, payment: Payment, action: str, content: dict[str, Any]) -> Payment:
        if action == "/deposit":
            return self._books.deposit(payment.fields["payment_id"], Decimal(str(content.get("amount"))))
        is_told = content.pop("notify", True)
        if not action:
            payment.ahead.clear()
            self._books.change(payment, content)
        if is_told:
            self._notifier.tell(payment)
        return payment


class _Connection(BaseHTTPRequestHandler):
    server: Server
    server_version = "sandbox"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it)
        """The base class's lines are not wanted; `_serve` writes ours."""

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        readable = length.isdecimal() and int(length) <= MAX_BODY_BYTES
        body = self.rfile.read(int(length)) if readable else b""
        path = self.path.partition("?")[0].rstrip("/")
        headers = {name: self.headers.get(name, "") for name in ("x-api-key", "Authorization")}
        status, content = self.server.answer(self.command, path, body, headers)
        log("request", method=self.command, path=path, status=status)
        text = dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _object(body: bytes) -> dict[str, Any]:
    content = json.loads(body or b"{}", parse_float=Decimal)
    if not isinstance(content, dict):
        raise BadRequestError("the body is no object")
    return content


def _shown(payment: Payment) -> dict[str, Any]:
    """A payment as an answer shows it."""
    shown = {name: value for name, value in payment.fields.items() if name not in _NOT_ANSWERED}
    for name in ("created_at", "updated_at"):
        shown[name] = _iso(shown[name])
    return shown


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
