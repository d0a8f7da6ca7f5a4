"""Idempotency-Key: a request that is sent twice is carried out once, and answered twice.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from config.lib.errors import SluiceError
from config.lib.forgetting import forget
from payouts.models import RequestKey

# Longer than any request takes: a process that has not answered by then has died.
LEASE = timedelta(minutes=2)
KEPT_FOR = timedelta(days=7)


class KeyReusedError(SluiceError):
    """The key stood for another request."""

    code = "idempotency_mismatch"


class RequestInFlightError(SluiceError):
    """The same request is being carried out."""

    code = "request_in_flight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered."""

    status: int
    content_type: str
    body: bytes


def take_key(*, caller: str, key: str, fingerprint: str) -> Answer | int:
    """The answer that was given under this key; or, when it is the caller's turn to work, the number to answer under.

    Raises:
        KeyReusedError: the key stood for a request with another fingerprint.
        RequestInFlightError: somebody else works on it.
    """
    now = timezone.now()
    row, is_new = RequestKey.objects.get_or_create(
        caller=caller, key=key, defaults={"fingerprint": fingerprint, "locked_until": now + LEASE}
    )
    if is_new:
        return row.pk
    if row.fingerprint != fingerprint:
        raise KeyReusedError("This Idempotency-Key stood for another request; take a new one for each.")
    if row.status is not None:
        return Answer(status=row.status, content_type=row.content_type, body=bytes(row.body))
    stale = Q(pk=row.pk, status__isnull=True, locked_until__lte=now)
    if RequestKey.objects.filter(stale).update(locked_until=now + LEASE):
        return row.pk
    raise RequestInFlightError("The same request is being carried out; ask again in a moment.")


def answer_key(*, number: int, answer: Answer) -> None:
    """Store what was answered."""
    RequestKey.objects.filter(pk=number).update(
        status=answer.status, content_type=answer.content_type, body=answer.body
    )


def give_key_back(*, number: int) -> None:
    """The request broke off on our side: the next one under the key tries again."""
    RequestKey.objects.filter(pk=number, status__isnull=True).delete()


def forget_request_keys() -> int:
    """Delete those older than KEPT_FOR; says how many went."""
    return forget(RequestKey.objects.filter(created_at__lt=timezone.now() - KEPT_FOR))
