"""The one answer of the exchange that a threshold check needs, over real HTTP."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class ExchangeRange:
    """A provider that answers one question: how much it takes at once. Amounts are texts of ETH."""

    def __init__(self) -> None:
        self.asked = 0
        self.minimum = "0.000001"
        self.maximum: str | None = None
        self.is_down = False
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = outer.body()
                self.send_response(503 if outer.is_down else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                """Quiet: a test's output is the test's."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> ExchangeRange:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def body(self) -> bytes:
        # Amounts as JSON numbers, as the provider writes them.
        answer = {
            "fromCurrency": "eth",
            "fromNetwork": "eth",
            "toCurrency": "usdt",
            "toNetwork": "eth",
            "flow": "standard",
            "minAmount": "MINIMUM",
            "maxAmount": "MAXIMUM",
        }
        text = json.dumps(answer).replace('"MINIMUM"', self.minimum).replace('"MAXIMUM"', self.maximum or "null")
        return text.encode()
