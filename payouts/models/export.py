"""Who took which rows out of the house, as a table."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH


class Export(models.Model):
    """One export of a list, or one that was refused; written before the file is handed over, and never changed."""

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    subject = models.CharField(max_length=128, help_text="The list, or the object whose table it was.")
    filters = models.JSONField(default=dict, blank=True, help_text="The list's filters and search, as in its address.")
    columns = ArrayField(models.CharField(max_length=64), help_text="Those that the person may see.")
    row_count = models.PositiveIntegerField(null=True, blank=True)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, help_text="Of the file: a copy can be told by it.")
    refusal = models.TextField(blank=True, help_text="Why nothing was handed over.")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(refusal="", row_count__isnull=False, sha256__regex=r"^[0-9a-f]{64}$")
                | (~Q(refusal="") & Q(row_count__isnull=True, sha256="")),
                name="export_is_a_file_or_a_refusal",
            ),
        )
        indexes = (models.Index(fields=("subject", "-id"), name="export_of_a_list"),)

    def __str__(self) -> str:
        return f"{self.subject} by {self.actor}"
