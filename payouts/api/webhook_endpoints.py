"""Webhook endpoints, for keys with the scope ops: addresses often carry a secret of their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib.api import MayOperate, ReadList, ReadOne, StrictSerializer, caller
from config.lib.filters import Choice, Filters, Text
from config.lib.problems import FieldError, InvalidFieldsError
from payouts.api.idempotency import KEY_PARAMETER, idempotent_after, idempotent_in_parts
from payouts.api.secret_answers import SecretAnswer
from payouts.api.webhook_deliveries import DeliverySerializer, ReasonSerializer, checked, operation
from payouts.models import SUBSCRIBABLE, Client, EndpointStatus, WebhookEndpoint
from payouts.services import webhooks
from payouts.services.webhooks.endpoints import LONGEST_OVERLAP, OVERLAP

_HOUR_S = 3600


class EndpointSerializer(serializers.Serializer[WebhookEndpoint]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.CharField())
    client_id = serializers.CharField(source="client.external_id", allow_null=True, default=None)
    status = serializers.CharField(help_text="enabled or disabled")
    disabled_reason = serializers.CharField()
    secret_made_at = serializers.DateTimeField()
    old_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="Until then the secret before the present one signs as well."
    )
    failures = serializers.IntegerField(help_text="Tries in a row that failed.")
    failing_since = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    last_success_at = serializers.DateTimeField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(help_text="Nothing is sent before.")
    created_at = serializers.DateTimeField()


class SecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="whsec_...; shown to this request alone.")


class NewEndpointAnswerSerializer(EndpointSerializer):
    """The endpoint, and its secret."""

    secret = serializers.CharField(help_text="whsec_...; shown to this request alone.")


class NewEndpointSerializer(StrictSerializer):
    name = serializers.CharField(max_length=80)
    url = serializers.CharField(
        max_length=500, help_text="https, at port 443 or 8443; not of a private network, and not redirecting."
    )
    events = serializers.ListField(child=serializers.ChoiceField(SUBSCRIBABLE), min_length=1, max_length=50)
    client_id = serializers.CharField(
        max_length=64, required=False, allow_null=True, help_text="Only payments of this client; without it of all."
    )


class EndpointChangesSerializer(StrictSerializer):
    name = serializers.CharField(max_length=80, required=False)
    url = serializers.CharField(max_length=500, required=False)
    events = serializers.ListField(
        child=serializers.ChoiceField(SUBSCRIBABLE), required=False, min_length=1, max_length=50
    )
    reason = serializers.CharField(max_length=1000)


class RotationSerializer(ReasonSerializer):
    overlap_hours = serializers.IntegerField(
        min_value=0,
        max_value=int(LONGEST_OVERLAP.total_seconds()) // _HOUR_S,
        default=int(OVERLAP.total_seconds()) // _HOUR_S,
        help_text="So long the secret before signs as well; 0 ends it at once.",
    )


class ResendFailedSerializer(ReasonSerializer):
    since = serializers.DateTimeField(help_text="What happened before is left alone.")


class CountSerializer(serializers.Serializer[Any]):
    events = serializers.IntegerField(help_text="How many will be sent again.")


class EndpointList(ReadList[WebhookEndpoint]):
    """Filters: `status`, `client` (its external id)."""

    permission_classes = (MayOperate,)
    queryset = WebhookEndpoint.objects.select_related("client")
    serializer_class = EndpointSerializer
    filters = Filters(status=Choice("status", EndpointStatus.values), client=Text("client__external_id"))


class EndpointDetail(ReadOne[WebhookEndpoint]):
    """One endpoint."""

    permission_classes = (MayOperate,)
    queryset = WebhookEndpoint.objects.select_related("client")
    serializer_class = EndpointSerializer


def _look_up_new(_view: Any, request: Request) -> None:
    given = checked(NewEndpointSerializer, request)
    # All that is wrong at once, before anybody is asked.
    webhooks.check_endpoint({name: given[name] for name in ("name", "url", "events")})
    webhooks.look_up_address(given["url"])


class EndpointCreation(APIView):
    permission_classes = (MayOperate,)

    @extend_schema(
        summary="Make a webhook endpoint",
        request=NewEndpointSerializer,
        responses={201: NewEndpointAnswerSerializer},
        parameters=[KEY_PARAMETER],
        examples=[
            OpenApiExample(
                "a shop that wants to know what becomes of its payments",
                {
                    "name": "shop",
                    "url": "https://shop.example.com/hooks/sluice",
                    "events": ["payment.batched", "payment.converted", "payment.held"],
                },
                request_only=True,
            )
        ],
    )
    @idempotent_after(_look_up_new)
    def post(self, request: Request) -> Response:
        """Answers with the secret, and again under the same Idempotency-Key; no other request shows it. 409
        `endpoint_exists` if an enabled one has the address, `too_many_endpoints` if five are told of all clients'
        payments already."""
        given = checked(NewEndpointSerializer, request)
        client = _client(given.pop("client_id", None))
        endpoint, _ = webhooks.create_endpoint(**given, client=client, actor=caller(request))
        return _with_secret(EndpointSerializer(endpoint).data, endpoint)


class EndpointChange(APIView):
    permission_classes = (MayOperate,)

    @extend_schema(
        summary="Change an endpoint's name, address or events",
        request=EndpointChangesSerializer,
        responses=EndpointSerializer,
    )
    def patch(self, request: Request, pk: int) -> Response:
        """What waits for it goes to the new address."""
        given = checked(EndpointChangesSerializer, request)
        reason = given.pop("reason")
        _existing(pk)
        if "url" in given:
            webhooks.look_up_address(given["url"])
        endpoint = webhooks.change_endpoint(endpoint_id=pk, changes=given, reason=reason, actor=caller(request))
        return Response(EndpointSerializer(endpoint).data)


class EndpointDisabling(APIView):
    permission_classes = (MayOperate,)

    @operation("Send an endpoint nothing more", answer=EndpointSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Nothing more is written down for it; what waits is given up three days after it happened."""
        given = checked(ReasonSerializer, request)
        endpoint = webhooks.disable_endpoint(endpoint=_existing(pk), **given, actor=caller(request))
        return Response(EndpointSerializer(endpoint).data)


class EndpointEnabling(APIView):
    permission_classes = (MayOperate,)

    @operation("Send to a disabled endpoint again", answer=EndpointSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """What still waits is sent now. Of what happened meanwhile nothing was written down."""
        given = checked(ReasonSerializer, request)
        endpoint = webhooks.enable_endpoint(endpoint=_existing(pk), **given, actor=caller(request))
        return Response(EndpointSerializer(endpoint).data)


class EndpointTrying(APIView):
    permission_classes = (MayOperate,)

    @operation("Try a failing endpoint now", answer=EndpointSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """The first event that waits is sent before its time, once. 409 if the endpoint is disabled, nothing waits for it,
        or what waits is due already."""
        given = checked(ReasonSerializer, request)
        _existing(pk)
        endpoint = webhooks.try_endpoint(endpoint_id=pk, **given, actor=caller(request))
        return Response(EndpointSerializer(endpoint).data)


class SecretRotation(APIView):
    permission_classes = (MayOperate,)

    @operation("Give an endpoint a new secret", asked=RotationSerializer, answer={201: SecretSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Answers with the secret, and again under the same Idempotency-Key; no other request shows it. Without a key, a
        request repeated for a lost answer makes another secret, and the one before last signs no longer."""
        given = checked(RotationSerializer, request)
        overlap = timedelta(hours=given["overlap_hours"])
        _existing(pk)
        with transaction.atomic():
            # The row stays locked, so it is this rotation's secret that is told.
            webhooks.rotate_secret(endpoint_id=pk, overlap=overlap, reason=given["reason"], actor=caller(request))
            return _with_secret({}, _existing(pk))


class EndpointTest(APIView):
    permission_classes = (MayOperate,)

    @operation("Have a test event sent", asked=None, answer={201: DeliverySerializer})
    def post(self, request: Request, pk: int) -> Response:
        """An `endpoint.test` without data, after whatever waits already."""
        delivery = webhooks.send_test(endpoint=_existing(pk), actor=caller(request))
        return Response(DeliverySerializer(delivery).data, status=201)


class FailedResending(APIView):
    permission_classes = (MayOperate,)

    # In parts, between which the sender gets at the endpoint's row.
    @operation(
        "Send again all that was given up since a time",
        asked=ResendFailedSerializer,
        answer=CountSerializer,
        once=idempotent_in_parts,
    )
    def post(self, request: Request, pk: int) -> Response:
        """In their order, before what happened later, and under the same ids."""
        given = checked(ResendFailedSerializer, request)
        _existing(pk)
        return Response({"events": webhooks.resend_failed(endpoint_id=pk, **given, actor=caller(request))})


def _with_secret(data: Mapping[str, Any], endpoint: WebhookEndpoint) -> SecretAnswer:
    return SecretAnswer(dict(data), seed=endpoint.secret_seed, derived_by=endpoint.secret_key_id, status=201)


def _existing(pk: int) -> WebhookEndpoint:
    try:
        return WebhookEndpoint.objects.select_related("client").get(pk=pk)
    except WebhookEndpoint.DoesNotExist:
        raise Http404 from None


def _client(external_id: str | None) -> Client | None:
    if external_id is None:
        return None
    found = Client.objects.filter(external_id=external_id).first() if "\x00" not in external_id else None
    if found is None:
        raise InvalidFieldsError([FieldError("client_id", "unknown_client", "no client has this id")])
    return found
