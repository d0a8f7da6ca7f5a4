"""What webhook endpoints were told, and every try; sent again, or given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib.api import MayOperate, ReadList, ReadOne, StrictSerializer, caller
from config.lib.filters import Choice, Filters, Moment, Presence, Text, Whole
from payouts.api.idempotency import KEY_PARAMETER, Handler, idempotent
from payouts.api.webhook_messages import EventSerializer
from payouts.models import WebhookAttempt, WebhookDelivery, WebhookEvent
from payouts.services import webhooks


class ReasonSerializer(StrictSerializer):
    reason = serializers.CharField(max_length=1000)


def operation(
    summary: str,
    *,
    answer: Any,
    asked: Any = ReasonSerializer,
    once: Callable[[Handler], Handler] = idempotent,
) -> Callable[[Handler], Handler]:
    """Decorate a view's `post`: said in the API's description, and carried out once for each Idempotency-Key."""
    described = extend_schema(summary=summary, request=asked, responses=answer, parameters=[KEY_PARAMETER])
    return lambda handler: described(once(handler))


class DeliverySerializer(serializers.Serializer[WebhookDelivery]):
    id = serializers.IntegerField()
    message_id = serializers.CharField(help_text="The webhook-id header.")
    endpoint_id = serializers.IntegerField()
    event = serializers.CharField()
    state = serializers.CharField(help_text="waiting, delivered or given_up")
    attempts = serializers.IntegerField()
    accumulation_id = serializers.IntegerField(allow_null=True)
    payment_id = serializers.CharField(source="accumulation.payment_id", allow_null=True, default=None)
    created_at = serializers.DateTimeField(help_text="When it happened.")
    resent_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    given_up_at = serializers.DateTimeField(allow_null=True)


class AttemptSerializer(serializers.Serializer[WebhookAttempt]):
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    outcome = serializers.CharField(help_text="delivered, failed, or unknown while nothing came back")
    status_code = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    error = serializers.CharField()
    response_body = serializers.CharField(help_text="Its beginning.")


class DeliveryDetailSerializer(DeliverySerializer):
    """One event, with what is sent and every try."""

    payload = serializers.SerializerMethodField()
    tries = AttemptSerializer(many=True)

    @extend_schema_field(EventSerializer)
    def get_payload(self, delivery: WebhookDelivery) -> dict[str, Any]:
        return webhooks.payload_of(delivery)


class DeliveryList(ReadList[WebhookDelivery]):
    """Filters: `endpoint`, `event`, `payment_id`, `delivered`, `given_up`, `created_from`, `created_before`."""

    permission_classes = (MayOperate,)
    queryset = WebhookDelivery.objects.select_related("accumulation")
    serializer_class = DeliverySerializer
    filters = Filters(
        endpoint=Whole("endpoint"),
        event=Choice("event", WebhookEvent.values),
        payment_id=Text("accumulation__payment_id"),
        delivered=Presence("delivered_at"),
        given_up=Presence("given_up_at"),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )


class DeliveryDetail(ReadOne[WebhookDelivery]):
    """One event, with its payload and every try to tell it."""

    permission_classes = (MayOperate,)
    queryset = WebhookDelivery.objects.select_related("accumulation__client").prefetch_related("tries")
    serializer_class = DeliveryDetailSerializer


class DeliveryResending(APIView):
    permission_classes = (MayOperate,)

    @operation("Send one event again", answer=DeliverySerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Under the same id, whether it was delivered or given up."""
        given = checked(ReasonSerializer, request)
        return _answered(webhooks.resend_delivery, pk, given, request)


class DeliveryGivingUp(APIView):
    permission_classes = (MayOperate,)

    @operation("Give up an event that waits", answer=DeliverySerializer)
    def post(self, request: Request, pk: int) -> Response:
        """So that those behind it are sent."""
        given = checked(ReasonSerializer, request)
        return _answered(webhooks.give_up_delivery, pk, given, request)


def _answered(service: Callable[..., WebhookDelivery], pk: int, given: dict[str, Any], request: Request) -> Response:
    try:
        delivery = service(delivery_id=pk, **given, actor=caller(request))
    except WebhookDelivery.DoesNotExist:
        raise Http404 from None
    return Response(DeliverySerializer(delivery).data)


def checked(kind: type[StrictSerializer], request: Request) -> dict[str, Any]:
    asked = kind(data=request.data)
    asked.is_valid(raise_exception=True)
    given: dict[str, Any] = asked.validated_data
    return given
