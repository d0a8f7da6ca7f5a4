"""Logging in: who guesses has to wait, longer each time, and learns nothing by it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import ngettext

from payouts.services import forgive_login, take_turn_to_log_in

# unfold ships no types: to the type checker its form is Django's, which it inherits.
if TYPE_CHECKING:
    from django.contrib.admin.forms import AdminAuthenticationForm as AuthenticationForm
else:
    from unfold.forms import AuthenticationForm

logger = logging.getLogger(__name__)


class LoginForm(AuthenticationForm):
    """Django's, asked only when it is the caller's turn: what it says is the same for every name and password."""

    def clean(self) -> dict[str, Any]:
        username = str(self.cleaned_data.get("username") or "")
        address = str(self.request.META.get("REMOTE_ADDR", "")) if self.request else ""
        wait_s = take_turn_to_log_in(username=username, address=address)
        if wait_s:
            logger.warning("log-in refused: too many failed tries")
            minutes = -(-wait_s // 60)
            text = ngettext("Too many tries. Wait a minute.", "Too many tries. Wait %(minutes)s minutes.", minutes)
            raise ValidationError(text, code="too_many_tries", params={"minutes": minutes})
        try:
            given = super().clean()
        except ValidationError:
            logger.warning("log-in failed")
            raise
        # Without a name or a password Django looks at nothing, and refuses nothing here either.
        if self.get_user() is not None:
            forgive_login(username=username, address=address)
            logger.info("logged in", extra={"user": username})
        return given
