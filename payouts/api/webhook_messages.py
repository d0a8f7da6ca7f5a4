"""What we send to webhook endpoints, described for the OpenAPI document: receivers are written against this."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse, OpenApiWebhook, extend_schema
from rest_framework import serializers

from payouts.models import SUBSCRIBABLE, AccumulationStatus, WebhookEvent
from payouts.services import webhooks


class EventDataSerializer(serializers.Serializer[Any]):
    """The payment, as it was when it happened; empty in an `endpoint.test`."""

    accumulation_id = serializers.IntegerField(required=False)
    source = serializers.CharField(required=False)  # type: ignore[assignment] # DRF takes fields off the class
    payment_id = serializers.CharField(required=False)
    client_id = serializers.CharField(required=False)
    user_id = serializers.CharField(required=False)
    subscription_id = serializers.CharField(required=False)
    conversion_status = serializers.ChoiceField(AccumulationStatus.values, required=False)
    gross_usd = serializers.CharField(required=False)
    fee_usd = serializers.CharField(required=False)
    pending_usd_amount = serializers.CharField(required=False)
    converted_usdt_amount = serializers.CharField(required=False, allow_null=True, help_text="Of payment.converted.")
    batch_conversion_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="Of payment.batched, payment.converted and payment.returned."
    )
    reason = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text=f"A code: {', '.join(webhooks.REASONS.values())}, or empty; there may be more one day.",
    )


class EventSerializer(serializers.Serializer[Any]):
    """What is posted."""

    type = serializers.ChoiceField(WebhookEvent.values)
    timestamp = serializers.DateTimeField(help_text="When it happened.")
    # DRF takes declared fields off the class, so its own attribute of this name is not touched.
    data = EventDataSerializer()  # type: ignore[assignment]


EVENT = OpenApiWebhook(
    name="event",
    decorator=extend_schema(
        summary="What happened to a payment",
        description="Sent to every enabled endpoint that asks for its type, at least once, and for each endpoint in "
        "order. Types: "
        + "; ".join(f"`{event.value}`: {event.label}" for event in WebhookEvent if event.value in SUBSCRIBABLE)
        + f"; and `{WebhookEvent.TEST.value}`, when somebody asks for one. Signed as Standard Webhooks say: the header "
        "`webhook-signature` holds one `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body` for each secret "
        "in force, with spaces between; `webhook-id` is the same at every try.",
        request=EventSerializer,
        responses={
            200: OpenApiResponse(
                description="Taken, like every status from 200 to 299. 410 disables the endpoint; all else, and no "
                "answer within ten seconds, leads to another try, for three days."
            )
        },
    ),
)
