"""NOWPayments' REST API: the one call we need, since notifications are finite in number and can be lost.

Source of path, header and form of errors: the provider's published API documentation.
"""

from __future__ import annotations

import re
from typing import Final

from config.lib.errors import PermanentError, TransientError
from config.lib.exact_json import InexactJsonError, loads_exact
from config.lib.http import HttpAnswer, HttpClient

_PAYMENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_REASON: Final = 200


class PaymentNotFoundError(PermanentError):
    """NOWPayments has no payment with this id, or not under our key."""

    code = "payment_not_found"


class NowPayments:
    """A client with one account's API key: the one that the payments were created with."""

    def __init__(self, *, base_url: str, api_key: str, timeout_s: int) -> None:
        self._http = HttpClient(
            service="nowpayments", base_url=base_url, timeout_s=timeout_s, secret_headers={"x-api-key": api_key}
        )

    def payment(self, payment_id: str) -> bytes:
        """The answer to `GET /v1/payment/{id}` as it came: JSON, to be stored before it is read.

        Raises:
            PaymentNotFoundError: there is none.
            TransientError: not reached, no answer in time, too many requests, or no JSON.
            PermanentError: refused.
        """
        if not _PAYMENT_ID.fullmatch(payment_id):
            raise PaymentNotFoundError("NOWPayments numbers its payments; this is no such id.")
        asked = f"payment {payment_id} of nowpayments"
        answer = self._http.get(f"/v1/payment/{payment_id}")
        if answer.status == 404:
            raise PaymentNotFoundError(f"{asked}: there is none")
        if answer.status != 200:
            raise PermanentError(f"{asked}: refused with HTTP {answer.status} {self._reason(answer)}".rstrip())
        try:
            loads_exact(answer.body)
        except InexactJsonError as error:
            raise TransientError(f"{asked}: the answer is unreadable ({error})") from None
        # It is kept as it came; should it quote our key back, without that.
        return self._http.masked(answer.body.decode()).encode()

    def _reason(self, answer: HttpAnswer) -> str:
        """The provider's words, `{"statusCode": 400, "code": "BAD_REQUEST", "message": ...}`, without our key."""
        try:
            content = loads_exact(answer.body)
        except InexactJsonError:
            return ""
        if not isinstance(content, dict):
            return ""
        said = " ".join(str(content[name]) for name in ("code", "message") if isinstance(content.get(name), str))
        printable = "".join(character if character.isprintable() else " " for character in said)
        return self._http.masked(printable)[:_LONGEST_REASON]
