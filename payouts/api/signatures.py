"""Who may send payments: a signature by the Standard Webhooks scheme, under one of the secrets in force.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from django.conf import settings

# The id is the first part of the signed text `id.timestamp.body`: with a point in it, it could be cut elsewhere.
_EVENT_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_LONGEST_SIGNATURES = 512


class Proof(StrEnum):
    """What a delivery's signature proves. STALE: it is a sender's own, and too far from our clock to be believed now."""

    GOOD = "good"
    STALE = "stale"
    WRONG = "signature"


def proof_of(body: bytes, headers: Mapping[str, str]) -> Proof:
    """Whether `body` carries a signature by one of `INGEST_SIGNING_SECRETS`, made within INGEST_TOLERANCE_S of now.

    `headers` has the lower-case names `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    """
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not _EVENT_ID.fullmatch(event_id) or not _TIMESTAMP.fullmatch(timestamp):
        return Proof.WRONG
    if len(signatures) > _LONGEST_SIGNATURES:
        return Proof.WRONG
    text = f"{event_id}.{timestamp}.".encode() + body
    expected = [hmac.digest(key, text, "sha256") for key in _keys(tuple(settings.INGEST_SIGNING_SECRETS))]
    # All are compared, so that the time it takes says nothing about which of them it was.
    matches = [hmac.compare_digest(given, each) for given in _digests(signatures) for each in expected]
    if not any(matches):
        return Proof.WRONG
    return Proof.GOOD if abs(int(time.time()) - int(timestamp)) <= settings.INGEST_TOLERANCE_S else Proof.STALE


def _digests(signatures: str) -> Iterator[bytes]:
    """The header's signatures of the version we know; during a rotation a sender may give several."""
    for signature in signatures.split(" "):
        version, _, text = signature.partition(",")
        if version != "v1":
            continue
        try:
            yield base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue


@lru_cache(maxsize=8)
def _keys(secrets: tuple[str, ...]) -> Sequence[bytes]:
    """Decoded once and not at every request; keyed by the secrets, so that a change of settings is seen."""
    # Surplus padding does no harm, and a secret may come without.
    return tuple(base64.b64decode(secret.removeprefix("whsec_") + "==") for secret in secrets)
