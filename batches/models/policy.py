"""When a batch is made: versioned rules, and every look at them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH
from config.lib.columns import USD_LIMIT, number_above, number_between, usd_field
from config.lib.money import usd_text


class ConversionPolicy(models.Model):
    """One version of the rules; the highest version is in force from the next check on. Rows are never changed."""

    version = models.PositiveIntegerField(unique=True)
    threshold_usd = usd_field(help_text="A batch is made when the pending total is at or above this.")
    converts_unreceipted = models.BooleanField(
        default=True,
        help_text="Also convert payments without a recorded ETH receipt, valued by the provider's estimate.",
    )
    tolerance_bps = models.PositiveIntegerField(
        default=1000,
        help_text="How far the USDT received may be from the USD expected, in hundredths of a percent, before a person decides.",
    )
    reason = models.TextField()
    created_by = models.CharField(max_length=ACTOR_MAX_LENGTH)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-version",)
        verbose_name_plural = "conversion policies"
        constraints = (
            models.CheckConstraint(
                condition=number_above("threshold_usd", floor=0, below=USD_LIMIT), name="policy_threshold_is_positive"
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="policy_versions_start_at_one"),
            models.CheckConstraint(condition=Q(tolerance_bps__lte=10_000), name="policy_tolerance_is_at_most_all"),
            models.CheckConstraint(condition=~Q(reason=""), name="policy_has_a_reason"),
        )

    def __str__(self) -> str:
        return f"policy {self.version}: {usd_text(self.threshold_usd)}"


class Decision(models.TextChoices):
    CREATED = "created", "batch created"
    BELOW = "below", "below the threshold"
    BLOCKED = "blocked"
    REHEARSED = "rehearsed", "dry run: a batch would be made"


class ThresholdCheck(models.Model):
    """One threshold check: what it saw, by which policy, what it decided and why."""

    policy = models.ForeignKey(ConversionPolicy, on_delete=models.PROTECT, related_name="checks")
    threshold_usd = usd_field()
    total_usd = usd_field(help_text="Of the eligible accumulations; of the claimed ones if a batch was made.")
    member_count = models.PositiveIntegerField()
    oldest_pending_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=16, choices=Decision.choices)
    blockers = models.JSONField(default=list, help_text="Sentences, one for each rule that was not met.")
    is_forced = models.BooleanField(default=False)
    batch = models.OneToOneField(
        "batches.BatchConversion", null=True, blank=True, on_delete=models.PROTECT, related_name="threshold_check"
    )
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    checked_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(decision__in=Decision.values), name="check_decision_is_known"),
            models.CheckConstraint(
                condition=Q(decision=Decision.CREATED, batch__isnull=False)
                | (~Q(decision=Decision.CREATED) & Q(batch__isnull=True)),
                name="check_has_a_batch_exactly_when_created",
            ),
            models.CheckConstraint(
                condition=number_between("total_usd", lowest=0, below=USD_LIMIT)
                & number_above("threshold_usd", floor=0, below=USD_LIMIT),
                name="check_amounts_are_sane",
            ),
            models.CheckConstraint(
                condition=~Q(decision__in=(Decision.CREATED, Decision.REHEARSED)) | Q(member_count__gt=0),
                name="created_check_has_members",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_decision_display()}: {usd_text(self.total_usd)} of {usd_text(self.threshold_usd)}"
