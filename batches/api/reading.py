"""Batch conversions, to be read: their figures, why they stand where they stand, and their history."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from batches.models import BatchConversion, BatchStatus
from batches.services import TimelineEntry, explain_batch, timeline
from config.lib.api import MayRead, NewestByTime
from config.lib.explain import Rule
from config.lib.filters import Choice, Filters, Moment, Text


class BatchReads:
    """What the list and the single batch share."""

    permission_classes = (MayRead,)

    class OutputSerializer(serializers.Serializer[BatchConversion]):
        id = serializers.UUIDField()
        status = serializers.CharField()
        policy_version = serializers.IntegerField(source="policy.version")
        threshold_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
        total_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
        member_count = serializers.IntegerField()
        net_wei = serializers.DecimalField(max_digits=78, decimal_places=0)
        unreceipted_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
        received_units = serializers.DecimalField(max_digits=78, decimal_places=0)
        failure_reason = serializers.CharField()
        created_by = serializers.CharField()
        created_at = serializers.DateTimeField()
        status_changed_at = serializers.DateTimeField()

    serializer_class = OutputSerializer
    queryset = BatchConversion.objects.select_related("policy")


class BatchList(BatchReads, generics.ListAPIView[BatchConversion]):
    """Filters: `status`, `client` (external id of a member's client), `created_from`, `created_before`."""

    pagination_class = NewestByTime
    filters = Filters(
        status=Choice("status", BatchStatus.values),
        client=Text("members__client__external_id"),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )

    def filter_queryset(self, queryset: QuerySet[BatchConversion]) -> QuerySet[Any]:
        found = self.filters.apply(queryset, self.request)
        # A batch has many members of one client, and is still one batch.
        return found.distinct() if "client" in self.request.query_params else found


class BatchDetail(BatchReads, generics.RetrieveAPIView[BatchConversion]):
    """One batch."""


class BatchExplanation(APIView):
    """The rules that hold the batch or let it go on, each with its verdict and figures."""

    permission_classes = (MayRead,)

    class RuleSerializer(serializers.Serializer[Rule]):
        name = serializers.CharField()
        ok = serializers.BooleanField()
        detail = serializers.CharField()
        since = serializers.DateTimeField()

    def get(self, _request: Request, pk: UUID) -> Response:
        batch = get_object_or_404(BatchConversion, pk=pk)
        rules = self.RuleSerializer(explain_batch(batch), many=True).data
        return Response({"batch_id": str(batch.pk), "status": batch.status, "rules": rules})


class BatchTimeline(APIView):
    """Everything that happened to the batch and to what moves its money, oldest first."""

    permission_classes = (MayRead,)

    class EntrySerializer(serializers.Serializer[TimelineEntry]):
        at = serializers.DateTimeField()
        actor = serializers.CharField()
        subject = serializers.CharField()
        from_status = serializers.CharField()
        to_status = serializers.CharField()
        reason = serializers.CharField()
        # DRF's base class has an attribute of this name for something else, so it is added by name below.

        def get_fields(self) -> dict[str, Any]:
            return {**super().get_fields(), "data": serializers.JSONField()}

    def get(self, _request: Request, pk: UUID) -> Response:
        batch = get_object_or_404(BatchConversion, pk=pk)
        entries = self.EntrySerializer(timeline(batch), many=True).data
        return Response({"batch_id": str(batch.pk), "status": batch.status, "timeline": entries})
