"""Requests that carry an Idempotency-Key, with what was answered."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class RequestKey(models.Model):
    """One request under its caller's key: in flight until it has an answer, which is then given again.

    `locked_until` is how long the process that carries it out is trusted to be alive.
    """

    caller = models.CharField(max_length=150)
    key = models.CharField(max_length=128)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, address and body.")
    locked_until = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Of the answer; empty while in flight.")
    content_type = models.CharField(max_length=80, blank=True)
    body = models.BinaryField(default=bytes)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("caller", "key"), name="request_key_is_one_per_caller"),
            models.CheckConstraint(
                condition=Q(status__isnull=True) | Q(status__gte=200, status__lt=500), name="request_key_is_answered"
            ),
        )
        indexes = (models.Index(fields=("created_at",), name="request_key_by_age"),)

    def __str__(self) -> str:
        return f"{self.caller} {self.key}"
