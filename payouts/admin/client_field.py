"""How a form asks which client is meant."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from payouts.models import Client


class ClientIdField(forms.CharField):
    """A client by its id in the payment systems: there can be thousands, and two of one name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=64, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}), **options)

    def clean(self, value: Any) -> Any:
        """The Client, or None where none was named and none must be."""
        external_id = super().clean(value)
        if not external_id:
            return None
        found = Client.objects.filter(external_id=external_id).first()
        if found is None:
            raise forms.ValidationError("No client has this id.", code="invalid")
        return found
