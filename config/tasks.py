"""Scheduled work of the whole system. A task is a call."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from config import reconciliation
from config.invariants import Finding, examine
from config.lib.audit import Actor, admin, beat
from hostpay.models import BreakerCause, Scope
from hostpay.services import beating
from hostpay.services.breaking import open_breaker, was_looked_into
from hostpay.services.reconciling import readopt_sent

HEARTBEAT = "check_invariants"
# Apart, so that a node that is away does not look like books that nobody checks.
CHAIN_HEARTBEAT = "check_chain_invariants"
RECONCILE_HEARTBEAT = "reconcile"
# Below the broker's patience with what nobody has acknowledged.
_RECONCILED_WITHIN_S = 480

logger = logging.getLogger(__name__)


class InvariantError(Exception):
    """An invariant does not hold; the text names it, and the row."""


@shared_task
def check_invariants() -> None:
    """Ask the database; a breach that concerns money opens the breaker, and any makes the heartbeat a failed one.

    Raises:
        InvariantError: at least one does not hold.
        Error: of the database: all that could be asked hold, and one could not be.
    """
    with beating(HEARTBEAT):
        _judge(examine(with_chain=False))


@shared_task
def check_chain_invariants() -> None:
    """The same, asked of the chain.

    Raises:
        InvariantError: at least one does not hold.
        ProviderError: all that could be asked hold, and the chain did not answer the others.
    """
    with beating(CHAIN_HEARTBEAT):
        _judge(examine(with_database=False))


@shared_task(soft_time_limit=_RECONCILED_WITHIN_S, time_limit=_RECONCILED_WITHIN_S + 60)
def reconcile() -> None:
    """The daily comparison of the books with chain and exchange; what differs is in its row, and under “Needs me”.

    Raises:
        CouldNotAskError: a part of it could not be asked.
        SoftTimeLimitExceeded: it took too long, which is told in a row.
    """
    actor = beat("reconcile")
    with beating(RECONCILE_HEARTBEAT), _end_is_told(Scope.ALL, actor):
        reconciliation.reconcile_daily(actor=actor)


@shared_task(soft_time_limit=_RECONCILED_WITHIN_S, time_limit=_RECONCILED_WITHIN_S + 60)
def reconcile_now(scope: str, username: str) -> None:
    """The same at once, because an operator asked."""
    with _end_is_told(Scope(scope), admin(username)):
        reconciliation.reconcile(scope=Scope(scope), actor=admin(username))


@shared_task(soft_time_limit=_RECONCILED_WITHIN_S, time_limit=_RECONCILED_WITHIN_S + 60)
def adopt_now(username: str, reason: str) -> None:
    """Take back what proves itself, because an operator asked, and store a run that shows what is left."""
    actor = admin(username)
    with _end_is_told(Scope.CHAIN, actor):
        done = readopt_sent(actor=actor, reason=reason)
        for why in done.waiting:
            logger.warning("something was not adopted, or the wallet stays halted", extra={"why": why})
        reconciliation.reconcile(scope=Scope.CHAIN, actor=actor)


@contextmanager
def _end_is_told(scope: Scope, actor: Actor) -> Iterator[None]:
    started_at = timezone.now()
    try:
        yield
    except SoftTimeLimitExceeded:
        reconciliation.record_ended(scope=scope, actor=actor, started_at=started_at)
        raise


def _judge(findings: list[Finding]) -> None:
    broken = [finding for finding in findings if finding.breaches]
    # One that a person has looked into stops nothing again: a row that cannot be mended would, every five minutes.
    unseen = [
        said
        for finding in broken
        if finding.invariant.stops_money
        for said in finding.sentences()
        if not was_looked_into(cause=BreakerCause.INVARIANT, line=said)
    ]
    if unseen:
        open_breaker(cause=BreakerCause.INVARIANT, detail="\n".join(unseen), actor=beat("check the invariants"))
    failed = next((finding.unanswered for finding in findings if finding.unanswered is not None), None)
    if broken:
        raise InvariantError("; ".join(map(str, broken))) from failed
    if failed is not None:
        raise failed
