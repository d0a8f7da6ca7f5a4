"""`POST /api/v1/accumulations/void/`: a payment is void, whether it came already or not."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib.api import MayOperate, StrictSerializer, caller
from payouts.api.idempotency import KEY_PARAMETER, idempotent_in_parts
from payouts.api.payments import SOURCE
from payouts.models import Accumulation, Scope
from payouts.services import void_payment


class VoidSerializer(StrictSerializer):
    """Which payment, by the id that its source gave it, and why nothing is owed for it."""

    payment_id = serializers.CharField(max_length=128)
    # DRF takes declared fields off the class, so its own attribute of this name is not touched.
    source = serializers.CharField(max_length=32, default="api")  # type: ignore[assignment]
    reason = serializers.CharField(max_length=1000)


class VoidedSerializer(serializers.Serializer[Any]):
    """`accumulation_id` is null while the payment has not come: if it still comes, it is recorded as void."""

    source = serializers.CharField()  # type: ignore[assignment]
    payment_id = serializers.CharField()
    accumulation_id = serializers.IntegerField(allow_null=True)


class MayVoid(MayOperate):
    """Operators' programs, and payment systems for what they sent."""

    message = "The API key lacks the scope ops; with the scope ingest it may void payments of the source api alone."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return super().has_permission(request, view) or _is_senders(request)


class PaymentVoiding(APIView):
    permission_classes = (MayVoid,)

    @extend_schema(
        summary="Declare a payment void",
        request=VoidSerializer,
        responses={200: VoidedSerializer, 202: VoidedSerializer},
        parameters=[KEY_PARAMETER],
    )
    # In parts: the lock on the intake is let go before a payment's row is waited for.
    @idempotent_in_parts
    def post(self, request: Request) -> Response:
        """200 once it is void; 202 before it came; 409 when it is in a batch, whose total it is a part of. For the scope
        ops, or for the scope ingest and the source `api`."""
        asked = VoidSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        if _is_senders(request) and asked.validated_data["source"] != SOURCE:
            raise PermissionDenied(MayVoid.message)
        stands = void_payment(**asked.validated_data, actor=caller(request))
        found = stands if isinstance(stands, Accumulation) else stands.accumulation
        body = {
            "source": stands.source,
            "payment_id": stands.payment_id,
            "accumulation_id": None if found is None else found.pk,
        }
        return Response(body, status=202 if found is None else 200)


def _is_senders(request: Request) -> bool:
    """Whether the key is a payment system's, and no operator's."""
    scopes = getattr(request.auth, "scopes", ())
    return Scope.INGEST in scopes and Scope.OPS not in scopes
