"""Keys of programs that call the API."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now


class Scope(models.TextChoices):
    INGEST = "ingest", "void payments that it sends; sending itself is proved by a signature, not by a key"
    READ = "read", "read everything"
    OPS = "ops", "do what an operator does"


class ApiKey(models.Model):
    """An API key: only the SHA-256 of its 256 random bits is stored, and a prefix to know it by.

    A plain hash is enough here: there is nothing to guess in 256 random bits, and it is looked up at every request.
    """

    name = models.CharField(max_length=80, help_text="Who uses it.")
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    allowed_networks = models.JSONField(
        default=list,
        db_default=Value([], output_field=models.JSONField()),
        blank=True,
        help_text="Networks that it may be used from; none: from anywhere.",
    )
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=150, blank=True, db_default="", default="")
    revoke_reason = models.TextField(blank=True, db_default="", default="")
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    uses_in_minute = models.PositiveIntegerField(default=0, help_text="Requests in that minute, for the limit.")

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(condition=Q(secret_sha256__regex=r"^[0-9a-f]{64}$"), name="api_key_is_hashed"),  # noqa: S106 (a pattern)
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=False) | Q(revoked_by="", revoke_reason=""),
                name="api_key_in_use_was_revoked_by_nobody",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_usable(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
