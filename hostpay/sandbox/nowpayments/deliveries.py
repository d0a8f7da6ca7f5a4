"""Notifications: signed as the provider's JavaScript signs, sent in the order, number and haste that are set."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping
from typing import Any

from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.numbers import dumps
from hostpay.sandbox.nowpayments.books import ENDED, Books, Payment

_TRIES, _BETWEEN_TRIES_S, _TIME_LIMIT_S = 4, 1, 3
_TICK_S = 0.05
_REMEMBERED = 1000
# Notifications name no time of creation; answers do.
_NOT_NOTIFIED = ("created_at",)


def signed(content: Mapping[str, Any], secret: str) -> tuple[bytes, str]:
    """The body with its keys sorted at every depth, and its signature."""
    body = dumps(_sorted(content)).encode()
    return body, hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()


class Notifier:
    """Steps payments and sends what they have to tell, from a thread of its own."""

    def __init__(self, books: Books, *, secret: str) -> None:
        self._books = books
        self._secret = secret
        # The latest; a stack can run for weeks.
        self.deliveries: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    def run(self, stopping: threading.Event) -> None:
        """Until `stopping` is set."""
        while not stopping.wait(_TICK_S):
            for payment in self._books.due():
                self._books.go_on(payment)
                self.tell(payment)

    def tell(self, payment: Payment) -> None:
        """Notify the payment's present state, as the settings say."""
        content = {name: value for name, value in payment.fields.items() if name not in _NOT_NOTIFIED}
        settings = self._books.settings
        if settings.lose:
            return
        with self._books.lock:
            payment.notified.append(content)
            reorder = settings.reorder or payment.manner.reorder
            if reorder and content["payment_status"] not in ENDED:
                return
            told, payment.notified = payment.notified[::-1], []
        each = [one for one in told for _ in range(1 + settings.duplicates + payment.manner.duplicates)]
        url, delay_s = payment.callback_url or self._books.webhook, int(settings.delay_s * 1000) / 1000
        threading.Thread(target=self._send_all, args=(url, each, delay_s), daemon=True).start()

    def _send_all(self, url: str, contents: list[dict[str, Any]], delay_s: float) -> None:
        time.sleep(delay_s)
        for content in contents:
            for _ in range(_TRIES):
                if self._send(url, content) == 200:
                    break
                time.sleep(_BETWEEN_TRIES_S)

    def _send(self, url: str, content: dict[str, Any]) -> int | None:
        body, signature = signed(content, self._secret)
        headers = {"Content-Type": "application/json", "x-nowpayments-sig": signature}
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 (an address of the sandbox's own)
        status = None
        try:
            with urllib.request.urlopen(request, timeout=_TIME_LIMIT_S) as answer:  # noqa: S310 (see above)
                status = int(answer.status)
        except urllib.error.HTTPError as refusal:
            status = refusal.code
        except OSError:
            status = None
        told = {"payment_id": content["payment_id"], "payment_status": content["payment_status"], "answered": status}
        self.deliveries.append(told)
        log("notified", payment=told["payment_id"], status=told["payment_status"], answered=status)
        return status


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
