"""The rules of a threshold check, judged on figures: no database, no clock, one source for check and explanation."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from batches.models import ConversionPolicy, Decision
from batches.services.limits import Limits
from config.lib.explain import Rule
from config.lib.money import ETH, format_units, usd_text
from hostpay.models import Pause
from payouts.services.members import MemberTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What one check goes by.

    `members` are the accumulations looked at: all eligible ones before the claim, the claimed ones after it.
    `eligible_usd` is the worth of all eligible ones in both cases; it is what the threshold is compared with. Not
    eligible are those left out, whose ETH nobody knows yet, and those too large for any conversion.
    """

    policy: ConversionPolicy
    pause: Pause | None
    limits: Limits | None
    members: MemberTotals
    eligible_usd: Decimal
    left_out_count: int
    left_out_usd: Decimal
    too_large_count: int
    too_large_usd: Decimal
    is_forced: bool

    @property
    def waits_for_price(self) -> bool:
        """Whether something is left out only because the provider did not say a price."""
        return bool(self.left_out_count) and self.policy.converts_unreceipted


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule's verdict; `leads_to` is the decision if it is not met, None for a rule that only informs."""

    rule: Rule
    leads_to: Decision | None


def judge(situation: Situation) -> list[Finding]:
    """Every rule's verdict; the first one not met that leads to a decision is the one that counts."""
    findings = [_not_paused(situation), _something_pending(situation), _threshold_reached(situation)]
    if situation.members.member_count:
        findings += [_reaches_minimum(situation), _fits_maximum(situation)]
    if situation.left_out_count:
        findings.append(_receipts_recorded(situation))
    if situation.too_large_count:
        findings.append(_none_too_large(situation))
    return findings


def obstacle(findings: list[Finding]) -> Decision | None:
    """The decision that the first rule not met leads to; None if nothing stands against a batch."""
    for finding in findings:
        if not finding.rule.ok and finding.leads_to is not None:
            return finding.leads_to
    return None


def sentences(findings: list[Finding]) -> list[str]:
    """The details of the rules that are not met."""
    return [finding.rule.detail for finding in findings if not finding.rule.ok]


def _not_paused(situation: Situation) -> Finding:
    pause = situation.pause
    rule = Rule(
        name="new batches are not paused",
        ok=pause is None,
        detail="nothing is paused" if pause is None else f"{pause}",
        since=None if pause is None else pause.paused_at,
    )
    return Finding(rule=rule, leads_to=Decision.BLOCKED)


def _something_pending(situation: Situation) -> Finding:
    members = situation.members
    if not members.member_count and situation.too_large_count and situation.limits is not None:
        detail = f"none of the pending payments fits into one conversion of at most {situation.limits.maximum_text}"
        return Finding(rule=Rule(name="payments are pending", ok=False, detail=detail), leads_to=Decision.BLOCKED)
    rule = Rule(
        name="payments are pending",
        ok=bool(members.member_count),
        detail=f"{members.member_count} payments are pending" if members.member_count else "nothing is pending",
        since=members.oldest_at,
    )
    return Finding(rule=rule, leads_to=Decision.BLOCKED if situation.is_forced else Decision.BELOW)


def _threshold_reached(situation: Situation) -> Finding:
    threshold, pending = situation.policy.threshold_usd, situation.eligible_usd
    reached = pending >= threshold
    if reached:
        detail = f"{usd_text(pending)} reach the threshold of {usd_text(threshold)}"
    else:
        detail = f"{usd_text(pending)} are {usd_text(threshold - pending)} below the threshold of {usd_text(threshold)}"
    if situation.is_forced and not reached:
        detail += "; an operator forces the batch"
    return Finding(
        rule=Rule(name="the threshold is reached", ok=reached or situation.is_forced, detail=detail),
        leads_to=Decision.BELOW if not _is_enough_with_left_out(situation) else Decision.BLOCKED,
    )


def _is_enough_with_left_out(situation: Situation) -> bool:
    """A price that could not be read is no reason to say that too little is pending."""
    return (
        situation.waits_for_price and situation.eligible_usd + situation.left_out_usd >= situation.policy.threshold_usd
    )


def _reaches_minimum(situation: Situation) -> Finding:
    limits, members = situation.limits, situation.members
    eth = format_units(members.net_wei, ETH)
    ok = True
    if limits is None or limits.min_wei is None:
        detail = "the provider's limits could not be read; its order will say"
    elif members.unreceipted_usd:
        detail = f"{eth} and {usd_text(members.unreceipted_usd)} still to be valued; the provider takes {limits.minimum_text}"
    else:
        ok = members.net_wei >= limits.min_wei
        relation = "reach" if ok else "are below"
        detail = f"{eth} {relation} the provider's minimum of {limits.minimum_text}"
    return Finding(rule=Rule(name="the provider's minimum is reached", ok=ok, detail=detail), leads_to=Decision.BLOCKED)


def _fits_maximum(situation: Situation) -> Finding:
    limits, members = situation.limits, situation.members
    if limits is None or _takes_wei(members, limits) <= limits.max_wei:
        return Finding(
            rule=Rule(name="the maximum is kept", ok=True, detail="all pending ETH fits into one conversion"),
            leads_to=None,
        )
    detail = f"only the first payments that fit into {limits.maximum_text} are converted; the rest waits its turn"
    return Finding(rule=Rule(name="the maximum is kept", ok=False, detail=detail), leads_to=None)


def _takes_wei(members: MemberTotals, limits: Limits) -> int:
    """What the members take of the maximum; less than a wei a member short of what the claim counts."""
    return members.net_wei + ceil(members.unreceipted_usd * (limits.wei_per_usd or 0))


def _receipts_recorded(situation: Situation) -> Finding:
    why = (
        "the provider's price could not be read; the next check reads it"
        if situation.waits_for_price
        else f"policy version {situation.policy.version} does not convert such"
    )
    detail = f"{situation.left_out_count} payments worth {usd_text(situation.left_out_usd)} have no recorded ETH receipt, and {why}"
    return Finding(rule=Rule(name="receipts are recorded", ok=False, detail=detail), leads_to=None)


def _none_too_large(situation: Situation) -> Finding:
    most = "" if situation.limits is None else f" of at most {situation.limits.maximum_text}"
    detail = (
        f"{situation.too_large_count} payments worth {usd_text(situation.too_large_usd)} are each too large for one"
        f" conversion{most}: they stay pending until a person holds them or the limit is raised"
    )
    return Finding(rule=Rule(name="every payment fits", ok=False, detail=detail), leads_to=None)
