"""Scheduled work of the whole system. A task is a call."""

from celery import shared_task

from config.invariants import Finding, examine
from config.lib.audit import beat
from hostpay.models import BreakerCause
from hostpay.services import beating
from hostpay.services.breaking import open_breaker

HEARTBEAT = "check_invariants"


class InvariantError(Exception):
    """An invariant does not hold; the text names it, and the row."""


@shared_task
def check_invariants() -> None:
    """Ask every invariant; one that concerns money opens the breaker, and any makes the heartbeat a failed one.

    Raises:
        InvariantError: at least one does not hold.
        ProviderError: the chain could not be asked; what the database says was judged before.
    """
    with beating(HEARTBEAT):
        _judge(examine(with_chain=False))
        _judge(examine(with_database=False))


def _judge(findings: list[Finding]) -> None:
    broken = [finding for finding in findings if finding.breaches]
    grave = [finding for finding in broken if finding.invariant.stops_money]
    if grave:
        open_breaker(cause=BreakerCause.INVARIANT, detail=str(grave[0]), actor=beat("check the invariants"))
    if broken:
        raise InvariantError("; ".join(map(str, broken)))
