"""Money that leaves: what may be signed, where to, and what its end says."""

from config.invariants.kinds import Invariant, by_sql

_MINED_ONCE = """
SELECT 'host payment ' || payment.id,
       count(*) || ' transactions with value of it are in the chain: ' || string_agg(tx.tx_hash, ', ' ORDER BY tx.id)
  FROM hostpay_transaction tx
  JOIN hostpay_nonceslot slot ON slot.id = tx.slot_id
  JOIN hostpay_hostpayment payment ON payment.id = slot.payment_id
 WHERE tx.status IN ('mined', 'final') AND tx.value_units > 0
 GROUP BY payment.id
HAVING count(*) > 1
"""

# What the provider sent back, or what is booked as lost, is not out any more: such a purpose may be paid again.
_AUTHORISED = """
SELECT 'purpose ' || payment.context || ' ' || payment.reference,
       sum(tx.value_units) || ' wei were sent for it, '
       || max(payment.amount_units + coalesce(payment.priced_units, 0)) || ' were asked for'
  FROM hostpay_hostpayment payment
  JOIN hostpay_nonceslot slot ON slot.payment_id = payment.id
  JOIN hostpay_transaction tx ON tx.slot_id = slot.id
 WHERE tx.status IN ('mined', 'final') AND payment.status NOT IN ('refunded', 'failed')
 GROUP BY payment.context, payment.reference
HAVING sum(tx.value_units) > max(payment.amount_units + coalesce(payment.priced_units, 0))
"""

_PAYMENT_OF_BATCH = """
SELECT 'host payment ' || payment.id,
       'it asks for ' || payment.amount_units || ' wei and ' || payment.unpriced_usd || ' USD, its batch '
       || coalesce(batch.id::text, 'does not exist')
       || coalesce(' has ' || batch.net_wei || ' and ' || batch.unreceipted_usd, '')
  FROM hostpay_hostpayment payment
  LEFT JOIN batches_batchconversion batch ON batch.id::text = payment.reference
 WHERE payment.context = 'batch'
   AND (payment.amount_units, payment.unpriced_usd) IS DISTINCT FROM (batch.net_wei, batch.unreceipted_usd)
"""

_STATUS_AND_CHAIN = """
SELECT 'host payment ' || payment.id,
       'it is ' || payment.status || ', and of its transactions ' || coalesce(tx.paid, 0) || ' with value are in the chain, '
       || coalesce(tx.final, 0) || ' of them finally, and ' || coalesce(tx.cancelled, 0) || ' cancel it'
  FROM hostpay_hostpayment payment
  LEFT JOIN (
        SELECT slot.payment_id,
               count(*) AS signed,
               count(*) FILTER (WHERE tx.status IN ('mined', 'final') AND tx.kind <> 'cancel') AS paid,
               count(*) FILTER (WHERE tx.status = 'final' AND tx.kind <> 'cancel') AS final,
               count(*) FILTER (WHERE tx.status IN ('mined', 'final') AND tx.kind = 'cancel') AS cancelled
          FROM hostpay_nonceslot slot JOIN hostpay_transaction tx ON tx.slot_id = slot.id
         GROUP BY slot.payment_id
       ) tx ON tx.payment_id = payment.id
 WHERE (payment.status IN ('requested', 'ordered') AND tx.signed > 0)
    OR (payment.status NOT IN ('requested', 'ordered', 'cancelled', 'failed') AND coalesce(tx.signed, 0) = 0)
    OR (payment.status IN ('signed', 'broadcast') AND tx.paid > 0)
    OR (payment.status = 'mined' AND tx.paid + tx.cancelled <> 1)
    OR (payment.status IN ('final', 'settled', 'refunded') AND coalesce(tx.final, 0) <> 1)
    OR (payment.status = 'cancelled' AND tx.paid > 0)
"""

_SAME_VARIANTS = """
SELECT 'nonce slot ' || slot.id,
       'nonce ' || slot.nonce || ' has variants of different value or receiver: '
       || string_agg(DISTINCT tx.value_units || ' wei to ' || tx.to_address, ', ')
  FROM hostpay_nonceslot slot JOIN hostpay_transaction tx ON tx.slot_id = slot.id
 WHERE tx.kind <> 'cancel'
 GROUP BY slot.id
HAVING count(DISTINCT (lower(tx.to_address), tx.value_units)) > 1
 UNION ALL
SELECT 'nonce slot ' || slot.id, 'it is of another wallet than its payment ' || payment.id
  FROM hostpay_nonceslot slot JOIN hostpay_hostpayment payment ON payment.id = slot.payment_id
 WHERE payment.wallet_id <> slot.wallet_id
 UNION ALL
SELECT 'nonce slot ' || slot.id, 'nonce ' || slot.nonce || ' is used, and the wallet would give it again'
  FROM hostpay_nonceslot slot JOIN hostpay_wallet wallet ON wallet.id = slot.wallet_id
 WHERE slot.nonce >= coalesce(wallet.next_nonce, 0)
"""

_RECEIVERS = """
SELECT 'transaction ' || tx.tx_hash,
       tx.value_units || ' wei to ' || tx.to_address || '; the current order of payment ' || payment.id
       || coalesce(' takes ' || current.send_units || ' at ' || current.payin_address || ' and is ' || current.status,
                   ' does not exist')
  FROM hostpay_transaction tx
  JOIN hostpay_nonceslot slot ON slot.id = tx.slot_id
  JOIN hostpay_hostpayment payment ON payment.id = slot.payment_id
  LEFT JOIN hostpay_exchangeorder current ON current.payment_id = payment.id AND current.is_current
 WHERE tx.kind <> 'cancel'
   AND (lower(tx.to_address) IS DISTINCT FROM lower(current.payin_address)
        OR tx.value_units IS DISTINCT FROM current.send_units
        OR current.status IN ('ordering', 'abandoned'))
 UNION ALL
SELECT 'transaction ' || tx.tx_hash, 'it cancels, and sends ' || tx.value_units || ' wei to ' || tx.to_address
  FROM hostpay_transaction tx
  JOIN hostpay_nonceslot slot ON slot.id = tx.slot_id
  JOIN hostpay_wallet wallet ON wallet.id = slot.wallet_id
 WHERE tx.kind = 'cancel' AND (tx.value_units <> 0 OR lower(tx.to_address) <> lower(wallet.address))
 UNION ALL
SELECT 'exchange order ' || current.id, 'its proceeds or its refund go elsewhere than to ' || payment.payout_address
  FROM hostpay_exchangeorder current
  JOIN hostpay_hostpayment payment ON payment.id = current.payment_id
  JOIN hostpay_wallet wallet ON wallet.id = payment.wallet_id
 WHERE current.is_current
   AND (lower(current.payout_address) <> lower(payment.payout_address)
        -- One that our key paid, and that was made for no payment of ours, got a payment of its own: a person has seen where
        -- its refund would go.
        OR (lower(current.refund_address) <> lower(wallet.address)
            AND payment.reference <> left('order ' || current.provider_order_id, 64))
        OR lower(current.payin_address) = lower(wallet.address))
"""

_RECEIVED = """
SELECT 'host payment ' || payment.id,
       'it is settled with ' || payment.received_units || ' units, the logs of its current order prove '
       || coalesce(receipt.units, 0)
  FROM hostpay_hostpayment payment
  LEFT JOIN (
        SELECT placed.payment_id, sum(receipt.units) AS units
          FROM hostpay_receipt receipt JOIN hostpay_exchangeorder placed ON placed.id = receipt.order_id
         WHERE placed.is_current
         GROUP BY placed.payment_id
       ) receipt ON receipt.payment_id = payment.id
 WHERE payment.status = 'settled' AND payment.received_units IS DISTINCT FROM receipt.units
 UNION ALL
SELECT 'receipt ' || receipt.id, 'it was credited while payment ' || payment.id || ' is ' || payment.status
  FROM hostpay_receipt receipt
  JOIN hostpay_exchangeorder placed ON placed.id = receipt.order_id
  JOIN hostpay_hostpayment payment ON payment.id = placed.payment_id
 WHERE payment.status NOT IN ('final', 'settled', 'refunded', 'failed')
 UNION ALL
SELECT 'receipt ' || min(id), 'transfer ' || tx_hash || ':' || log_index || ' is credited ' || count(*) || ' times'
  FROM hostpay_receipt
 GROUP BY chain_id, tx_hash, log_index
HAVING count(*) > 1
 UNION ALL
SELECT 'batch ' || batch.id,
       'it shared out ' || batch.received_units || ' units, its payment is '
       || coalesce(payment.status || ' with ' || coalesce(payment.received_units::text, 'none'), 'nowhere')
  FROM batches_batchconversion batch
  LEFT JOIN hostpay_hostpayment payment
         ON payment.context = 'batch' AND payment.reference = batch.id::text AND payment.status = 'settled'
 WHERE batch.status = 'completed' AND batch.received_units IS DISTINCT FROM payment.received_units
"""

# Ether that was paid has brought proceeds, is still waited for, or is accounted for to the last wei.
_LOST = """
SELECT 'host payment ' || payment.id,
       'it is ' || payment.status || ', and of its ' || current.send_units || ' wei '
       || coalesce(refund.units, 0) || ' came back, ' || coalesce(refund.lost_units, 0) || ' did not, and '
       || coalesce(lost.lost_units, 0) || ' are written off'
  FROM hostpay_hostpayment payment
  JOIN hostpay_exchangeorder current ON current.payment_id = payment.id AND current.is_current
  LEFT JOIN hostpay_refund refund ON refund.order_id = current.id
  LEFT JOIN hostpay_writeoff lost ON lost.order_id = current.id
 WHERE (payment.status = 'refunded'
        AND (payment.refunded_units IS DISTINCT FROM refund.units
             OR refund.lost_units IS DISTINCT FROM greatest(current.send_units - refund.units, 0)
             OR lost.id IS NOT NULL))
    OR (payment.status = 'failed'
        AND (refund.id IS NOT NULL
             OR (lost.id IS NULL) <> NOT EXISTS (
                    SELECT FROM hostpay_transaction tx JOIN hostpay_nonceslot slot ON slot.id = tx.slot_id
                     WHERE slot.payment_id = payment.id AND tx.status = 'final' AND tx.kind <> 'cancel')
             OR lost.lost_units <> current.send_units))
    OR (payment.status NOT IN ('refunded', 'failed') AND (refund.id IS NOT NULL OR lost.id IS NOT NULL))
"""

_TOLD = """
SELECT 'host payment ' || payment.id,
       'its end, ' || payment.status || ', was told, and batch ' || payment.reference || ' is '
       || coalesce(batch.status, 'not there')
  FROM hostpay_hostpayment payment LEFT JOIN batches_batchconversion batch ON batch.id::text = payment.reference
 WHERE payment.context = 'batch' AND payment.delivered_at IS NOT NULL
   AND coalesce(batch.status, '') NOT IN (
        SELECT 'completed' WHERE payment.status = 'settled'
         UNION ALL SELECT 'failed' WHERE payment.status <> 'settled'
         UNION ALL SELECT 'cancelled' WHERE payment.status <> 'settled')
"""

PAYMENTS = (
    Invariant(id="I4", promise="a payment is mined once", look=by_sql(_MINED_ONCE)),
    Invariant(id="I4", promise="no more is sent than was asked for", look=by_sql(_AUTHORISED)),
    Invariant(id="I4", promise="a batch's payment asks for the batch's wei", look=by_sql(_PAYMENT_OF_BATCH)),
    Invariant(id="I4", promise="a payment's status is what its transactions say", look=by_sql(_STATUS_AND_CHAIN)),
    Invariant(id="I6", promise="a nonce is one payment, one receiver, one value", look=by_sql(_SAME_VARIANTS)),
    Invariant(id="I7", promise="ether goes to the current order, or nowhere", look=by_sql(_RECEIVERS)),
    Invariant(id="I8", promise="only what logs prove is shared out, once", look=by_sql(_RECEIVED)),
    Invariant(id="I9", promise="what did not come back is booked as lost", look=by_sql(_LOST)),
    Invariant(id="I12", promise="whoever was told has acted on it", look=by_sql(_TOLD)),
)
