"""Clients and accumulations, to be read."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import generics, serializers

from config.lib.api import MayRead, NewestFirst
from config.lib.filters import Choice, Filters, Moment, Text
from payouts.models import Accumulation, AccumulationStatus, Client, Strategy


class ClientReads:
    """What the list and the single client share."""

    permission_classes = (MayRead,)

    class OutputSerializer(serializers.Serializer[Client]):
        id = serializers.IntegerField()
        external_id = serializers.CharField()
        name = serializers.CharField()
        strategy = serializers.CharField()
        wallet_address = serializers.CharField()
        payout_currency = serializers.CharField()
        payout_network = serializers.CharField()
        payout_threshold_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
        fee_percent = serializers.DecimalField(max_digits=7, decimal_places=4)
        created_at = serializers.DateTimeField()
        updated_at = serializers.DateTimeField()

    serializer_class = OutputSerializer
    queryset = Client.objects.all()


class ClientList(ClientReads, generics.ListAPIView[Client]):
    """Filters: `external_id`, `strategy`, `created_from`, `created_before`."""

    pagination_class = NewestFirst
    filters = Filters(
        external_id=Text("external_id"),
        strategy=Choice("strategy", Strategy.values),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )

    def filter_queryset(self, queryset: QuerySet[Client]) -> QuerySet[Client]:
        return self.filters.apply(queryset, self.request)


class ClientDetail(ClientReads, generics.RetrieveAPIView[Client]):
    """One client."""


class AccumulationReads:
    """What the list and the single accumulation share."""

    permission_classes = (MayRead,)

    class OutputSerializer(serializers.Serializer[Accumulation]):
        id = serializers.IntegerField()
        source = serializers.CharField()
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
        received_wei = serializers.DecimalField(max_digits=78, decimal_places=0)
        fee_wei = serializers.DecimalField(max_digits=78, decimal_places=0)
        net_wei = serializers.DecimalField(max_digits=78, decimal_places=0)
        batch_conversion_id = serializers.UUIDField()
        converted_usdt_amount = serializers.DecimalField(max_digits=20, decimal_places=6)
        hold_reason = serializers.CharField()
        paid_at = serializers.DateTimeField()
        created_at = serializers.DateTimeField()

    serializer_class = OutputSerializer
    queryset = Accumulation.objects.select_related("client")


class AccumulationList(AccumulationReads, generics.ListAPIView[Accumulation]):
    """Filters: `status`, `client` (its external id), `payment_id`, `batch`, `created_from`, `created_before`."""

    pagination_class = NewestFirst
    filters = Filters(
        status=Choice("status", AccumulationStatus.values),
        client=Text("client__external_id"),
        payment_id=Text("payment_id"),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )

    def filter_queryset(self, queryset: QuerySet[Accumulation]) -> QuerySet[Any]:
        return self.filters.apply(queryset, self.request)


class AccumulationDetail(AccumulationReads, generics.RetrieveAPIView[Accumulation]):
    """One accumulation."""
