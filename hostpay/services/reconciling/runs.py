"""Runs as rows: recorded at their end, and signed off by a person."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, ActorKind
from config.lib.differences import Line, Verdict, open_lines
from config.lib.errors import RefusedError
from hostpay.models import AcceptedDifference, Reconciliation, Result, Scope

logger = logging.getLogger(__name__)

_PEOPLE = (ActorKind.ADMIN, ActorKind.COMMAND)
_WORST = (Verdict.ALARM, Verdict.DIFFERS, Verdict.NOTED, Verdict.ACCEPTED, Verdict.AGREES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """What the wallet had after `block_number`, and up to where each transfer was judged."""

    block_number: int
    eth_wei: int
    usdt_units: int
    judged_block: int


def record_run(
    *,
    scope: Scope,
    subject: str,
    parts: Mapping[str, Sequence[Line]],
    failures: Mapping[str, str],
    balances: Balances | None,
    started_at: datetime,
    actor: Actor,
) -> Reconciliation:
    """Store what a run found, part by part; what a person accepted before is told as such."""
    judged = {name: without_accepted(lines) for name, lines in parts.items()}
    differing = [line for lines in judged.values() for line in open_lines(lines)]
    result = Result.FAILED if failures else Result.DIFFERS if differing else Result.AGREES
    run = Reconciliation.objects.create(
        scope=scope,
        subject=subject,
        result=result,
        actor=str(actor),
        started_at=started_at,
        lines=[_plain(name, line) for name, lines in judged.items() for line in lines],
        failures=dict(failures),
        block_number=balances.block_number if balances else None,
        eth_wei=balances.eth_wei if balances else None,
        usdt_units=balances.usdt_units if balances else None,
        judged_block=balances.judged_block if balances else None,
    )
    run.refresh_from_db(fields=("finished_at",))
    log = logger.info if result == Result.AGREES else logger.error
    log("reconciled", extra={"run": run.pk, "result": str(result), "differences": [str(line) for line in differing]})
    return run


def sign_off(*, run: Reconciliation, actor: Actor, reason: str) -> None:
    """Take on what a run found: its differences, with exactly their figures, are told no more as differences.

    Raises:
        RefusedError: no reason, no person, it was signed off before, a part of it was never asked, a later run has other
            figures, or a difference can be mended.
    """
    if actor.kind not in _PEOPLE:
        raise RefusedError(why=f"Only a person signs a run off, not {actor}.", next_step="Ask an operator.")
    if not reason.strip():
        raise RefusedError(why="This needs a reason.", next_step="Say what was found out about each difference.")
    with transaction.atomic():
        row = Reconciliation.objects.select_for_update().get(pk=run.pk)
        why_not = why_not_sign_off(row)
        if why_not:
            raise RefusedError(why=why_not, next_step="Then look at the latest run.")
        Reconciliation.objects.filter(pk=row.pk).update(
            signed_off_at=clock.now(), signed_off_by=str(actor), sign_off_reason=reason.strip()
        )
        accepted = [line for line in lines_of(row) if line.is_open]
        AcceptedDifference.objects.bulk_create(
            [
                AcceptedDifference(key=line.key, row=line.row, ours=line.ours, theirs=line.theirs, reconciliation=row)
                for line in accepted
            ],
            ignore_conflicts=True,
        )
    run.refresh_from_db()
    logger.warning("reconciliation signed off", extra={"run": run.pk, "actor": str(actor), "reason": reason})


def why_not_sign_off(run: Reconciliation) -> str:
    """A sentence, or nothing if there is something to sign off."""
    if run.signed_off_at is not None:
        return f"It was signed off by {run.signed_off_by}: {run.sign_off_reason}."
    if run.result == Result.AGREES:
        return "It found no difference."
    if run.result == Result.FAILED:
        return "A part of it could not be asked, and nobody can vouch for what was not seen."
    later = Reconciliation.objects.filter(pk__gt=run.pk, scope=run.scope, subject=run.subject)
    newest = later.exclude(result=Result.FAILED).order_by("-pk").first()
    if newest is not None:
        return f"Run {newest.pk} has looked at the same since."
    to_mend = [line for line in worst_first(lines_of(run)) if line.is_open and not line.is_acceptable]
    return f"It can be mended, and is nothing to be known: {to_mend[0]}. {to_mend[0].next_step}" if to_mend else ""


def lines_of(run: Reconciliation, part: str | None = None) -> list[Line]:
    """What a run compared, in one of its parts or in all."""
    return [
        Line(
            row=each["row"],
            ours=each["ours"],
            theirs=each["theirs"],
            verdict=Verdict(each["verdict"]),
            next_step=each["next_step"],
            is_acceptable=each.get("is_acceptable", True),
        )
        for each in run.lines
        if part is None or each["part"] == part
    ]


def worst_first(lines: Iterable[Line]) -> list[Line]:
    """Alarms before all else, and what agrees last."""
    return sorted(lines, key=lambda line: _WORST.index(line.verdict))


def without_accepted(lines: Iterable[Line]) -> list[Line]:
    """The lines, with what a person has accepted before told as such."""
    found = list(lines)
    known = set(
        AcceptedDifference.objects.filter(key__in=[line.key for line in found if line.is_open]).values_list(
            "key", flat=True
        )
    )
    return [
        replace(line, verdict=Verdict.ACCEPTED, next_step="")
        if line.is_open and line.is_acceptable and line.key in known
        else line
        for line in found
    ]


def latest_settled(*scopes: Scope) -> Reconciliation | None:
    """The latest run of these scopes that agreed, or whose differences a person has taken on: from there one goes on."""
    return Reconciliation.objects.settled().filter(scope__in=scopes).order_by("-id").first()


def _plain(part: str, line: Line) -> dict[str, str | bool]:
    return {
        "part": part,
        "row": line.row,
        "ours": line.ours,
        "theirs": line.theirs,
        "verdict": line.verdict.value,
        "next_step": line.next_step,
        "is_acceptable": line.is_acceptable,
    }
