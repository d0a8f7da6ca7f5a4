"""What webhooks are signed with: derived when it is needed, and stored nowhere.

A secret is HMAC-SHA256 of its endpoint's seed under a key of WEBHOOK_SECRET_KEYS. The seed alone, as a backup or a
reader of the database has it, is worth nothing; and no message, log line or page can show what no row holds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from datetime import datetime

from django.conf import settings

from config import logs
from config.lib.errors import SluiceError
from payouts.models import WebhookEndpoint

logger = logging.getLogger(__name__)

PREFIX = "whsec_"
_PURPOSE = b"sluice webhook secret "
_SEED_BYTES = 32


class LostKeyError(SluiceError):
    """The key that an endpoint's secret is derived from is no longer in the settings."""

    code = "lost_key"


def new_seed() -> tuple[str, str]:
    """A seed for a new secret, and the id of the key that derives it: the first one."""
    return secrets.token_urlsafe(_SEED_BYTES), key_id(settings.WEBHOOK_SECRET_KEYS[0])


def secret_of(seed: str, derived_by: str) -> str:
    """`whsec_` and the base64 of 32 bytes, as Standard Webhooks writes a secret; masked in every log line from now on,
    and for an hour after it was last derived.

    Raises:
        LostKeyError: no key has the id `derived_by`.
    """
    for key in settings.WEBHOOK_SECRET_KEYS:
        if key_id(key) == derived_by:
            derived = hmac.new(key.encode(), _PURPOSE + seed.encode(), hashlib.sha256).digest()
            encoded = base64.b64encode(derived).decode()
            logs.mask_in_use(encoded)
            return PREFIX + encoded
    raise LostKeyError(
        f"Its secret was derived from the key {derived_by}, which is not in WEBHOOK_SECRET_KEYS: put that key back, or"
        " give the endpoint a new secret."
    )


def live_secrets(endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """The secret in force, and the one before it while both are and its key is known: a receiver needs one that fits.

    Raises:
        LostKeyError: as `secret_of`, for the one in force.
    """
    live = [secret_of(endpoint.secret_seed, endpoint.secret_key_id)]
    if endpoint.old_secret_until is not None and endpoint.old_secret_until > now:
        try:
            live.append(secret_of(endpoint.old_secret_seed, endpoint.old_secret_key_id))
        except LostKeyError as error:
            logger.warning("an old webhook secret signs no longer", extra={"endpoint": endpoint.pk, "why": str(error)})
    return live


def key_id(key: str) -> str:
    """What a key is known by: a hash says nothing of a random key."""
    return hashlib.sha256(b"id of " + key.encode()).hexdigest()[:12]
