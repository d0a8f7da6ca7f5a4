"""The signed endpoints, described: they are plain views, and this is how they stand in the OpenAPI document.

Nothing here reads a request; `payouts.services.facts` has the rules, and the tests compare the two.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.views import APIView

from payouts.services.bulk import MOST_PAYMENTS

_WORD = r"^[\x21-\x7e]+$"
_AMOUNT = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?$"
_COIN_AMOUNT = r"^(0|[1-9][0-9]{0,29})(\.[0-9]{1,18})?$"
_EXAMPLE = {
    "payment_id": "order-1001",
    "client_id": "demo-bakery",
    "user_id": "7",
    "amount_usd": "4.85",
    "outcome_amount": "0.001616",
    "outcome_currency": "eth",
}
RECORDED_EXAMPLE = {
    "id": 17,
    "payment_id": "order-1001",
    "conversion_status": "pending",
    "gross_usd": "4.85000000",
    "fee_usd": "0.14550000",
    "pending_usd_amount": "4.70450000",
    "hold_reason": "",
}
_REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", str, OpenApiParameter.HEADER, enum=["true"], response=[200], description="Nothing was done."
)
_SIGNED = [
    OpenApiParameter("webhook-id", str, OpenApiParameter.HEADER, required=True, description="One for each delivery."),
    OpenApiParameter(
        "webhook-timestamp", int, OpenApiParameter.HEADER, required=True, description="Seconds since 1970, ± 5 minutes."
    ),
]


def _signed_by(scheme: str) -> Any:
    """OpenAPI's form of it; the library passes it on as it is, though its annotation speaks of names."""
    return [{scheme: []}]


class PaymentSerializer(serializers.Serializer[Any]):
    """One payment. A repeat of the same content changes nothing; other content under the same id is refused."""

    payment_id = serializers.RegexField(_WORD, max_length=128)
    client_id = serializers.RegexField(_WORD, max_length=64)
    user_id = serializers.RegexField(_WORD, max_length=64)
    amount_usd = serializers.RegexField(_AMOUNT, help_text="US dollars, above zero.")
    subscription_id = serializers.RegexField(_WORD, max_length=128, required=False)
    outcome_amount = serializers.RegexField(
        _COIN_AMOUNT, required=False, help_text="What really arrived; together with `outcome_currency` or not at all."
    )
    outcome_currency = serializers.RegexField(r"^[A-Za-z0-9]{2,16}$", required=False)
    paid_at = serializers.DateTimeField(required=False)


class RecordedSerializer(serializers.Serializer[Any]):
    """What stands for a payment."""

    id = serializers.IntegerField()
    payment_id = serializers.CharField()
    conversion_status = serializers.CharField()
    gross_usd = serializers.CharField()
    fee_usd = serializers.CharField()
    pending_usd_amount = serializers.CharField()
    hold_reason = serializers.CharField(allow_blank=True, help_text="Why a person looks at it first; usually empty.")


class BulkSerializer(serializers.Serializer[Any]):
    payments = serializers.ListField(child=PaymentSerializer(), min_length=1, max_length=MOST_PAYMENTS)


class BulkResultSerializer(serializers.Serializer[Any]):
    """What the same payment alone would have been answered with."""

    status = serializers.IntegerField()
    payment = RecordedSerializer(required=False)
    problem = serializers.DictField(required=False, help_text="A problem object.")


class BulkResultsSerializer(serializers.Serializer[Any]):
    recorded = serializers.IntegerField()
    replayed = serializers.IntegerField()
    refused = serializers.IntegerField()
    results = BulkResultSerializer(many=True)


class PaymentDescription(APIView):
    @extend_schema(
        operation_id="payments_create",
        summary="Record one payment",
        description="Signed, see above; `webhook-signature` is the padlock's. 401 without a valid signature, 409 for other content under the same `payment_id`, and for "
        "another payment under the same `webhook-id`, 422 for an "
        "unknown client or an amount of which nothing is left after the fee, 503 while the intake is paused.",
        request=PaymentSerializer,
        responses={
            201: OpenApiResponse(
                RecordedSerializer, "Recorded.", [OpenApiExample("recorded", RECORDED_EXAMPLE, response_only=True)]
            ),
            200: OpenApiResponse(RecordedSerializer, "Recorded before; nothing was done."),
        },
        parameters=[*_SIGNED, _REPLAYED],
        examples=[OpenApiExample("a payment", _EXAMPLE, request_only=True)],
        auth=_signed_by("webhookSignature"),
    )
    def post(self) -> None:
        """Described only."""


class BulkDescription(APIView):
    @extend_schema(
        operation_id="payments_bulk_create",
        summary="Record many payments",
        description="Each is recorded or refused on its own, and the results stand in the order of the request. "
        "The list alone is accepted as well. 409 for another body under a `webhook-id` that was processed before; the same "
        "body again is answered with what stands.",
        request=BulkSerializer,
        responses={200: BulkResultsSerializer},
        parameters=_SIGNED,
        examples=[
            OpenApiExample("two payments", {"payments": [_EXAMPLE, {**_EXAMPLE, "payment_id": "order-1002"}]},
                           request_only=True),
            OpenApiExample(
                "one was known",
                {
                    "recorded": 1,
                    "replayed": 1,
                    "refused": 0,
                    "results": [
                        {"status": 201, "payment": RECORDED_EXAMPLE},
                        {"status": 200, "payment": {**RECORDED_EXAMPLE, "id": 18, "payment_id": "order-1002"}},
                    ],
                },
                response_only=True,
            ),
        ],
        auth=_signed_by("webhookSignature"),
    )  # fmt: skip
    def post(self) -> None:
        """Described only."""


class NotificationDescription(APIView):
    class StoredSerializer(serializers.Serializer[Any]):
        stored = serializers.IntegerField(help_text="The id of the stored notification.")

    @extend_schema(
        operation_id="nowpayments_notification",
        summary="NOWPayments tells of a payment",
        description="Stored and answered at once; what it means is found out afterwards.",
        request=OpenApiTypes.OBJECT,
        responses={200: StoredSerializer},
        auth=_signed_by("nowpaymentsSignature"),
    )
    def post(self) -> None:
        """Described only."""
