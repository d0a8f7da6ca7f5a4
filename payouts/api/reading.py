"""Clients and accumulations, to be read."""

from __future__ import annotations

from rest_framework import serializers

from config.lib.api import ReadList, ReadOne
from config.lib.filters import Choice, Filters, Moment, Text, Uuid
from payouts.models import Accumulation, AccumulationStatus, Client, Strategy


class ClientSerializer(serializers.Serializer[Client]):
    id = serializers.IntegerField()
    external_id = serializers.CharField()
    name = serializers.CharField()
    strategy = serializers.CharField()
    wallet_address = serializers.CharField()
    payout_currency = serializers.CharField()
    payout_network = serializers.CharField()
    payout_threshold_usd = serializers.DecimalField(allow_null=True, max_digits=20, decimal_places=8)
    fee_percent = serializers.DecimalField(allow_null=True, max_digits=7, decimal_places=4)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ClientList(ReadList[Client]):
    """Filters: `external_id`, `strategy`, `created_from`, `created_before`."""

    queryset = Client.objects.all()
    serializer_class = ClientSerializer
    filters = Filters(
        external_id=Text("external_id"),
        strategy=Choice("strategy", Strategy.values),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )


class ClientDetail(ReadOne[Client]):
    """One client."""

    queryset = Client.objects.all()
    serializer_class = ClientSerializer


class AccumulationSerializer(serializers.Serializer[Accumulation]):
    id = serializers.IntegerField()
    # DRF takes declared fields off the class, so its own attribute of this name is not touched.
    source = serializers.CharField()  # type: ignore[assignment]
    payment_id = serializers.CharField()
    client_id = serializers.CharField(source="client.external_id")
    user_id = serializers.CharField()
    subscription_id = serializers.CharField()
    conversion_status = serializers.CharField(source="status")
    gross_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    fee_percent = serializers.DecimalField(max_digits=7, decimal_places=4)
    fee_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    pending_usd_amount = serializers.DecimalField(max_digits=20, decimal_places=8)
    outcome_currency = serializers.CharField()
    outcome_amount = serializers.CharField()
    received_wei = serializers.DecimalField(allow_null=True, max_digits=78, decimal_places=0)
    fee_wei = serializers.DecimalField(allow_null=True, max_digits=78, decimal_places=0)
    net_wei = serializers.DecimalField(allow_null=True, max_digits=78, decimal_places=0)
    batch_conversion_id = serializers.UUIDField(allow_null=True)
    converted_usdt_amount = serializers.DecimalField(allow_null=True, max_digits=20, decimal_places=6)
    hold_reason = serializers.CharField()
    paid_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class AccumulationList(ReadList[Accumulation]):
    """Filters: `status`, `client` (its external id), `payment_id`, `batch`, `created_from`, `created_before`."""

    queryset = Accumulation.objects.select_related("client")
    serializer_class = AccumulationSerializer
    filters = Filters(
        status=Choice("status", AccumulationStatus.values),
        client=Text("client__external_id"),
        payment_id=Text("payment_id"),
        batch=Uuid("batch_conversion"),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )


class AccumulationDetail(ReadOne[Accumulation]):
    """One accumulation."""

    queryset = Accumulation.objects.select_related("client")
    serializer_class = AccumulationSerializer
