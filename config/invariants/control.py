"""Pauses, the breaker, approvals by two, and that nothing waits for nobody."""

from config.invariants.kinds import Invariant, by_sql

# All times are the database's, each of its own statement. A breaker opens beside a signature that is just being stored;
# a pause waits for that one.
_CLOCKS_AGREE_WITHIN = "5 seconds"
# Every step leaves the row with a later time within some minutes: older than this, no worker is alive.
_LONGEST_SILENCE = "15 minutes"
# No step asks to be looked at later than this.
_LONGEST_WAIT = "1 day"

_SIGNED_WHILE_STOPPED = """
WITH stop AS (
    SELECT 'pause ' || id AS what, paused_at AS began, least(resumed_at, expires_at) AS ended
      FROM hostpay_pause WHERE switch = 'signing'
     UNION ALL
    SELECT 'breaker ' || id, opened_at + %(agree)s::interval, closed_at FROM hostpay_breaker
)
SELECT 'transaction ' || tx.tx_hash, 'it was signed at ' || tx.created_at || ', while ' || stop.what || ' was in force'
  FROM hostpay_transaction tx
  JOIN stop ON tx.created_at > stop.began AND tx.created_at < coalesce(stop.ended - %(agree)s::interval, 'infinity')
 UNION ALL
SELECT 'transaction ' || tx.tx_hash, 'it was signed at ' || tx.created_at || ', while wallet ' || wallet.address || ' was halted'
  FROM hostpay_transaction tx
  JOIN hostpay_nonceslot slot ON slot.id = tx.slot_id
  JOIN hostpay_wallet wallet ON wallet.id = slot.wallet_id
 WHERE tx.kind = 'payment' AND tx.created_at > wallet.halted_at + %(agree)s::interval
"""

_ONE_ON_THE_WIRE = """
SELECT 'wallet ' || wallet_id,
       count(*) || ' of its payments are between signed and final: ' || string_agg(id::text, ', ' ORDER BY id)
  FROM hostpay_hostpayment
 WHERE status IN ('signed', 'broadcast', 'mined')
 GROUP BY wallet_id
HAVING count(*) > 1
"""

_FOUR_EYES = """
SELECT 'approval ' || id,
       'proposed by ' || proposed_by || ', ' || coalesce(nullif(decision, ''), 'not decided') || ' by '
       || coalesce(nullif(decided_by, ''), 'nobody') || ', expiring ' || expires_at
  FROM hostpay_approval
 WHERE proposed_by = decided_by
    OR (executed_at IS NOT NULL AND decision <> 'approved')
    OR (decision = 'approved' AND decided_at > expires_at + %(agree)s::interval)
 UNION ALL
SELECT 'transaction ' || tx.tx_hash, 'it cancels a payment, and no two people have approved that'
  FROM hostpay_transaction tx JOIN hostpay_nonceslot slot ON slot.id = tx.slot_id
 WHERE tx.kind = 'cancel'
   AND NOT EXISTS (
        SELECT FROM hostpay_approval approval
         WHERE approval.payment_id = slot.payment_id AND approval.action = 'cancel_payment'
           AND approval.decision = 'approved')
 UNION ALL
SELECT 'approval ' || approval.id, 'money was given up by it, and no two people have approved that'
  FROM hostpay_approval approval
  LEFT JOIN hostpay_refund refund ON refund.approval_id = approval.id
  LEFT JOIN hostpay_writeoff lost ON lost.approval_id = approval.id
  LEFT JOIN hostpay_latereturn late ON late.approval_id = approval.id
 WHERE (refund.id IS NOT NULL OR lost.id IS NOT NULL OR late.id IS NOT NULL)
   AND (approval.decision <> 'approved' OR approval.executed_at IS NULL
        OR approval.action <> CASE WHEN lost.id IS NULL THEN 'accept_refund' ELSE 'write_off' END)
"""

# What is unsigned and in review is left out: a person has been asked, and no worker takes it up before the answer.
_SOMEBODY_IS_COMING = """
SELECT 'host payment ' || id,
       'it is ' || status || ', and ' || coalesce('is to be looked at ' || next_action_at, 'nobody will ever look at it')
  FROM hostpay_hostpayment
 WHERE delivered_at IS NULL
   AND NOT (review_reason <> '' AND status IN ('requested', 'ordered'))
   AND (next_action_at < %(now)s::timestamptz - %(silence)s::interval
        OR next_action_at > %(now)s::timestamptz + %(wait)s::interval
        OR (next_action_at IS NULL AND review_reason = ''))
 UNION ALL
SELECT 'batch ' || batch.id, 'it is ' || batch.status || ', and no payment is under way for it'
  FROM batches_batchconversion batch
 WHERE batch.status IN ('created', 'swapping')
   AND NOT EXISTS (
        SELECT FROM hostpay_hostpayment payment
         WHERE payment.context = 'batch' AND payment.reference = batch.id::text AND payment.delivered_at IS NULL)
"""


def control(now: str = "now") -> tuple[Invariant, ...]:
    """The invariants, with `now` as PostgreSQL reads it (a clock of its own says it in a simulation)."""
    return (
        Invariant(
            id="I15",
            promise="nothing is signed while paused, stopped or halted",
            look=by_sql(_SIGNED_WHILE_STOPPED, agree=_CLOCKS_AGREE_WITHIN),
        ),
        Invariant(id="I15", promise="a wallet has one payment on the wire", look=by_sql(_ONE_ON_THE_WIRE)),
        Invariant(
            id="I14", promise="what takes two people had two", look=by_sql(_FOUR_EYES, agree=_CLOCKS_AGREE_WITHIN)
        ),
        Invariant(
            id="I16",
            promise="nothing waits for nobody",
            look=by_sql(_SOMEBODY_IS_COMING, now=now, silence=_LONGEST_SILENCE, wait=_LONGEST_WAIT),
            stops_money=False,
        ),
    )
