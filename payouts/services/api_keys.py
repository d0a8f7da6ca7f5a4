"""Keys of programs: made, shown once, looked up by their hash, revoked for good."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import secrets
from collections.abc import Iterable
from datetime import datetime

from django.db.models.functions import Now
from django.utils import timezone

from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from payouts.models import ApiKey, Scope

logger = logging.getLogger(__name__)

SECRET_BYTES = 32
# Of every key that was ever made; what has another is not looked up.
_SHAPE = re.compile(r"sk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


def create_api_key(
    *,
    name: str,
    scopes: Iterable[str],
    actor: Actor,
    expires_at: datetime | None = None,
    allowed_networks: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """Make a key; the second value is the key itself, `sk_...`, which nobody can show again.

    `allowed_networks` are those it may be used from (`10.0.0.0/24`, or one address); none means from anywhere.

    Raises:
        RefusedError: no name, no scope or an unknown one, an expiry in the past, or a network that is none.
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
    networks = [_network(text) for text in allowed_networks]
    prefix = f"sk_{secrets.token_hex(4)}"
    secret = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = ApiKey.objects.create(
        name=name.strip(),
        prefix=prefix,
        secret_sha256=_hashed(secret),
        scopes=wanted,
        allowed_networks=networks,
        created_by=str(actor),
        expires_at=expires_at,
    )
    return key, secret


def revoke_api_key(*, prefix: str, actor: Actor, reason: str) -> ApiKey:
    """Let nobody in with the key any more, from the next request on and for good.

    Raises:
        RefusedError: no key begins so, it was revoked before, or no reason was given.
    """
    need_reason(reason)
    changed = ApiKey.objects.filter(prefix=prefix, revoked_at__isnull=True).update(
        revoked_at=Now(), revoked_by=str(actor), revoke_reason=reason.strip()
    )
    key = ApiKey.objects.filter(prefix=prefix).first()
    if key is None:
        raise RefusedError(why=f"No API key begins with {prefix!r}.", next_step="Look it up in the list of keys.")
    if not changed:
        by = f" by {key.revoked_by}" if key.revoked_by else ""
        raise RefusedError(why=f"The API key {key} was revoked{by} before.", next_step="Nothing is to do.")
    logger.warning("API key revoked", extra={"prefix": prefix, "actor": str(actor), "reason": reason.strip()})
    return key


def find_api_key(secret: str, *, address: str) -> ApiKey | None:
    """The key that `secret` is, usable now and from `address`, with this use counted; None if there is none.

    One look-up by hash whatever key was sent: the time it takes says nothing about how close a guess is.
    """
    if not _SHAPE.fullmatch(secret):
        return None
    now = timezone.now()
    minute = now.replace(second=0, microsecond=0)
    # An empty address is a caller through a socket file, which is in no network.
    asked = {"minute": minute, "now": now, "secret": _hashed(secret), "address": address or None}
    found = next(iter(ApiKey.objects.raw(_COUNT_USE, asked)), None)
    if found is None:
        _tell_refusal(secret)
    return found


def _tell_refusal(secret: str) -> None:
    """A key of ours that is used when or where it must not be may have been stolen: the log says which."""
    known = ApiKey.objects.filter(secret_sha256=_hashed(secret)).first()
    if known is not None:
        logger.warning("API key refused: revoked, expired, or from elsewhere", extra={"prefix": known.prefix})


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError as error:
        raise RefusedError(
            why=f"No network: {error}.", next_step="Write it like 10.0.0.0/24, or one address."
        ) from None


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


# Counted where the key is found, so that all processes see one number and a request costs no second statement.
_COUNT_USE = f"""
    UPDATE {ApiKey._meta.db_table}
    SET uses_in_minute = CASE WHEN last_used_at = %(minute)s THEN uses_in_minute + 1 ELSE 1 END,
        last_used_at = %(minute)s
    WHERE secret_sha256 = %(secret)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
      AND (allowed_networks = '[]' OR EXISTS (
          SELECT FROM jsonb_array_elements_text(allowed_networks) AS network WHERE %(address)s::inet <<= network::cidr
      ))
    RETURNING *
"""  # noqa: S608 (only names of ours)
