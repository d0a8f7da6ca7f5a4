"""One conversion of many accumulations."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from batches.models.policy import ConversionPolicy
from config.lib.audit import ACTOR_MAX_LENGTH
from config.lib.columns import UNITS_LIMIT, USD_LIMIT, number_above, number_between, units_field, usd_field
from config.lib.lifecycle import Edges, Lifecycle, StatusChange


class BatchStatus(models.TextChoices):
    CREATED = "created"
    SWAPPING = "swapping"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED_WITHOUT_PROCEEDS = (BatchStatus.FAILED, BatchStatus.CANCELLED)


class BatchQuerySet(models.QuerySet["BatchConversion"]):
    def open(self) -> BatchQuerySet:
        return self.filter(status__in=(BatchStatus.CREATED, BatchStatus.SWAPPING))


class BatchConversion(Lifecycle):
    """A batch: its members' totals frozen at the claim, the policy it met, and what was received for it.

    The money side lives in the host payment with context `batch` and this batch's id as its reference.
    """

    edges: ClassVar[Edges] = {
        BatchStatus.CREATED: frozenset({BatchStatus.SWAPPING, BatchStatus.FAILED, BatchStatus.CANCELLED}),
        BatchStatus.SWAPPING: frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED}),
    }

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=16, choices=BatchStatus.choices, default=BatchStatus.CREATED)
    policy = models.ForeignKey(ConversionPolicy, on_delete=models.PROTECT, related_name="batches")
    threshold_usd = usd_field(help_text="The threshold it met.")
    total_usd = usd_field(help_text="Sum of the members' net USD, summed over the rows claimed.")
    member_count = models.PositiveIntegerField()
    net_wei = units_field(help_text="Sum of the members' net wei, where a receipt was recorded.")
    unreceipted_usd = usd_field(help_text="Sum of the net USD of members without a recorded receipt.")
    received_units = units_field(null=True, blank=True, help_text="USDT that arrived, in units of 10^-6.")
    failure_reason = models.TextField(blank=True)
    created_by = models.CharField(max_length=ACTOR_MAX_LENGTH)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = BatchQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(condition=Q(status__in=BatchStatus.values), name="batch_status_is_known"),
            models.CheckConstraint(
                condition=number_above("total_usd", floor=0, below=USD_LIMIT)
                & number_above("threshold_usd", floor=0, below=USD_LIMIT)
                & number_between("unreceipted_usd", lowest=0, below=USD_LIMIT)
                & number_between("net_wei", lowest=0, below=UNITS_LIMIT)
                & Q(member_count__gt=0),
                name="batch_totals_are_sane",
            ),
            models.CheckConstraint(
                condition=Q(status=BatchStatus.COMPLETED, received_units__isnull=False)
                | (~Q(status=BatchStatus.COMPLETED) & Q(received_units__isnull=True)),
                name="batch_is_completed_exactly_when_received",
            ),
            models.CheckConstraint(
                condition=Q(received_units__isnull=True) | number_above("received_units", floor=0, below=UNITS_LIMIT),
                name="batch_received_is_positive",
            ),
            models.CheckConstraint(
                condition=Q(net_wei__gt=0) | Q(unreceipted_usd__gt=0), name="batch_has_something_to_send"
            ),
            models.CheckConstraint(
                condition=Q(unreceipted_usd__lte=F("total_usd")), name="batch_unreceipted_is_part_of_the_total"
            ),
            models.CheckConstraint(
                condition=Q(status__in=ENDED_WITHOUT_PROCEEDS) & ~Q(failure_reason="")
                | ~Q(status__in=ENDED_WITHOUT_PROCEEDS) & Q(failure_reason=""),
                name="batch_says_why_exactly_when_it_failed",
            ),
        )

    def __str__(self) -> str:
        return f"batch {str(self.pk)[:8]}"


class BatchStatusChange(StatusChange):
    subject = models.ForeignKey(BatchConversion, on_delete=models.PROTECT, related_name="status_changes")
