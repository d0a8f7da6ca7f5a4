"""`POST /api/v1/batches/swap-executed/`: a host payment service that runs apart says that a batch's swap is done."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from batches.models import BatchConversion
from hostpay.api.tokens import TokenSerializer, TokenView, look_soon
from hostpay.services.handovers import hear_report
from hostpay.tokens import read_swap_executed


class HeardOfBatchSerializer(serializers.Serializer[Any]):
    """The batch that was heard of, and its payment."""

    batch_id = serializers.UUIDField()
    status = serializers.CharField()
    host_payment_id = serializers.UUIDField()


class SwapExecuted(TokenView):
    """A hint: what it says is read again from provider and chain. 202, or 200 and a header for a replayed token."""

    @extend_schema(request=TokenSerializer, responses={202: HeardOfBatchSerializer, 200: HeardOfBatchSerializer})
    def post(self, request: Request) -> Response:
        claims = self.claims(request, read_swap_executed)
        batch = _batch(claims.batch_conversion_id)
        heard = hear_report(claims=claims)
        body = {"batch_id": str(batch.pk), "status": batch.status, "host_payment_id": str(heard.payment.pk)}
        if not heard.is_new:
            return Response(body, headers={"Idempotent-Replayed": "true"})
        look_soon(heard.payment)
        return Response(body, status=202)


def _batch(reference: str) -> BatchConversion:
    try:
        return BatchConversion.objects.get(pk=UUID(reference))
    except (ValueError, BatchConversion.DoesNotExist):
        raise Http404 from None
