"""Who failed to prove who it is, and how often: what bounds a flood, and the guessing of passwords."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class TryKind(models.TextChoices):
    """What somebody tried to prove itself by."""

    SIGNATURE = "signature"
    API_KEY = "api_key"
    TOKEN = "token"  # noqa: S105 (a word)
    LOGIN = "login"


class FailedTries(models.Model):
    """The failures of one caller of late. `who` is an address (of IPv6, a network), or a hash that names no user.

    Names that people type when they log in are hashed: now and then one of them is a password.
    """

    kind = models.CharField(max_length=16, choices=TryKind.choices)
    who = models.CharField(max_length=64)
    failures = models.PositiveIntegerField(default=0)
    since = models.DateTimeField(help_text="When the first of them was.")
    failed_at = models.DateTimeField(help_text="When the last of them was.")

    class Meta:
        verbose_name_plural = "failed tries"
        constraints = (
            models.UniqueConstraint(fields=("kind", "who"), name="failed_tries_are_one_row"),
            models.CheckConstraint(condition=Q(kind__in=TryKind.values), name="failed_tries_kind_is_known"),
        )
        indexes = (models.Index(fields=("failed_at",), name="failed_tries_by_age"),)

    def __str__(self) -> str:
        return f"{self.failures} of {self.who}"


class RejectedDeliveries(models.Model):
    """How many deliveries of one source were turned away since the first day, and for what; it only grows.

    What nobody signed is counted by what was wrong with its proof, and what was signed by the code of its refusal.
    """

    source = models.CharField(max_length=32)
    why = models.CharField(max_length=32)
    total = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "rejected deliveries"
        constraints = (models.UniqueConstraint(fields=("source", "why"), name="rejected_deliveries_are_one_row"),)

    def __str__(self) -> str:
        return f"{self.total} {self.source} {self.why}"
