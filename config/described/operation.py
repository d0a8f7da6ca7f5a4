"""What is said of one operation beside what its view says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Refusal = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An example of the request and of each answer, by its status; and the refusals that are this operation's own.

    Refusals that its form brings along (a key, a body, an id in the address) are added by the document.
    """

    answers: Mapping[int, Any]
    request: Any = None
    refusals: Iterable[Refusal] = field(default=())


def page(*rows: Mapping[str, Any]) -> dict[str, Any]:
    """A list's last page."""
    return {"next": None, "previous": None, "results": list(rows)}


REFUSED: Refusal = (409, "refused")
# Somebody else was first, or the object went another way meanwhile.
MOVED: tuple[Refusal, ...] = ((409, "stale_row"), (409, "illegal_move"))
TOO_MANY: Refusal = (429, "too_many_requests")
TOKEN: tuple[Refusal, ...] = (
    (400, "token_malformed"),
    (401, "token_bad_signature"),
    (401, "token_expired"),
    TOO_MANY,
)
EXAMPLE_TOKEN = {
    "token": "eyJiYXRjaF9jb252ZXJzaW9uX2lkIjoiN2Y5YzI0ZTgifQ:1wXyZa:3q2-7wAbCdEfGhIjKlMnOpQrStUvWxYz0123456789A"
}
WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BATCH_ID = "7f9c24e8-3b12-4fef-91d0-5a1c7f6f0a4e"
HOST_PAYMENT_ID = "b2c1f7de-52a9-4f0e-8a57-0d7c1be0a911"
