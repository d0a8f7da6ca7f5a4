"""Batch conversions, to be read: their figures, why they stand where they stand, and their history."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from batches.models import BatchConversion, BatchStatus
from batches.services import explain_batch, timeline
from config.lib.api import MayRead, NewestByTime, ReadList, ReadOne
from config.lib.filters import Choice, Filters, Moment, Text


class BatchConversionSerializer(serializers.Serializer[BatchConversion]):
    id = serializers.UUIDField()
    status = serializers.CharField()
    policy_version = serializers.IntegerField(source="policy.version")
    threshold_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    total_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    member_count = serializers.IntegerField()
    net_wei = serializers.DecimalField(max_digits=78, decimal_places=0)
    unreceipted_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    received_units = serializers.DecimalField(allow_null=True, max_digits=78, decimal_places=0)
    failure_reason = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    status_changed_at = serializers.DateTimeField()


class BatchList(ReadList[BatchConversion]):
    """Filters: `status`, `client` (external id of a member's client), `created_from`, `created_before`."""

    queryset = BatchConversion.objects.select_related("policy")
    serializer_class = BatchConversionSerializer
    pagination_class = NewestByTime
    filters = Filters(
        status=Choice("status", BatchStatus.values),
        client=Text("members__client__external_id"),
        created_from=Moment("created_at__gte"),
        created_before=Moment("created_at__lt"),
    )

    def filter_queryset(self, queryset: Any) -> Any:
        found = super().filter_queryset(queryset)
        # A batch has many members of one client, and is still one batch.
        return found.distinct() if "client" in self.request.query_params else found


class BatchDetail(ReadOne[BatchConversion]):
    """One batch."""

    queryset = BatchConversion.objects.select_related("policy")
    serializer_class = BatchConversionSerializer


class BatchExplanation(APIView):
    """The rules that hold the batch or let it go on, each with its verdict and figures."""

    permission_classes = (MayRead,)

    class RuleSerializer(serializers.Serializer[Any]):
        name = serializers.CharField()
        ok = serializers.BooleanField()
        detail = serializers.CharField()
        since = serializers.DateTimeField(allow_null=True)

    class ExplanationSerializer(serializers.Serializer[Any]):
        batch_id = serializers.UUIDField()
        status = serializers.CharField()

        def get_fields(self) -> dict[str, Any]:
            # A class body does not see its neighbours.
            return {**super().get_fields(), "rules": BatchExplanation.RuleSerializer(many=True)}

    @extend_schema(responses=ExplanationSerializer)
    def get(self, _request: Request, pk: UUID) -> Response:
        batch = get_object_or_404(BatchConversion, pk=pk)
        rules = self.RuleSerializer(explain_batch(batch), many=True).data
        return Response({"batch_id": str(batch.pk), "status": batch.status, "rules": rules})


class BatchTimeline(APIView):
    """Everything that happened to the batch and to what moves its money, oldest first."""

    permission_classes = (MayRead,)

    class EntrySerializer(serializers.Serializer[Any]):
        at = serializers.DateTimeField()
        actor = serializers.CharField()
        subject = serializers.CharField()
        from_status = serializers.CharField()
        to_status = serializers.CharField()
        reason = serializers.CharField()
        # DRF takes declared fields off the class, so its own attribute of this name is not touched.
        data = serializers.JSONField()  # type: ignore[assignment]

    class TimelineSerializer(serializers.Serializer[Any]):
        batch_id = serializers.UUIDField()
        status = serializers.CharField()

        def get_fields(self) -> dict[str, Any]:
            return {**super().get_fields(), "timeline": BatchTimeline.EntrySerializer(many=True)}

    @extend_schema(responses=TimelineSerializer)
    def get(self, _request: Request, pk: UUID) -> Response:
        batch = get_object_or_404(BatchConversion, pk=pk)
        entries = self.EntrySerializer(timeline(batch), many=True).data
        return Response({"batch_id": str(batch.pk), "status": batch.status, "timeline": entries})
