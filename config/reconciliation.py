"""The whole reconciliation: chain, exchange and batches compared in one run, which is stored with what it found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from batches.models import BatchConversion
from batches.services import reconcile_batches
from config.lib.audit import Actor
from config.lib.differences import Line
from config.lib.errors import ProviderError, RefusedError
from config.lib.locks import Lock, alone
from hostpay.models import Reconciliation, Result, Scope
from hostpay.services.reconciling import reconcile_chain, reconcile_provider, record_run
from hostpay.services.reconciling.runs import Balances

logger = logging.getLogger(__name__)

# Whoever asks how often: a run that came to a result serves for a day, less the time that beat may be late.
_DAILY = timedelta(hours=23)
# The names of the parts, as they stand in the rows.
CHAIN, PROVIDER, BATCHES = "chain", "provider", "batches"
# What failed where no part could be named.
RUN = "run"


class CouldNotAskError(Exception):
    """A part of the daily run could not be asked; the text says which, and why."""


def reconcile(
    *,
    scope: Scope,
    actor: Actor,
    batch: BatchConversion | None = None,
    since_block: int | None = None,
    is_whole: bool = False,
) -> Reconciliation:
    """Compare what the scope names, and store the run. One part that cannot be asked does not keep the others from it.

    Nothing is changed but that row. What is too much for a worker's run is told as a difference, unless the run is whole.

    Raises:
        RefusedError: another one is running.
    """
    with alone(Lock.RECONCILIATION) as is_alone:
        if not is_alone:
            raise RefusedError(why="Another reconciliation is running.", next_step="Look at its run when it is done.")
        return _reconcile(scope, actor, batch, since_block, is_whole=is_whole)


def record_ended(*, scope: Scope, actor: Actor, started_at: datetime) -> Reconciliation:
    """Store that a run was ended at its time limit: a run that nobody sees would look like none."""
    why = "it was ended at the worker's time limit; manage.py reconcile at a shell has none"
    return record_run(
        scope=scope, subject="", parts={}, failures={RUN: why}, balances=None, started_at=started_at, actor=actor
    )


def reconcile_daily(*, actor: Actor) -> Reconciliation | None:
    """Everything, unless a run of the last day has come to a result, or one is running; None then.

    Raises:
        CouldNotAskError: a part of it could not be asked; the next call tries again.
    """
    answered = Reconciliation.objects.filter(scope=Scope.ALL, started_at__gt=timezone.now() - _DAILY)
    if answered.exclude(result=Result.FAILED).exists():
        return None
    try:
        run = reconcile(scope=Scope.ALL, actor=actor)
    except RefusedError:
        logger.info("another reconciliation is running, and serves as well")
        return None
    if run.failures:
        raise CouldNotAskError("; ".join(f"{part}: {why}" for part, why in run.failures.items()))
    return run


def _reconcile(
    scope: Scope, actor: Actor, batch: BatchConversion | None, since_block: int | None, *, is_whole: bool
) -> Reconciliation:
    started_at = timezone.now()
    balances: list[Balances] = []

    def chain() -> Sequence[Line]:
        report = reconcile_chain(since_block=since_block, is_whole=is_whole)
        balances.append(report.balances)
        return report.lines

    asked: dict[Scope, tuple[str, Callable[[], Sequence[Line]]]] = {
        Scope.CHAIN: (CHAIN, chain),
        Scope.PROVIDER: (PROVIDER, lambda: reconcile_provider(is_whole=is_whole)),
        Scope.BATCH: (BATCHES, lambda: reconcile_batches(batch=batch, is_whole=is_whole)),
    }
    parts: dict[str, Sequence[Line]] = {}
    failures: dict[str, str] = {}
    for part, (name, ask) in asked.items():
        if scope not in {Scope.ALL, part}:
            continue
        try:
            parts[name] = ask()
        except ProviderError as error:
            logger.exception("a part of the reconciliation could not be asked", extra={"part": name})
            failures[name] = str(error)
    return record_run(
        scope=scope,
        subject=str(batch.pk) if batch else "",
        parts=parts,
        failures=failures,
        balances=balances[0] if balances else None,
        started_at=started_at,
        actor=actor,
    )
