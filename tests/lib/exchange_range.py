"""The two answers of the exchange that a threshold check needs, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


class ExchangeRange:
    """A provider that says how much it takes at once, and what dollars bring. Amounts are texts of ETH."""

    def __init__(self) -> None:
        self.asked = 0
        self.minimum = "0.000001"
        self.maximum: str | None = None
        self.is_down = False
        self.priced = 0
        self.eth_per_usd = Decimal("0.0005")
        self.has_no_price = False
        self.before_answering: Callable[[], object] = lambda: None
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_price = "estimated-amount" in self.path
                outer.before_answering()
                if is_price:
                    outer.priced += 1
                else:
                    outer.asked += 1
                body = outer.price(self.path) if is_price else outer.body()
                self.send_response(503 if outer.is_down or (is_price and outer.has_no_price) else 200)
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

    def price(self, path: str) -> bytes:
        """The answer to an estimate, by `eth_per_usd`."""
        (usd,) = parse_qs(urlsplit(path).query)["fromAmount"]
        answer = {
            "fromCurrency": "usdt",
            "fromNetwork": "eth",
            "toCurrency": "eth",
            "toNetwork": "eth",
            "flow": "standard",
            "type": "direct",
            "fromAmount": "SOLD",
            "toAmount": "BOUGHT",
        }
        bought = f"{Decimal(usd) * self.eth_per_usd:.18f}"
        return json.dumps(answer).replace('"SOLD"', usd).replace('"BOUGHT"', bought).encode()
