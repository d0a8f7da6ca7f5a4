"""What was changed of a client, by whom and why; never changed itself."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH
from payouts.models.client import Client


class ClientChange(models.Model):
    """One field of a client before and after, as text; empty where there was nothing.

    The fields of a new client are changes from nothing. Another destination of an old one is a DestinationChange.
    """

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="changes")
    field = models.CharField(max_length=32)
    before = models.CharField(max_length=128, blank=True)
    after = models.CharField(max_length=128, blank=True)
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=~Q(before=F("after")), name="client_change_changes_something"),
            models.CheckConstraint(condition=~Q(actor=""), name="client_change_says_who"),
        )

    def __str__(self) -> str:
        return f"{self.field}: {self.before or '(nothing)'} to {self.after or '(nothing)'}"
