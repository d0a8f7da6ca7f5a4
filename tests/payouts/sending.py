"""A payment system as the tests need one: it signs by Standard Webhooks and posts through Django's client."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any

from django.conf import settings
from django.test import Client as Browser

from payouts.models import Client

URL = "/api/v1/payments/"
WALLET = "0x00000000000000000000000000000000000000C1"


def client(external_id: str = "client-1", **columns: Any) -> Client:
    return Client.objects.create(
        **{"external_id": external_id, "wallet_address": WALLET, "payout_threshold_usd": 100, **columns}
    )


def payment(**changes: Any) -> dict[str, Any]:
    """A payment that is recorded; a field set to None is left out."""
    fields = {
        "payment_id": "payment-1",
        "client_id": "client-1",
        "user_id": "user-1",
        "amount_usd": "25.50",
        "outcome_amount": "0.01",
        "outcome_currency": "eth",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def signed_headers(
    body: bytes, *, event_id: str | None = None, secret: str | None = None, at: float | None = None
) -> dict[str, str]:
    """By the scheme's own text: base64 of the HMAC of `id.timestamp.body`; without an id, one that no other has."""
    event_id = f"event-{uuid.uuid4().hex}" if event_id is None else event_id
    moment = str(int(time.time() if at is None else at))
    key = base64.b64decode((secret or settings.INGEST_SIGNING_SECRETS[0]).removeprefix("whsec_"))
    mac = hmac.new(key, f"{event_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def send(content: Any, **signing: Any) -> Any:
    """Post `content` (bytes as they are, anything else as JSON), properly signed."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return post(body, signed_headers(body, **signing))


def post(body: bytes, headers: dict[str, str], *, content_type: str = "application/json") -> Any:
    return Browser().post(URL, body, content_type=content_type, headers=headers)
