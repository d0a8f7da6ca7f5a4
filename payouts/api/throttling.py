"""How often one API key may ask."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from payouts.models import ApiKey

_MINUTE_S = 60


class PerKeyAndMinute(BaseThrottle):
    """At most API_REQUESTS_PER_MINUTE requests of one key in a minute of the clock, over all processes.

    Senders of payments have no key and are not held up: what they send is bounded by its signature and its size.
    """

    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002 (DRF's signature)
        key = request.auth
        return not isinstance(key, ApiKey) or key.uses_in_minute <= settings.API_REQUESTS_PER_MINUTE

    def wait(self) -> float | None:
        """Seconds until the next minute begins."""
        return _MINUTE_S - timezone.now().second
