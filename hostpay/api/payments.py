"""Host payments: requested by a signed token, read by an API key."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.lib import audit
from config.lib.api import NewestByTime, ReadList, ReadOne
from config.lib.filters import Choice, Filters, Moment, Text
from hostpay.api.tokens import TokenSerializer, TokenView, look_soon
from hostpay.models import Context, HostPayment, PaymentStatus
from hostpay.services.handovers import accept_request
from hostpay.tokens import read_payment_request

ACTOR = audit.api("request token")


class HostPaymentSerializer(serializers.Serializer[HostPayment]):
    id = serializers.UUIDField()
    # DRF takes declared fields off the class, so its own attribute of this name is not touched.
    context = serializers.CharField()  # type: ignore[assignment]
    reference = serializers.CharField()
    status = serializers.CharField()
    asset = serializers.CharField()
    amount_units = serializers.DecimalField(max_digits=78, decimal_places=0)
    unpriced_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    priced_units = serializers.DecimalField(allow_null=True, max_digits=78, decimal_places=0)
    expected_usd = serializers.DecimalField(allow_null=True, max_digits=20, decimal_places=8)
    to_asset = serializers.CharField()
    payout_address = serializers.CharField()
    received_units = serializers.DecimalField(allow_null=True, max_digits=78, decimal_places=0)
    failure_reason = serializers.CharField()
    waiting_reason = serializers.CharField()
    waiting_since = serializers.DateTimeField(allow_null=True)
    unknown_reason = serializers.CharField()
    unknown_since = serializers.DateTimeField(allow_null=True)
    review_reason = serializers.CharField()
    review_since = serializers.DateTimeField(allow_null=True)
    attempts = serializers.IntegerField()
    next_action_at = serializers.DateTimeField(allow_null=True)
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(allow_null=True)


class PaymentReadList(ReadList[HostPayment]):
    """Filters: `status`, `context`, `reference`, `created_from`, `created_before`."""

    queryset = HostPayment.objects.all()
    serializer_class = HostPaymentSerializer
    pagination_class = NewestByTime
    filters = Filters(
        status=Choice("status", PaymentStatus.values),
        context=Choice("context", Context.values),
        reference=Text("reference"),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )


class PaymentDetail(ReadOne[HostPayment]):
    """One host payment."""

    queryset = HostPayment.objects.all()
    serializer_class = HostPaymentSerializer


class RequestedSerializer(serializers.Serializer[Any]):
    """The payment that stands for the request."""

    id = serializers.UUIDField()
    context = serializers.CharField()  # type: ignore[assignment]
    reference = serializers.CharField()
    status = serializers.CharField()


class PaymentRequest(TokenView):
    """Request a payment of an order placed at the exchange. 201, or 200 and a header when it was requested before."""

    @extend_schema(request=TokenSerializer, responses={201: RequestedSerializer, 200: RequestedSerializer})
    def post(self, request: Request) -> Response:
        handed = accept_request(claims=self.claims(request, read_payment_request), actor=ACTOR)
        payment = handed.payment
        body = {
            "id": str(payment.pk),
            "context": payment.context,
            "reference": payment.reference,
            "status": payment.status,
        }
        if not handed.is_new:
            return Response(body, headers={"Idempotent-Replayed": "true"})
        look_soon(payment)
        return Response(body, status=201)
