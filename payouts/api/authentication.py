"""`Authorization: Bearer sk_...`: who calls the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from payouts.models import ApiKey, TryKind
from payouts.services import count_failure, find_api_key

_LONGEST_HEADER: Final = 200
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """The program behind an API key, in the place where Django has a user."""

    prefix: str
    is_authenticated: bool = True
    is_active: bool = True
    is_staff: bool = False

    def __str__(self) -> str:
        return self.prefix


class ApiKeyAuthentication(BaseAuthentication):
    """`request.user` is the ApiCaller and `request.auth` the ApiKey; without the header the next class is asked.

    A key is let in API_REQUESTS_PER_MINUTE times in a minute of the clock, over all processes. Here, before anybody asks
    what it may do: what it may not costs us the same. Senders of payments have no key and are not held up: what they
    send is bounded by its signature and its size.
    """

    def authenticate(self, request: Request) -> tuple[ApiCaller, ApiKey] | None:
        header = request.headers.get("Authorization", "")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = None
        if len(header) <= _LONGEST_HEADER and secret.isascii():
            key = find_api_key(secret.strip(), address=request.META.get("REMOTE_ADDR", ""))
        if key is None:
            if not count_failure(kind=TryKind.API_KEY, address=request.META.get("REMOTE_ADDR", "")):
                raise Throttled(wait=60, detail="This address has tried too many keys.")
            # One text for unknown, expired, revoked and used from elsewhere: nobody learns that a key works somewhere.
            raise AuthenticationFailed("This API key is not valid.")
        if key.uses_in_minute > settings.API_REQUESTS_PER_MINUTE:
            raise Throttled(wait=_MINUTE_S - timezone.now().second)
        return ApiCaller(prefix=key.prefix), key

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 (DRF's signature)
        return 'Bearer realm="sluice"'
