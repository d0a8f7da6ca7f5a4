"""Where a client wants to be paid from some day on."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from payouts.models.client import Client


class DestinationChangeQuerySet(models.QuerySet["DestinationChange"]):
    def pending(self) -> DestinationChangeQuerySet:
        return self.filter(applied_at__isnull=True, cancelled_at__isnull=True)

    def due(self, now: datetime) -> DestinationChangeQuerySet:
        """Those whose time to think has passed, longest due first."""
        return self.pending().filter(effective_at__lte=now).order_by("effective_at", "pk")


class DestinationChange(models.Model):
    """One wish to pay a client elsewhere; it takes effect at `effective_at` unless somebody cancels it before.

    Whoever has stolen a key or a session would begin here, so the change waits where its owner can see it.
    """

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="destination_changes")
    wallet_address = models.CharField(max_length=128)
    payout_currency = models.CharField(max_length=16)
    payout_network = models.CharField(max_length=16)
    # What the client had when the change was asked for.
    old_wallet_address = models.CharField(max_length=128)
    old_payout_currency = models.CharField(max_length=16)
    old_payout_network = models.CharField(max_length=16)

    reason = models.TextField()
    requested_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    effective_at = models.DateTimeField(help_text="From when it may take effect.")
    applied_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=150, blank=True)
    cancel_reason = models.TextField(blank=True)

    objects = DestinationChangeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("client",),
                condition=Q(applied_at__isnull=True, cancelled_at__isnull=True),
                name="client_has_one_pending_destination_change",
            ),
            models.CheckConstraint(
                condition=Q(applied_at__isnull=True) | Q(cancelled_at__isnull=True),
                name="destination_change_is_applied_or_cancelled",
            ),
            models.CheckConstraint(
                condition=Q(applied_at__isnull=True) | Q(applied_at__gte=F("effective_at")),
                name="destination_change_waits_for_its_time",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="destination_change_says_why"),
            models.CheckConstraint(
                condition=Q(cancelled_at__isnull=True) | (~Q(cancelled_by="") & ~Q(cancel_reason="")),
                name="cancelled_destination_change_says_who_and_why",
            ),
        )
        indexes = (
            models.Index(
                fields=("effective_at",),
                condition=Q(applied_at__isnull=True, cancelled_at__isnull=True),
                name="destination_change_due",
            ),
        )

    def __str__(self) -> str:
        return f"{self.client} to {self.wallet_address}"

    @property
    def state(self) -> str:
        """`pending`, `applied` or `cancelled`."""
        if self.applied_at is not None:
            return "applied"
        return "pending" if self.cancelled_at is None else "cancelled"
