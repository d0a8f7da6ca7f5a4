"""Payments that are void before they came."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH
from payouts.models.accumulation import Accumulation


class VoidOrder(models.Model):
    """The word that a payment is void, which arrived before the payment: if that still comes, it is recorded as void."""

    source = models.CharField(max_length=32)
    payment_id = models.CharField(max_length=128)
    reason = models.TextField()
    requested_by = models.CharField(max_length=ACTOR_MAX_LENGTH)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # The payment, once it came.
    accumulation = models.OneToOneField(Accumulation, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("source", "payment_id"), name="void_order_is_one_per_payment"),
            models.CheckConstraint(condition=~Q(payment_id=""), name="void_order_names_a_payment"),
            models.CheckConstraint(condition=~Q(reason=""), name="void_order_says_why"),
        )
        # Few wait; every bulk request asks whether any does.
        indexes = (
            models.Index(fields=("source",), condition=Q(accumulation__isnull=True), name="void_order_that_waits"),
        )

    def __str__(self) -> str:
        return f"{self.source} {self.payment_id}"
