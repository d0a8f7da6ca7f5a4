"""Keys of programs: made, shown once, looked up by their hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from config.lib.audit import Actor
from config.lib.errors import RefusedError
from payouts.models import ApiKey, Scope

SECRET_BYTES = 32
# `last_used_at` is for people; writing it at every request would cost each of them an update.
_USE_RESOLUTION = timedelta(minutes=1)


def create_api_key(
    *, name: str, scopes: Iterable[str], actor: Actor, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key; the second value is the key itself, `sk_...`, which nobody can show again.

    Raises:
        RefusedError: no name, no scope or an unknown one, or an expiry in the past.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in Scope.values]
    if unknown or not wanted:
        raise RefusedError(
            why=f"An API key needs scopes that exist, not {', '.join(unknown) or 'none'}.",
            next_step=f"There are: {', '.join(Scope.values)}.",
        )
    if not name.strip():
        raise RefusedError(why="An API key needs a name.", next_step="Say who will use it.")
    if expires_at is not None and expires_at <= timezone.now():
        raise RefusedError(why="The key would have expired already.", next_step="Give a time in the future.")
    prefix = f"sk_{secrets.token_hex(4)}"
    secret = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = ApiKey.objects.create(
        name=name.strip(),
        prefix=prefix,
        secret_sha256=_hashed(secret),
        scopes=wanted,
        created_by=str(actor),
        expires_at=expires_at,
    )
    return key, secret


def find_api_key(secret: str) -> ApiKey | None:
    """The usable key that `secret` is, its use noted to the minute; None if there is none.

    One look-up by hash whatever was sent: the time it takes says nothing about how close a guess is.
    """
    key = ApiKey.objects.filter(secret_sha256=_hashed(secret)).first()
    now = timezone.now()
    if key is None or not key.is_usable(now):
        return None
    if key.last_used_at is None or key.last_used_at <= now - _USE_RESOLUTION:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - _USE_RESOLUTION)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now.replace(second=0, microsecond=0))
    return key


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
