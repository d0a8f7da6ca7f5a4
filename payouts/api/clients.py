"""Clients made and changed, and their destinations changed after a time to think."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from django.http import Http404
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.lib.api import MayOperate, ReadList, StrictSerializer, caller
from config.lib.filters import Choice, Filters, Moment, Text
from config.lib.money import AmountError, number_text, parse_money
from config.lib.problems import FieldError
from payouts.api.idempotency import KEY_PARAMETER, idempotent
from payouts.api.reading import ClientSerializer
from payouts.models import Client, ClientChange, DestinationChange, Strategy
from payouts.services import NETWORKS, check_destination
from payouts.services.clients import (
    CHANGEABLE,
    DESTINATION,
    cancel_destination_change,
    change_client,
    check_new,
    check_terms,
    create_client,
    errors_of,
    request_destination_change,
)

_NETWORK = "Currencies by network: " + "; ".join(
    f"`{name}`: {', '.join(f'`{each}`' for each in sorted(network.currencies))}"
    for name, network in sorted(NETWORKS.items())
)
_WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class Amount(serializers.CharField):
    """A plain decimal number, a string or none, as everywhere where money comes in; the framework's own field reads more.

    A JSON number is taken as it was written: the body's parser keeps it exactly.
    """

    def __init__(self, *, integer_digits: int, decimals: int, **options: Any) -> None:
        self._limits = {"max_integer_digits": integer_digits, "max_decimals": decimals}
        pattern = rf"^(0|[1-9][0-9]{{0,{integer_digits - 1}}})(\.[0-9]{{1,{decimals}}})?$"
        super().__init__(help_text="Best a string like 12.5; a number without an exponent will do.", **options)
        # The pattern is of strings alone.
        set_override(self, "field", {"type": ["string", "number"], "pattern": pattern})

    def to_internal_value(self, data: Any) -> Any:
        try:
            return parse_money(number_text(data), **self._limits, field=str(self.field_name))
        except AmountError as error:
            raise serializers.ValidationError(error.rule) from None


_NOT_HERE = "is changed by a POST to /api/v1/clients/ID/destination-changes/, and takes effect after a time to think"


class TermsSerializer(StrictSerializer):
    """What of a client can be changed at once."""

    elsewhere = {
        "external_id": "never changes: payments name the client by it",
        "wallet_address": _NOT_HERE,
        "payout_currency": _NOT_HERE,
        "payout_network": _NOT_HERE,
    }

    name = serializers.CharField(max_length=120, required=False, allow_blank=True)
    strategy = serializers.ChoiceField(Strategy.choices, required=False)
    payout_threshold_usd = Amount(integer_digits=12, decimals=8, required=False, allow_null=True)
    fee_percent = Amount(integer_digits=2, decimals=4, required=False, allow_null=True)
    reason = serializers.CharField(
        max_length=1000, required=False, allow_blank=True, help_text="Goes into the client's history."
    )

    def further_errors(self, found: Mapping[str, Any]) -> Iterable[FieldError]:
        terms = {name: value for name, value in found.items() if name in CHANGEABLE}
        # Whether the client has a threshold, it alone knows.
        return errors_of(partial(check_terms, Client(**{**terms, "strategy": terms.get("strategy", Strategy.INSTANT)})))


class DestinationSerializer(StrictSerializer):
    """Where a client is paid, and why that changes."""

    wallet_address = serializers.CharField(max_length=128)
    payout_currency = serializers.CharField(max_length=16, default="usdt")
    payout_network = serializers.CharField(max_length=16, default="eth", help_text=_NETWORK)
    reason = serializers.CharField(max_length=1000)

    def further_errors(self, found: Mapping[str, Any]) -> Iterable[FieldError]:
        wanted = {name: found.get(name, "") for name in DESTINATION}
        return errors_of(partial(check_destination, **wanted))


class NewClientSerializer(TermsSerializer):
    """A client to be made. `payout_threshold_usd` is required by the strategy `threshold`."""

    external_id = serializers.CharField(max_length=64)
    wallet_address = serializers.CharField(max_length=128)
    payout_currency = serializers.CharField(max_length=16, required=False)
    payout_network = serializers.CharField(max_length=16, required=False, help_text=_NETWORK)

    def further_errors(self, found: Mapping[str, Any]) -> Iterable[FieldError]:
        given = {name: value for name, value in found.items() if name != "reason"}
        return errors_of(partial(check_new, Client(**given)))


class DestinationChangeSerializer(serializers.Serializer[DestinationChange]):
    id = serializers.IntegerField()
    client_id = serializers.CharField(source="client.external_id")
    state = serializers.CharField(help_text="pending, applied or cancelled")
    wallet_address = serializers.CharField()
    payout_currency = serializers.CharField()
    payout_network = serializers.CharField()
    old_wallet_address = serializers.CharField()
    old_payout_currency = serializers.CharField()
    old_payout_network = serializers.CharField()
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    effective_at = serializers.DateTimeField()
    applied_at = serializers.DateTimeField(allow_null=True)
    cancelled_at = serializers.DateTimeField(allow_null=True)
    cancelled_by = serializers.CharField()
    cancel_reason = serializers.CharField()


class ClientCreation(APIView):
    permission_classes = (MayOperate,)

    @extend_schema(
        summary="Make a client",
        request=NewClientSerializer,
        responses={201: ClientSerializer},
        parameters=[KEY_PARAMETER],
        examples=[
            OpenApiExample(
                "a client that accumulates",
                {"external_id": "bakery", "wallet_address": _WALLET, "payout_threshold_usd": "50"},
                request_only=True,
            )
        ],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Its destination is in force at once; 409 `client_exists` if the id is taken."""
        given = _checked(NewClientSerializer, request)
        client = create_client(**given, actor=caller(request))
        return Response(ClientSerializer(_fresh(client.pk)).data, status=201)


class TermsChange(APIView):
    permission_classes = (MayOperate,)

    @extend_schema(summary="Change a client's terms", request=TermsSerializer, responses=ClientSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        """What was recorded before keeps the old terms. The destination has an address of its own."""
        given = _checked(TermsSerializer, request)
        reason = given.pop("reason", "")
        try:
            client = change_client(client_id=pk, changes=given, actor=caller(request), reason=reason)
        except Client.DoesNotExist:
            raise Http404 from None
        return Response(ClientSerializer(_fresh(client.pk)).data)


class ClientChangeSerializer(serializers.Serializer[ClientChange]):
    id = serializers.IntegerField()
    client_id = serializers.CharField(source="client.external_id")
    field = serializers.CharField()
    before = serializers.CharField(help_text="Empty where there was nothing.")
    after = serializers.CharField(help_text="Empty where there is nothing any more.")
    actor = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class ClientChangeList(ReadList[ClientChange]):
    """What was changed of clients, by whom and why; what a new client begins with are changes from nothing.

    Filters: `client` (its external id), `field`, `created_from`, `created_before`.
    """

    queryset = ClientChange.objects.select_related("client")
    serializer_class = ClientChangeSerializer
    filters = Filters(
        client=Text("client__external_id"),
        field=Choice("field", (*CHANGEABLE, *DESTINATION)),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )


class DestinationRequest(APIView):
    permission_classes = (MayOperate,)

    @extend_schema(
        summary="Have a client paid elsewhere",
        request=DestinationSerializer,
        responses={201: DestinationChangeSerializer},
        parameters=[KEY_PARAMETER],
    )
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """It takes effect at `effective_at`, unless it is cancelled before; 409 while another one waits."""
        given = _checked(DestinationSerializer, request)
        try:
            change = request_destination_change(client_id=pk, **given, actor=caller(request))
        except Client.DoesNotExist:
            raise Http404 from None
        return Response(_shown(change.pk), status=201)


class DestinationChangeList(ReadList[DestinationChange]):
    """Every change of a client's destination that was asked for. Filters: `client` (its external id)."""

    queryset = DestinationChange.objects.select_related("client")
    serializer_class = DestinationChangeSerializer
    filters = Filters(client=Text("client__external_id"))


class DestinationCancel(APIView):
    permission_classes = (MayOperate,)

    class CancellationSerializer(StrictSerializer):
        reason = serializers.CharField(max_length=1000)

    @extend_schema(
        summary="Cancel a change that waits",
        request=CancellationSerializer,
        responses=DestinationChangeSerializer,
        parameters=[KEY_PARAMETER],
    )
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """409 once it was applied or cancelled."""
        given = _checked(self.CancellationSerializer, request)
        try:
            change = cancel_destination_change(change_id=pk, reason=given["reason"], actor=caller(request))
        except DestinationChange.DoesNotExist:
            raise Http404 from None
        return Response(_shown(change.pk))


def _checked(kind: type[StrictSerializer], request: Request) -> dict[str, Any]:
    asked = kind(data=request.data)
    asked.is_valid(raise_exception=True)
    given: dict[str, Any] = asked.validated_data
    return given


def _fresh(pk: int) -> Client:
    """Read again: the database set the times, and brought the amounts into their columns' form."""
    return Client.objects.get(pk=pk)


def _shown(pk: int) -> Any:
    return DestinationChangeSerializer(DestinationChange.objects.select_related("client").get(pk=pk)).data
