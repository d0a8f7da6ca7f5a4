"""Idempotency-Key: a request that is sent twice is carried out once, and answered twice.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
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


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is to work under a key: the key's row, and until when nobody else takes it over."""

    pk: int
    until: datetime


def take_key(*, caller: str, key: str, fingerprint: str) -> Answer | Turn:
    """The answer that was given under this key; or, when it is the caller's turn to work, what to answer with.

    Raises:
        KeyReusedError: the key stood for a request with another fingerprint.
        RequestInFlightError: somebody else works on it.
    """
    now = timezone.now()
    until = now + LEASE
    row, is_new = RequestKey.objects.get_or_create(
        caller=caller, key=key, defaults={"fingerprint": fingerprint, "locked_until": until}
    )
    if is_new:
        return Turn(row.pk, until)
    if row.fingerprint != fingerprint:
        raise KeyReusedError("This Idempotency-Key stood for another request; take a new one for each.")
    if row.status is not None:
        return Answer(status=row.status, content_type=row.content_type, body=bytes(row.body))
    stale = Q(pk=row.pk, status__isnull=True, locked_until__lte=now)
    if RequestKey.objects.filter(stale).update(locked_until=until):
        return Turn(row.pk, until)
    raise RequestInFlightError("The same request is being carried out; ask again in a moment.")


def answer_key(*, turn: Turn, answer: Answer) -> None:
    """Store what was answered.

    Raises:
        RequestInFlightError: this took longer than the lease, and somebody else took the key over. Whoever gets it in
            the transaction of its work rolls that back, so the work is done once.
    """
    if not _held(turn).update(status=answer.status, content_type=answer.content_type, body=answer.body):
        raise RequestInFlightError("This took too long, and the same request is being carried out anew; ask again.")


def give_key_back(*, turn: Turn) -> None:
    """The request broke off on our side: the next one under the key tries again."""
    _held(turn).delete()


def _held(turn: Turn) -> QuerySet[RequestKey]:
    return RequestKey.objects.filter(pk=turn.pk, status__isnull=True, locked_until=turn.until)


def forget_request_keys() -> int:
    """Delete those older than KEPT_FOR; says how many went."""
    return forget(RequestKey.objects.filter(created_at__lt=timezone.now() - KEPT_FOR))
