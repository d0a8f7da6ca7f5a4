"""The threshold check: is enough pending, and if so, make one batch of it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from batches.models import BatchConversion, BatchStatus, ConversionPolicy, Decision, ThresholdCheck
from batches.services.findings import Situation, judge, obstacle, sentences
from batches.services.limits import Limits, read_limits
from batches.services.policy import current_policy
from config.lib import locks
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from config.lib.explain import Rule
from hostpay import services as hostpay
from hostpay.models import Context, Heartbeat, HostPayment, Switch
from payouts.services import carry_out_void_orders
from payouts.services.members import claim_pending, pending_totals, survey_pending

logger = logging.getLogger(__name__)

# The name under which scheduled checks leave their heartbeat.
HEARTBEAT = "check_threshold"


class _ClaimUndoneError(Exception):
    """What was claimed does not make a batch after all; carries what was seen, and undoes the claim on its way."""

    def __init__(self, situation: Situation, decision: Decision) -> None:
        super().__init__(decision)
        self.situation = situation
        self.decision = decision


class _LimitsNotReadError(Exception):
    """There is enough for a batch by now, but nobody has asked how much one conversion takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    situation: Situation
    decision: Decision
    remarks: list[str]
    batch: BatchConversion | None = None


def check_threshold(*, actor: Actor, force: bool = False, dry_run: bool = False, reason: str = "") -> ThresholdCheck:
    """Look once whether a batch is due, make it if so, and record what was seen and decided.

    One transaction under one advisory lock: the sum of what was *claimed* decides, so a payment that commits
    meanwhile is in the batch and in its total, or in neither. The provider's limits are read before it.

    Args:
        force: make a batch below the threshold too; needs a reason, and never passes a pause.
        dry_run: only say what would be done.

    Raises:
        RefusedError: forced without a reason.
        DatabaseError: the look itself failed; nothing is recorded then, least of all "below".
    """
    if force and not reason.strip():
        raise RefusedError(why="A forced batch needs a reason.", next_step="Say why; it goes into its history.")
    if not dry_run:
        # What slipped past the word that it is void goes before a batch can have it.
        carry_out_void_orders(actor=actor)
    limits = _limits_if_they_matter(force=force)
    try:
        check = _check(limits, actor=actor, force=force, dry_run=dry_run, reason=reason)
    except _LimitsNotReadError:
        # Payments that came in between made it enough. Nothing was written; once more, and now limits are read.
        limits = _limits_of(current_policy())
        check = _check(limits, actor=actor, force=force, dry_run=dry_run, reason=reason)
    logger.info(
        "threshold checked",
        extra={
            "decision": check.decision,
            "total_usd": check.total_usd,
            "batch": check.batch_id or "",
            "check": check.pk,
        },
    )
    return check


def explain_threshold(*, asks_provider: bool = True) -> list[Rule]:
    """Why there is, or is not, a batch at the next check, with the figures of now.

    Args:
        asks_provider: also read the provider's limits, which takes a call.
    """
    situation = _look(_limits_of(current_policy()) if asks_provider else None, force=False)
    return [*(finding.rule for finding in judge(situation)), _next_check()]


def _check(limits: Limits | None, *, actor: Actor, force: bool, dry_run: bool, reason: str) -> ThresholdCheck:
    with transaction.atomic():
        locks.hold_patiently(locks.Lock.THRESHOLD_CHECK)
        outcome = _decide(_look(limits, force=force), actor=actor, reason=reason, dry_run=dry_run)
        return _record(outcome, actor)


def _limits_if_they_matter(*, force: bool) -> Limits | None:
    """The provider is not asked when hardly anything is pending; the decision is taken later, under the lock."""
    policy = current_policy()
    pending = pending_totals(converts_unreceipted=policy.converts_unreceipted)
    if pending.total_usd < policy.threshold_usd and not (force and pending.member_count):
        return None
    return _limits_of(policy)


def _limits_of(policy: ConversionPolicy) -> Limits:
    if not policy.converts_unreceipted:
        return read_limits()
    unreceipted_usd = pending_totals(converts_unreceipted=True).unreceipted_usd
    return read_limits(priced_usd=max(unreceipted_usd, policy.threshold_usd) if unreceipted_usd else Decimal(0))


def _look(limits: Limits | None, *, force: bool) -> Situation:
    policy = current_policy()
    found = survey_pending(
        converts_unreceipted=policy.converts_unreceipted,
        max_wei=None if limits is None else limits.max_wei,
        wei_per_usd=None if limits is None else limits.wei_per_usd,
    )
    return Situation(
        policy=policy,
        pause=hostpay.is_paused(Switch.BATCHES),
        limits=limits,
        members=found.fitting,
        eligible_usd=found.fitting.total_usd,
        left_out_count=found.unvalued.member_count,
        left_out_usd=found.unvalued.total_usd,
        too_large_count=found.too_large.member_count,
        too_large_usd=found.too_large.total_usd,
        is_forced=force,
    )


def _decide(situation: Situation, *, actor: Actor, reason: str, dry_run: bool) -> _Outcome:
    findings = judge(situation)
    decision = obstacle(findings) or (Decision.REHEARSED if dry_run else None)
    if decision is not None:
        return _Outcome(situation=situation, decision=decision, remarks=sentences(findings))
    if situation.limits is None:
        raise _LimitsNotReadError
    try:
        # A savepoint: if what could be claimed is not enough after all, the rows are pending again.
        with transaction.atomic():
            return _claim(situation, situation.limits, actor=actor, reason=reason)
    except _ClaimUndoneError as undone:
        remarks = sentences(judge(undone.situation))
        return _Outcome(situation=undone.situation, decision=undone.decision, remarks=remarks)


def _claim(seen: Situation, limits: Limits, *, actor: Actor, reason: str) -> _Outcome:
    batch_id = uuid.uuid4()
    claimed = claim_pending(
        batch_id=batch_id,
        converts_unreceipted=seen.policy.converts_unreceipted,
        max_wei=limits.max_wei,
        wei_per_usd=limits.wei_per_usd,
    )
    waiting_usd = Decimal(0)
    if claimed.total_usd < seen.policy.threshold_usd:
        # What stays behind because of the maximum counts for the threshold: waiting for more would only add to what
        # is too much for one conversion already.
        waiting_usd = _look(limits, force=False).eligible_usd
    situation = replace(seen, members=claimed, eligible_usd=claimed.total_usd + waiting_usd)
    against = obstacle(judge(situation))
    if against is not None:
        raise _ClaimUndoneError(situation, against)
    # What was left out, or waits its turn, shows in what was seen before the claim.
    remarks = sentences(judge(seen))
    batch = _open_batch(batch_id, situation, remarks, actor=actor, reason=reason)
    return _Outcome(situation=situation, decision=Decision.CREATED, remarks=remarks, batch=batch)


def _open_batch(
    batch_id: uuid.UUID, situation: Situation, remarks: list[str], *, actor: Actor, reason: str
) -> BatchConversion:
    """The batch of what was just claimed, and the request to pay for it."""
    members, policy = situation.members, situation.policy
    batch = BatchConversion(
        id=batch_id,
        policy=policy,
        threshold_usd=policy.threshold_usd,
        total_usd=members.total_usd,
        member_count=members.member_count,
        net_wei=members.net_wei,
        unreceipted_usd=members.unreceipted_usd,
        created_by=str(actor),
    )
    batch.save(force_insert=True)
    batch.record_birth(
        actor=actor,
        reason=f"forced: {reason.strip()}" if situation.is_forced else "threshold reached",
        data={
            "member_count": members.member_count,
            "total_usd": members.total_usd,
            "net_wei": str(members.net_wei),
            "unreceipted_usd": members.unreceipted_usd,
            "eligible_usd": situation.eligible_usd,
            "policy_version": policy.version,
            "remarks": remarks,
        },
    )
    payment = _request(batch, situation, actor)
    batch.move(
        BatchStatus.SWAPPING, actor=actor, reason="host payment requested", data={"host_payment": str(payment.pk)}
    )
    return batch


def _request(batch: BatchConversion, situation: Situation, actor: Actor) -> HostPayment:
    members = situation.members
    return hostpay.request_payment(
        context=Context.BATCH,
        reference=str(batch.pk),
        amount_units=members.net_wei,
        unpriced_usd=members.unreceipted_usd,
        expected_usd=members.total_usd,
        tolerance_bps=situation.policy.tolerance_bps,
        actor=actor,
    )


def _record(outcome: _Outcome, actor: Actor) -> ThresholdCheck:
    situation = outcome.situation
    return ThresholdCheck.objects.create(
        policy=situation.policy,
        threshold_usd=situation.policy.threshold_usd,
        total_usd=situation.eligible_usd if outcome.batch is None else situation.members.total_usd,
        member_count=situation.members.member_count,
        oldest_pending_at=situation.members.oldest_at,
        decision=outcome.decision,
        blockers=outcome.remarks,
        is_forced=situation.is_forced,
        batch=outcome.batch,
        actor=str(actor),
    )


def _next_check() -> Rule:
    """When beat looks next, by the heartbeat of its last look."""
    beat = Heartbeat.objects.filter(pk=HEARTBEAT).first()
    every_s: int = settings.THRESHOLD_CHECK_EVERY_S
    if beat is None or beat.started_at is None:
        return Rule(name="checks are running", ok=False, detail=f"no check has run yet; one is due every {every_s} s")
    failed = beat.failed_at is not None and (beat.succeeded_at is None or beat.failed_at > beat.succeeded_at)
    detail = f"the last one failed: {beat.last_error}" if failed else f"the next one is due {every_s} s after the last"
    return Rule(name="checks are running", ok=not failed, detail=detail, since=beat.started_at)
