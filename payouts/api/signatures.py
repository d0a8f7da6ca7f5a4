"""Who may send payments: a signature by the Standard Webhooks scheme, under one of the secrets in force.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from django.conf import settings
from standardwebhooks import Webhook, WebhookVerificationError

# The id is the first part of the signed text `id.timestamp.body`: with a point in it, it could be cut elsewhere.
_EVENT_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,128}")
# The package reads any float; a sender has no reason to write one.
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_LONGEST_SIGNATURES = 512


def is_signed(body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether `body` carries a signature by one of `INGEST_SIGNING_SECRETS`, made within five minutes of now.

    `headers` has the lower-case names `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    """
    if not _EVENT_ID.fullmatch(headers.get("webhook-id", "")):
        return False
    if not _TIMESTAMP.fullmatch(headers.get("webhook-timestamp", "")):
        return False
    if len(headers.get("webhook-signature", "")) > _LONGEST_SIGNATURES:
        return False
    return any(_verifies(webhook, body, headers) for webhook in _webhooks(tuple(settings.INGEST_SIGNING_SECRETS)))


def _verifies(webhook: Webhook, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        # ValueError: a header that is not version,base64, or a body that is not UTF-8.
        return False
    return True


@lru_cache(maxsize=8)
def _webhooks(secrets: tuple[str, ...]) -> Sequence[Webhook]:
    """Decoded once and not at every request; keyed by the secrets, so that a change of settings is seen."""
    return tuple(Webhook(secret) for secret in secrets)
