"""`POST /api/v1/hostpay/payment-completed/`: somebody says that a payment's transaction is through."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from hostpay.api.tokens import TokenSerializer, TokenView, look_soon
from hostpay.services.handovers import hear_report
from hostpay.tokens import read_swap_executed


class HeardSerializer(serializers.Serializer[Any]):
    """The payment that was heard of."""

    host_payment_id = serializers.UUIDField()
    status = serializers.CharField()


class PaymentCompleted(TokenView):
    """A hint: the payment is looked at now instead of later. 202, or 200 and a header for a replayed token."""

    @extend_schema(request=TokenSerializer, responses={202: HeardSerializer, 200: HeardSerializer})
    def post(self, request: Request) -> Response:
        heard = hear_report(claims=self.claims(request, read_swap_executed))
        body = {"host_payment_id": str(heard.payment.pk), "status": heard.payment.status}
        if not heard.is_new:
            return Response(body, headers={"Idempotent-Replayed": "true"})
        look_soon(heard.payment)
        return Response(body, status=202)
