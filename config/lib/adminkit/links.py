"""Where objects' pages are."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.urls import reverse
from django.utils.safestring import SafeString

from config.lib.adminkit import cells


def page_of(obj: Model) -> str:
    """The address of an object's page."""
    return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=(obj.pk,))


def list_of(model: type[Model], query: str = "") -> str:
    """The address of a model's list, with a query for its filters."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?{query}" if query else url


def linked(obj: Model | None, text: Any = "") -> SafeString:
    """A link to an object's page, or a dash."""
    return cells.NOTHING if obj is None else cells.link(page_of(obj), text or str(obj))


def linked_id(obj: Model | None, value: str = "") -> SafeString:
    """A shortened id that links to the object's page, or a dash."""
    return cells.NOTHING if obj is None else cells.short(value or str(obj.pk), link=page_of(obj))
