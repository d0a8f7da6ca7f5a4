"""Threshold checks: run one, read what they decided."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from batches.models import Decision, ThresholdCheck
from batches.services import check_threshold
from batches.tasks import hint_at_payment_of
from config.lib.api import MayOperate, ReadList, ReadOne, StrictSerializer, caller
from config.lib.filters import Choice, Filters, Moment
from payouts.api.idempotency import KEY_PARAMETER, idempotent_in_parts


class CheckSerializer(serializers.Serializer[ThresholdCheck]):
    """One look at the pending total: `decision` is the verdict, `why` its reasons in sentences."""

    id = serializers.IntegerField()
    decision = serializers.CharField()
    why = serializers.ListField(source="blockers", child=serializers.CharField())
    threshold_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    total_usd = serializers.DecimalField(max_digits=20, decimal_places=8)
    member_count = serializers.IntegerField()
    oldest_pending_at = serializers.DateTimeField(allow_null=True)
    is_forced = serializers.BooleanField()
    batch_id = serializers.UUIDField(allow_null=True)
    policy_version = serializers.IntegerField(source="policy.version")
    actor = serializers.CharField()
    checked_at = serializers.DateTimeField()


class CheckThreshold(APIView):
    """Run one check now; the same that beat runs. Two at a time wait for each other, and make one batch."""

    permission_classes = (MayOperate,)

    class InputSerializer(StrictSerializer):
        dry_run = serializers.BooleanField(default=False)

    @extend_schema(
        summary="Check the threshold now",
        operation_id="check_threshold",
        request=InputSerializer,
        responses=CheckSerializer,
        parameters=[KEY_PARAMETER],
    )
    @idempotent_in_parts
    def post(self, request: Request) -> Response:
        asked = self.InputSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        check = check_threshold(actor=caller(request), dry_run=asked.validated_data["dry_run"])
        if check.batch is not None:
            hint_at_payment_of(check.batch)
        # Read again: the database set the time.
        return Response(CheckSerializer(ThresholdCheck.objects.select_related("policy").get(pk=check.pk)).data)


class ThresholdCheckList(ReadList[ThresholdCheck]):
    """Filters: `decision`, `created_from`, `created_before`."""

    queryset = ThresholdCheck.objects.select_related("policy")
    serializer_class = CheckSerializer
    filters = Filters(
        decision=Choice("decision", Decision.values),
        created_from=Moment("checked_at__gte"),
        created_before=Moment("checked_at__lt"),
    )


class ThresholdCheckDetail(ReadOne[ThresholdCheck]):
    """One check."""

    queryset = ThresholdCheck.objects.select_related("policy")
    serializer_class = CheckSerializer
