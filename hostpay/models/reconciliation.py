"""Runs of the reconciliation, kept for ever, and the differences that a person has looked into."""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH
from config.lib.columns import UNITS_LIMIT, number_between, units_field


class Scope(models.TextChoices):
    """What a run compared."""

    ALL = "all", "everything"
    CHAIN = "chain", "the host wallet on chain"
    PROVIDER = "provider", "orders at the exchange"
    BATCH = "batch", "batches"


class Result(models.TextChoices):
    AGREES = "agrees"
    DIFFERS = "differs"
    FAILED = "failed", "could not be asked"


class ReconciliationQuerySet(models.QuerySet["Reconciliation"]):
    def unresolved(self) -> ReconciliationQuerySet:
        """Those that did not agree, and that nobody has signed off."""
        return self.exclude(result=Result.AGREES).filter(signed_off_at__isnull=True)

    def standing(self) -> ReconciliationQuerySet:
        """The newest unresolved ones of each scope and result, unless a later run that came to one looked at the same."""
        same = Q(scope=Scope.ALL) | Q(scope=OuterRef("scope"), subject=OuterRef("subject"))
        later = Reconciliation.objects.filter(same, pk__gt=OuterRef("pk")).exclude(result=Result.FAILED)
        newest = ("scope", "subject", "result")
        return self.unresolved().filter(~Exists(later)).order_by(*newest, "-pk").distinct(*newest)

    def settled(self) -> ReconciliationQuerySet:
        """Those that agreed, or whose differences a person has taken on."""
        return self.filter(Q(result=Result.AGREES) | Q(signed_off_at__isnull=False))


class Reconciliation(models.Model):
    """One run: who let it, what it found, and who signed it off. Written once, at its end; only the sign-off is added.

    The chain's figures are those at `block_number`, the latest block that was final then; the next run starts there.
    """

    scope = models.CharField(max_length=16, choices=Scope.choices)
    subject = models.CharField(max_length=64, blank=True, help_text="The one object it was about.")
    result = models.CharField(max_length=16, choices=Result.choices)
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(db_default=Now(), editable=False)
    lines = models.JSONField(default=list, encoder=DjangoJSONEncoder, help_text="What was compared, part by part.")
    failures = models.JSONField(default=dict, blank=True, help_text="Why a part could not be asked, by its name.")
    block_number = models.PositiveBigIntegerField(null=True, blank=True)
    eth_wei = units_field(null=True, blank=True)
    usdt_units = units_field(null=True, blank=True)
    judged_block = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Up to here each transfer of USDT was judged; one after it may be of a payment that still waits for it.",
    )
    signed_off_at = models.DateTimeField(null=True, blank=True)
    signed_off_by = models.CharField(max_length=ACTOR_MAX_LENGTH, blank=True)
    sign_off_reason = models.TextField(blank=True)

    objects = ReconciliationQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(scope__in=Scope.values), name="reconciliation_scope_is_known"),
            models.CheckConstraint(condition=Q(result__in=Result.values), name="reconciliation_result_is_known"),
            models.CheckConstraint(
                condition=Q(result=Result.FAILED) & ~Q(failures={}) | ~Q(result=Result.FAILED) & Q(failures={}),
                name="reconciliation_fails_exactly_when_it_says_why",
            ),
            models.CheckConstraint(
                condition=Q(block_number__isnull=True, eth_wei__isnull=True, usdt_units__isnull=True)
                | Q(block_number__isnull=False, eth_wei__isnull=False, usdt_units__isnull=False)
                & number_between("eth_wei", lowest=0, below=UNITS_LIMIT)
                & number_between("usdt_units", lowest=0, below=UNITS_LIMIT),
                name="reconciliation_has_all_balances_or_none",
            ),
            models.CheckConstraint(
                condition=Q(judged_block__isnull=True)
                | Q(block_number__isnull=False, judged_block__lte=F("block_number")),
                name="reconciliation_judges_no_block_that_it_has_not_seen",
            ),
            models.CheckConstraint(
                condition=Q(signed_off_at__isnull=True, signed_off_by="", sign_off_reason="")
                | Q(signed_off_at__isnull=False) & ~Q(signed_off_by="") & ~Q(sign_off_reason=""),
                name="reconciliation_is_signed_off_by_somebody_with_a_reason",
            ),
        )
        indexes = (
            models.Index(
                fields=("id",),
                condition=Q(signed_off_at__isnull=True) & ~Q(result=Result.AGREES),
                name="reconciliation_unresolved",
            ),
        )

    def __str__(self) -> str:
        return f"reconciliation {self.pk} of {self.get_scope_display()}"


class AcceptedDifference(models.Model):
    """A difference that a person has looked into: exactly these figures of this row are told no more as one."""

    key = models.CharField(max_length=64, unique=True, help_text="Of row and figures; another figure is another key.")
    row = models.TextField()
    ours = models.TextField()
    theirs = models.TextField()
    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.PROTECT, related_name="accepted")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.row}: {self.ours} here, {self.theirs} there"
