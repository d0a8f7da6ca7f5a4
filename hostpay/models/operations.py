"""What operators and the watch over the workers need: pauses, heartbeats, tokens already used."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH


class Switch(models.TextChoices):
    """What can be paused."""

    INTAKE = "intake", "recording of payments"
    BATCHES = "batches", "new batches"
    SIGNING = "signing", "new signatures"


class PauseQuerySet(models.QuerySet["Pause"]):
    def in_force(self) -> PauseQuerySet:
        """Not lifted and not run out, by the database's clock."""
        return self.filter(resumed_at__isnull=True).filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))


class Pause(models.Model):
    """One pause of one switch, kept for ever: who, why, since when, until when."""

    switch = models.CharField(max_length=16, choices=Switch.choices)
    reason = models.TextField()
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    paused_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    resumed_at = models.DateTimeField(null=True, blank=True)
    resumed_by = models.CharField(max_length=ACTOR_MAX_LENGTH, blank=True)

    objects = PauseQuerySet.as_manager()

    class Meta:
        ordering = ("-paused_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("switch",), condition=Q(resumed_at__isnull=True), name="switch_is_paused_once"
            ),
            models.CheckConstraint(condition=Q(switch__in=Switch.values), name="pause_switch_is_known"),
            models.CheckConstraint(condition=~Q(reason=""), name="pause_has_a_reason"),
        )

    def __str__(self) -> str:
        return f"{self.get_switch_display()} paused by {self.actor}: {self.reason}"


class Heartbeat(models.Model):
    """The latest run of one piece of scheduled work; silence is how its death is noticed."""

    name = models.CharField(max_length=64, primary_key=True)
    started_at = models.DateTimeField(null=True)
    succeeded_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class UsedToken(models.Model):
    """The nonce of a token that was acted upon, kept while the token could still verify."""

    nonce = models.CharField(max_length=64, primary_key=True)
    purpose = models.CharField(max_length=32)
    used_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = (models.Index(fields=("used_at",), name="used_token_by_age"),)

    def __str__(self) -> str:
        return f"{self.purpose} {self.nonce}"
