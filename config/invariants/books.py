"""Members, totals and shares: the books in dollars."""

from config.invariants.kinds import Invariant, by_sql

_MEMBERS_AND_BATCH_AGREE = """
SELECT 'accumulation ' || member.id,
       'it is ' || member.status || ', and its batch ' || batch.id || ' is ' || batch.status
  FROM payouts_accumulation member JOIN batches_batchconversion batch ON batch.id = member.batch_conversion_id
 WHERE NOT (member.status = 'swapping' AND batch.status IN ('created', 'swapping'))
   AND NOT (member.status = 'completed' AND batch.status = 'completed')
 UNION ALL
SELECT 'accumulation ' || id,
       'it is ' || status || coalesce(' in batch ' || batch_conversion_id, ' in no batch')
  FROM payouts_accumulation
 WHERE (status IN ('swapping', 'completed')) <> (batch_conversion_id IS NOT NULL)
"""

_TOTALS = """
SELECT 'batch ' || batch.id,
       'its totals are ' || batch.member_count || ' members, ' || batch.total_usd || ' USD, ' || batch.net_wei
       || ' wei and ' || batch.unreceipted_usd || ' USD without receipt; its members come to '
       || coalesce(member.rows, 0) || ', ' || coalesce(member.usd, 0) || ', ' || coalesce(member.wei, 0) || ' and '
       || coalesce(member.unreceipted_usd, 0)
  FROM batches_batchconversion batch
  LEFT JOIN (
        SELECT batch_conversion_id AS id, count(*) AS rows, sum(pending_usd_amount) AS usd,
               coalesce(sum(net_wei), 0) AS wei,
               coalesce(sum(pending_usd_amount) FILTER (WHERE net_wei IS NULL), 0) AS unreceipted_usd
          FROM payouts_accumulation
         WHERE batch_conversion_id IS NOT NULL
         GROUP BY batch_conversion_id
       ) member ON member.id = batch.id
 WHERE batch.status IN ('created', 'swapping', 'completed')
   AND (batch.member_count, batch.total_usd, batch.net_wei, batch.unreceipted_usd)
       IS DISTINCT FROM (member.rows, member.usd, member.wei, member.unreceipted_usd)
"""

_SHARES_SUM = """
SELECT 'batch ' || batch.id,
       batch.received_units || ' units were received, its shares come to ' || coalesce(member.units, 0)
  FROM batches_batchconversion batch
  LEFT JOIN (
        SELECT batch_conversion_id AS id, sum(converted_usdt_amount) * 1000000 AS units
          FROM payouts_accumulation
         WHERE batch_conversion_id IS NOT NULL
         GROUP BY batch_conversion_id
       ) member ON member.id = batch.id
 WHERE batch.status = 'completed' AND batch.received_units IS DISTINCT FROM member.units
"""

# |share - received * weight / total| < 1, multiplied by the total, so that nothing is rounded.
_SHARES_ARE_FAIR = """
SELECT 'accumulation ' || member.id,
       'its share of ' || member.converted_usdt_amount || ' USDT is not within one unit of '
       || member.pending_usd_amount || ' of ' || batch.total_usd || ' USD of ' || batch.received_units || ' units'
  FROM batches_batchconversion batch JOIN payouts_accumulation member ON member.batch_conversion_id = batch.id
 WHERE batch.status = 'completed'
   AND (member.converted_usdt_amount < 0
        OR abs(member.converted_usdt_amount * 1000000 * batch.total_usd
               - member.pending_usd_amount * batch.received_units) >= batch.total_usd)
"""

# NaN equals itself and sorts above every number in PostgreSQL.
_CONSERVATION = """
SELECT 'accumulation ' || id,
       'gross ' || gross_usd || ' is not fee ' || fee_usd || ' and net ' || pending_usd_amount
       || ', or the fee is not ' || fee_percent || ' percent, or it is ' || status || ', which is nowhere counted'
  FROM payouts_accumulation
 WHERE gross_usd IS DISTINCT FROM fee_usd + pending_usd_amount
    OR gross_usd >= 'NaN'::numeric OR fee_usd < 0 OR pending_usd_amount <= 0
    OR abs(fee_usd - gross_usd * fee_percent / 100) > 0.00000001
    OR status NOT IN ('pending', 'held', 'voided', 'swapping', 'completed')
 UNION ALL
SELECT 'accumulation ' || id,
       received_wei || ' wei received are not ' || coalesce(fee_wei, 0) || ' of fee and ' || coalesce(net_wei, 0) || ' net'
  FROM payouts_accumulation
 WHERE received_wei IS DISTINCT FROM fee_wei + net_wei
"""

_REPEATS = """
SELECT 'accumulation ' || accumulation_id, count(*) || ' deliveries are said to have recorded it'
  FROM payouts_inboundevent
 WHERE outcome = 'recorded'
 GROUP BY accumulation_id
HAVING count(*) > 1
 UNION ALL
SELECT 'inbound event ' || id, 'nobody signed it, and it is ' || outcome
  FROM payouts_inboundevent
 WHERE verdict <> 'valid' AND outcome <> 'refused'
"""

_CHECK_FIGURES = """
SELECT 'threshold check ' || seen.id,
       'it tells ' || seen.member_count || ' members and ' || seen.total_usd || ' USD, its batch ' || batch.id
       || ' has ' || batch.member_count || ' and ' || batch.total_usd
  FROM batches_thresholdcheck seen JOIN batches_batchconversion batch ON batch.id = seen.batch_id
 WHERE (seen.member_count, seen.total_usd, seen.threshold_usd)
       IS DISTINCT FROM (batch.member_count, batch.total_usd, batch.threshold_usd)
 UNION ALL
SELECT 'batch ' || batch.id, 'no threshold check made it'
  FROM batches_batchconversion batch
 WHERE NOT EXISTS (SELECT FROM batches_thresholdcheck seen WHERE seen.batch_id = batch.id)
"""

BOOKS = (
    Invariant(id="I1", promise="no dollar is in two batches", look=by_sql(_MEMBERS_AND_BATCH_AGREE)),
    Invariant(id="I2", promise="a batch's totals are its members'", look=by_sql(_TOTALS)),
    Invariant(id="I3", promise="the shares sum to what was received", look=by_sql(_SHARES_SUM)),
    Invariant(id="I3", promise="every share is within one unit of its fraction", look=by_sql(_SHARES_ARE_FAIR)),
    Invariant(id="I10", promise="gross is fee and net, in dollars and wei", look=by_sql(_CONSERVATION)),
    Invariant(id="I13", promise="a payment is recorded by one delivery", look=by_sql(_REPEATS)),
    Invariant(id="I18", promise="a check tells its batch's figures", look=by_sql(_CHECK_FIGURES)),
)
