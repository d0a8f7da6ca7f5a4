"""The members of a batch conversion: claimed, credited and released as a set, in the database.

Called by the batches app inside its own transaction. The statements that touch a whole set are raw SQL because they
must be one statement each: what was updated is what is counted (`RETURNING`), so nothing can come in between.

Deadlocks: whoever moves many pending rows holds the advisory lock THRESHOLD_CHECK, and whoever moves rows of a batch
holds that batch's row; so two sets never overlap. Everybody else locks one accumulation and waits for nothing after
it. The order in which a set is visited therefore does not matter, and no statement pays for sorting it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Min, Q, Sum

from config.lib.audit import Actor
from config.lib.errors import SluiceError
from payouts.models import Accumulation, AccumulationStatus, WebhookEvent
from payouts.services.nowpayments.doubting import hold_returned
from payouts.services.voiding import orders_on_members, void_returned
from payouts.services.webhooks.telling import tell_of_members

# A million members take a quarter of a minute; a worker's time limit ends everything a little later than this.
_SET_TIMEOUT = "SET LOCAL statement_timeout = '240s'"
# What a division of a million members sorts fits into this; with the default it would go through temporary files.
_SORT_MEMORY = "SET LOCAL work_mem = '96MB'"


# Held one by one, in the transaction of a release; where it would take more, a person must look at the whole anyway.
_MOST_ODD = 1000


class NothingToDivideError(SluiceError):
    """A batch's proceeds must be positive to be shared."""

    code = "nothing_to_divide"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberTotals:
    """A set of accumulations in figures.

    `net_wei` is the ETH of those with a recorded receipt, `unreceipted_usd` the net USD of those without one; the
    whole is worth `total_usd`. `oldest_at` is None for an empty set.
    """

    member_count: int
    total_usd: Decimal
    net_wei: int
    unreceipted_usd: Decimal
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSurvey:
    """What is pending: what the next batch may take, what cannot be valued yet, and what fits into no batch."""

    fitting: MemberTotals
    unvalued: MemberTotals
    too_large: MemberTotals


class OddMember(NamedTuple):
    """A member whose ETH is not worth its USD: what it claims, and what its ETH is worth."""

    accumulation_id: int
    payment_id: str
    claimed_usd: Decimal
    worth_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """What a distribution wrote: how many shares, and their sum in units of 10^-6 USDT."""

    member_count: int
    total_units: int


def pending_totals(*, converts_unreceipted: bool) -> MemberTotals:
    """The accumulations that a batch would claim now, summed in one statement without locking them."""
    eligible = Accumulation.objects.pending()
    if not converts_unreceipted:
        eligible = eligible.filter(net_wei__isnull=False)
    found = eligible.aggregate(
        rows=Count("id"),
        usd=Sum("pending_usd_amount"),
        wei=Sum("net_wei"),
        usd_without_receipt=Sum("pending_usd_amount", filter=Q(net_wei__isnull=True)),
        oldest=Min("created_at"),
    )
    return _totals((found["rows"], found["usd"], found["wei"], found["usd_without_receipt"], found["oldest"]))


def survey_pending(*, converts_unreceipted: bool, max_wei: int | None, wei_per_usd: int | None) -> PendingSurvey:
    """All pending accumulations in three parts, summed in one statement without locking them.

    Args:
        converts_unreceipted: also those without a recorded receipt are for the next batch.
        max_wei: one that is larger than this alone is too large; None if nothing is.
        wei_per_usd: what a dollar without a recorded receipt counts against `max_wei`.
    """
    parameters: dict[str, Any] = {
        "converts_unreceipted": converts_unreceipted,
        "max_wei": max_wei,
        "wei_per_usd": wei_per_usd,
        "pending": AccumulationStatus.PENDING.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SURVEY, parameters)
        parts = {part: _totals(tuple(row)) for part, *row in cursor.fetchall()}
    none = _totals((0, None, None, None, None))
    return PendingSurvey(
        fitting=parts.get("fitting", none), unvalued=parts.get("unvalued", none), too_large=parts.get("too large", none)
    )


def claim_pending(
    *, batch_id: UUID, converts_unreceipted: bool, max_wei: int | None, wei_per_usd: int | None = None
) -> MemberTotals:
    """Make every eligible accumulation a member of `batch_id`, and sum exactly those that became one.

    The batch's row may be inserted later in the same transaction: the foreign key is checked at its end.

    Args:
        max_wei: claim no more than the first ones, by id, that fit into this together. One that does not fit
            even alone is passed over, so that it does not hold up the others.
        wei_per_usd: what a dollar without a recorded receipt counts against `max_wei`; without it, such rows
            are not claimed where there is a maximum, since nobody knows whether they fit.
    """
    parameters: dict[str, Any] = {
        "batch_id": batch_id,
        "converts_unreceipted": converts_unreceipted,
        "max_wei": max_wei,
        "wei_per_usd": wei_per_usd,
        "pending": AccumulationStatus.PENDING.value,
        "swapping": AccumulationStatus.SWAPPING.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SET_TIMEOUT)
        cursor.execute(_CLAIM, parameters)
        totals = _totals(cursor.fetchone())
    tell_of_members(event=WebhookEvent.BATCHED, batch_id=batch_id)
    return totals


def odd_members(*, batch_id: UUID, usd: Decimal, wei: int, band_bps: int) -> list[OddMember]:
    """The fewest members without which the others' ETH is worth their USD together, the furthest from it first.

    None if all together are within the band, or if it would take more than half of them, unless these are off by a factor
    of two: less than that may be the price that has moved. Only members with a recorded receipt are judged.

    Args:
        usd: what the exchange says that `wei` are worth.
        band_bps: how far the others may be from their USD.
    """
    parameters: dict[str, Any] = {
        "batch_id": batch_id,
        "usd": usd,
        "wei": wei,
        "band": band_bps,
        "swapping": AccumulationStatus.SWAPPING.value,
        "most": _MOST_ODD,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SET_TIMEOUT)
        cursor.execute(_ODD, parameters)
        return [OddMember(*row) for row in cursor.fetchall()]


def credit_shares(*, batch_id: UUID, received_units: int) -> Credited:
    """Divide `received_units` (of 10^-6 USDT) among the batch's swapping members and complete them, in one statement.

    Largest remainder by `pending_usd_amount`, ties by id: `batches.distribution.shares` is the reference, and says
    why the sum is exact. The caller compares what is returned with what it expects, and rolls back if they differ.

    Raises:
        NothingToDivideError: `received_units` is not positive.
    """
    if received_units <= 0:
        message = f"batch {batch_id}: {received_units} units cannot be shared; proceeds are positive"
        raise NothingToDivideError(message)
    parameters: dict[str, Any] = {
        "batch_id": batch_id,
        "received": received_units,
        "swapping": AccumulationStatus.SWAPPING.value,
        "completed": AccumulationStatus.COMPLETED.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SET_TIMEOUT)
        cursor.execute(_SORT_MEMORY)
        cursor.execute(_CREDIT, parameters)
        member_count, total_units = cursor.fetchone()
    tell_of_members(event=WebhookEvent.CONVERTED, batch_id=batch_id)
    return Credited(member_count=member_count, total_units=int(total_units))


def return_members(*, batch_id: UUID, actor: Actor, reason: str) -> int:
    """Make the batch's swapping members pending again, each with an event that names the batch; their number.

    Those that were declared void at the moment in which they came, and slipped past it into the batch, are voided; those
    that NOWPayments has refunded since, or put in doubt, are held.
    """
    parameters: dict[str, Any] = {
        "batch_id": batch_id,
        "batch_text": str(batch_id),
        "actor": str(actor),
        "reason": reason,
        "pending": AccumulationStatus.PENDING.value,
        "swapping": AccumulationStatus.SWAPPING.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SET_TIMEOUT)
        # While the rows still say which batch they are in, whose own row the caller has locked.
        tell_of_members(event=WebhookEvent.RETURNED, batch_id=batch_id, reason=reason)
        orders = orders_on_members(batch_id=batch_id)
        cursor.execute(_RETURN, parameters)
        returned = int(cursor.rowcount)
    void_returned(orders=orders, actor=actor)
    hold_returned(actor=actor)
    return returned


def _totals(row: tuple[Any, ...]) -> MemberTotals:
    member_count, total_usd, net_wei, unreceipted_usd, oldest_at = row
    # SUM over no row is NULL; an empty set's sums are zero.
    return MemberTotals(
        member_count=member_count,
        total_usd=Decimal(0) if total_usd is None else total_usd,
        net_wei=0 if net_wei is None else int(net_wei),
        unreceipted_usd=Decimal(0) if unreceipted_usd is None else unreceipted_usd,
        oldest_at=oldest_at,
    )


# What a row takes of the maximum: its ETH, or by the price; unknown (NULL) if there is no price.
_TAKES = "coalesce(net_wei, ceil(pending_usd_amount * %(wei_per_usd)s::numeric))"

_SURVEY = f"""
SELECT part, count(*), sum(pending_usd_amount), sum(net_wei),
       sum(pending_usd_amount) FILTER (WHERE net_wei IS NULL), min(created_at)
  FROM (SELECT pending_usd_amount, net_wei, created_at,
               CASE WHEN net_wei IS NULL
                         AND NOT (%(converts_unreceipted)s
                                  AND (%(max_wei)s::numeric IS NULL OR %(wei_per_usd)s::numeric IS NOT NULL))
                         THEN 'unvalued'
                    WHEN {_TAKES} > %(max_wei)s::numeric THEN 'too large'
                    ELSE 'fitting' END AS part
          FROM {Accumulation._meta.db_table}
         WHERE status = %(pending)s) AS pending
 GROUP BY part
"""  # noqa: S608 (only names of ours)

# A row that another transaction has locked is waited for and judged again as that transaction left it, so a payment
# voided meanwhile is neither claimed nor summed. The running sum never falls, so those that fit are the ones up to one
# id; without a limit (NULL) the planner drops that part. What takes an unknown amount is below no maximum.
_CLAIM = f"""
WITH claimed AS (
    UPDATE payouts_accumulation
       SET status = %(swapping)s, status_changed_at = now(), batch_conversion_id = %(batch_id)s
     WHERE status = %(pending)s AND (%(converts_unreceipted)s OR net_wei IS NOT NULL)
       AND (%(max_wei)s::numeric IS NULL
            OR {_TAKES} <= %(max_wei)s AND id <= (
                SELECT max(id)
                  FROM (SELECT id, sum({_TAKES}) OVER (ORDER BY id) AS wei
                          FROM payouts_accumulation
                         WHERE status = %(pending)s AND (%(converts_unreceipted)s OR net_wei IS NOT NULL)
                           AND {_TAKES} <= %(max_wei)s) AS running
                 WHERE wei <= %(max_wei)s))
    RETURNING pending_usd_amount, net_wei, created_at
)
SELECT count(*), sum(pending_usd_amount), sum(net_wei),
       sum(pending_usd_amount) FILTER (WHERE net_wei IS NULL), min(created_at)
  FROM claimed
"""  # noqa: S608 (only names of ours)

# The members in the order in which leaving them out brings the rest nearest to its worth, and what the rest would be.
_ODD = """
WITH judged AS (
    SELECT id, payment_id, pending_usd_amount AS usd, round(net_wei * %(usd)s::numeric / %(wei)s::numeric, 8) AS worth
      FROM payouts_accumulation
     WHERE batch_conversion_id = %(batch_id)s AND status = %(swapping)s AND net_wei IS NOT NULL
), whole AS (
    SELECT sum(usd) AS usd, sum(worth) AS worth, count(*) AS members FROM judged
), left_out AS (
    SELECT judged.*, row_number() OVER odd AS place, whole.members,
           bool_and(judged.worth * 2 < judged.usd OR judged.worth > judged.usd * 2) OVER odd AS are_far_off,
           whole.usd - sum(judged.usd) OVER odd AS rest_usd, whole.worth - sum(judged.worth) OVER odd AS rest_worth
      FROM judged CROSS JOIN whole
     WHERE abs(whole.worth - whole.usd) * 10000 > %(band)s * whole.usd
    WINDOW odd AS (ORDER BY (judged.worth - judged.usd) * sign(whole.worth - whole.usd) DESC, judged.id
                   ROWS UNBOUNDED PRECEDING)
)
SELECT id, payment_id, usd, worth
  FROM left_out
 WHERE place <= (SELECT min(place) FROM left_out
                  WHERE abs(rest_worth - rest_usd) * 10000 <= %(band)s * rest_usd
                    AND (2 * place <= members OR are_far_off) AND place <= %(most)s)
 ORDER BY place
"""

# USD amounts are scaled to whole numbers of 10^-8, so div() and mod() are exact; a rounded quotient could floor wrongly.
# Instead of ranking all members and joining the ranks back, the last member that gets one of the left-over units is
# found, and every member compares itself with it.
_CREDIT = """
WITH weighed AS (
    SELECT id, pending_usd_amount * 100000000 AS weight
      FROM payouts_accumulation
     WHERE batch_conversion_id = %(batch_id)s AND status = %(swapping)s
), whole AS MATERIALIZED (
    SELECT sum(weight) AS weight FROM weighed
), divided AS MATERIALIZED (
    SELECT id, div(weighed.weight * %(received)s, whole.weight) AS units,
           mod(weighed.weight * %(received)s, whole.weight) AS remainder
      FROM weighed CROSS JOIN whole
), undivided AS MATERIALIZED (
    SELECT %(received)s - sum(units) AS units FROM divided
), last_lucky AS MATERIALIZED (
    SELECT id, remainder FROM divided
     ORDER BY remainder DESC, id
    OFFSET (SELECT greatest(units - 1, 0) FROM undivided)
     LIMIT (SELECT CASE WHEN units > 0 THEN 1 ELSE 0 END FROM undivided)
), credited AS (
    UPDATE payouts_accumulation AS member
       SET status = %(completed)s, status_changed_at = now(),
           converted_usdt_amount = 0.000001 * (
               div(member.pending_usd_amount * 100000000 * %(received)s, whole.weight)
               + CASE WHEN (mod(member.pending_usd_amount * 100000000 * %(received)s, whole.weight), -member.id)
                           >= (last_lucky.remainder, -last_lucky.id) THEN 1 ELSE 0 END)
      FROM whole LEFT JOIN last_lucky ON true
     WHERE member.batch_conversion_id = %(batch_id)s AND member.status = %(swapping)s
    RETURNING member.converted_usdt_amount
)
SELECT count(*), coalesce(sum(converted_usdt_amount), 0) * 1000000 FROM credited
"""

_RETURN = """
WITH returned AS (
    UPDATE payouts_accumulation
       SET status = %(pending)s, status_changed_at = now(), batch_conversion_id = NULL
     WHERE batch_conversion_id = %(batch_id)s AND status = %(swapping)s
    RETURNING id
)
INSERT INTO payouts_accumulationstatuschange (subject_id, from_status, to_status, actor, reason, data)
SELECT id, %(swapping)s, %(pending)s, %(actor)s, %(reason)s, jsonb_build_object('batch', %(batch_text)s::text)
  FROM returned
 ORDER BY id
"""
