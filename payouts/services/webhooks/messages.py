"""A webhook as it is sent: a JSON body, made of columns that never change, and its Standard Webhooks signature.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from standardwebhooks import Webhook

from payouts.models import STATUS_AFTER, Accumulation, WebhookDelivery, WebhookEvent

# What others are told of why. The words of operators and of the journal are for the house, and stay in it.
REASONS: dict[str, str] = {
    WebhookEvent.HELD.value: "under_review",
    WebhookEvent.RELEASED.value: "reviewed",
    WebhookEvent.VOIDED.value: "nothing_owed",
    WebhookEvent.RETURNED.value: "not_converted",
}


def body_of(delivery: WebhookDelivery) -> bytes:
    """The same bytes at every try; the `timestamp` is when it happened."""
    return json.dumps(payload_of(delivery), separators=(",", ":")).encode()


def payload_of(delivery: WebhookDelivery) -> dict[str, Any]:
    """What is told, amounts as strings."""
    told = delivery.accumulation
    return {
        "type": delivery.event,
        "timestamp": delivery.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {} if told is None else _data(delivery, told),
    }


def headers_of(delivery: WebhookDelivery, body: bytes, *, secrets: list[str], now: datetime) -> dict[str, str]:
    """The three headers of the scheme, signed now with each of the secrets: a receiver needs one that fits."""
    message_id = delivery.message_id
    # The package takes a moment's own clock for UTC's.
    signed_at = now.astimezone(UTC)
    signatures = [Webhook(secret).sign(message_id, signed_at, body.decode()) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _data(delivery: WebhookDelivery, told: Accumulation) -> dict[str, Any]:
    return {
        "accumulation_id": told.pk,
        "source": told.source,
        "payment_id": told.payment_id,
        "client_id": told.client.external_id,
        "user_id": told.user_id,
        "subscription_id": told.subscription_id,
        "conversion_status": STATUS_AFTER[delivery.event],
        "gross_usd": f"{told.gross_usd:f}",
        "fee_usd": f"{told.fee_usd:f}",
        "pending_usd_amount": f"{told.pending_usd_amount:f}",
        "converted_usdt_amount": _amount(delivery.converted_usdt_amount),
        "batch_conversion_id": None if delivery.batch_id is None else str(delivery.batch_id),
        "reason": REASONS.get(delivery.event, ""),
    }


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
