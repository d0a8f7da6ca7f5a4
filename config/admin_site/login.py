"""Logging in, and changing what one logs in with: who guesses has to wait, longer each time, and learns nothing by it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import ngettext

from config.admin_site import step_up
from payouts.services import forgive_login, take_turn_to_log_in

# unfold ships no types: to the type checker its forms are Django's, which they inherit.
if TYPE_CHECKING:
    from django.contrib.admin.forms import AdminAuthenticationForm as AuthenticationForm
    from django.contrib.auth.forms import PasswordChangeForm
else:
    from unfold.forms import AdminOwnPasswordChangeForm as PasswordChangeForm
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


class OwnPasswordForm(PasswordChangeForm):
    """Django's; but the old password is as slow to guess here as anywhere."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    def clean_old_password(self) -> str:
        given: str = self.cleaned_data["old_password"]
        why_not = step_up.prove(self._request, given)
        if why_not:
            raise ValidationError(why_not, code="not_proved")
        return given
