"""Batch conversions, threshold checks, and the payments out of the host wallet."""

from typing import Any

from config.described.operation import BATCH_ID, EXAMPLE_TOKEN, HOST_PAYMENT_ID, REFUSED, TOKEN, Said, page

_BATCH: dict[str, Any] = {
    "id": BATCH_ID,
    "status": "completed",
    "policy_version": 1,
    "threshold_usd": "200.00000000",
    "total_usd": "203.76400000",
    "member_count": 43,
    "net_wei": "67921333333333333",
    "unreceipted_usd": "0.00000000",
    "received_units": "203112904",
    "failure_reason": "",
    "created_by": "beat:check the threshold",
    "created_at": "2030-01-31T12:15:00.123456Z",
    "status_changed_at": "2030-01-31T12:21:07.654321Z",
}
_CHECK: dict[str, Any] = {
    "id": 812,
    "decision": "opened",
    "why": [],
    "threshold_usd": "200.00000000",
    "total_usd": "203.76400000",
    "member_count": 43,
    "oldest_pending_at": "2030-01-31T08:40:12.000000Z",
    "is_forced": False,
    "batch_id": BATCH_ID,
    "policy_version": 1,
    "actor": "beat:check the threshold",
    "checked_at": "2030-01-31T12:15:00.123456Z",
}
_BELOW: dict[str, Any] = {
    **_CHECK,
    "id": 811,
    "decision": "below",
    "why": ["$198.20 are $1.80 below the threshold of $200.00"],
    "total_usd": "198.20000000",
    "member_count": 42,
    "batch_id": None,
    "actor": "api:sk_d4f85ec6",
}
_HOST_PAYMENT: dict[str, Any] = {
    "id": HOST_PAYMENT_ID,
    "context": "batch",
    "reference": BATCH_ID,
    "status": "settled",
    "asset": "eth/eth",
    "amount_units": "67921333333333333",
    "unpriced_usd": "0.00000000",
    "priced_units": None,
    "expected_usd": "203.76400000",
    "to_asset": "usdt/eth",
    "payout_address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "received_units": "203112904",
    "failure_reason": "",
    "waiting_reason": "",
    "waiting_since": None,
    "unknown_reason": "",
    "unknown_since": None,
    "review_reason": "",
    "review_since": None,
    "attempts": 0,
    "next_action_at": None,
    "requested_by": "beat:check the threshold",
    "created_at": "2030-01-31T12:15:00.123456Z",
    "delivered_at": "2030-01-31T12:21:07.654321Z",
}
_RULE = {
    "name": "the threshold was reached",
    "ok": True,
    "detail": "$203.764 of $200.00 in 43 payments",
    "since": "2030-01-31T12:15:00.123456Z",
}
_ENTRY = {
    "at": "2030-01-31T12:15:00.123456Z",
    "actor": "beat:check the threshold",
    "subject": f"batch {BATCH_ID[:8]}",
    "from_status": "created",
    "to_status": "swapping",
    "reason": "its payment was requested",
    "data": {"host_payment": HOST_PAYMENT_ID},
}
_HEARD_OF_BATCH = {"batch_id": BATCH_ID, "status": "swapping", "host_payment_id": HOST_PAYMENT_ID}
_HEARD = {"host_payment_id": HOST_PAYMENT_ID, "status": "broadcast"}
_REQUESTED = {"id": HOST_PAYMENT_ID, "context": "batch", "reference": BATCH_ID, "status": "requested"}

SAID = {
    "batches_list": Said(answers={200: page(_BATCH)}),
    "batches_retrieve": Said(answers={200: _BATCH}),
    "batches_explain_retrieve": Said(answers={200: {"batch_id": BATCH_ID, "status": "completed", "rules": [_RULE]}}),
    "batches_timeline_retrieve": Said(
        answers={200: {"batch_id": BATCH_ID, "status": "completed", "timeline": [_ENTRY]}}
    ),
    "check_threshold": Said(request={"dry_run": True}, answers={200: _BELOW}, refusals=(REFUSED,)),
    "threshold_checks_list": Said(answers={200: page(_CHECK, _BELOW)}),
    "threshold_checks_retrieve": Said(answers={200: _CHECK}),
    "batches_swap_executed_create": Said(
        request=EXAMPLE_TOKEN,
        answers={202: _HEARD_OF_BATCH, 200: _HEARD_OF_BATCH},
        refusals=(*TOKEN, (404, "not_found"), (404, "unknown_payment")),
    ),
    "hostpay_payments_list": Said(answers={200: page(_HOST_PAYMENT)}),
    "hostpay_payments_retrieve": Said(answers={200: _HOST_PAYMENT}),
    "hostpay_payments_create": Said(
        request=EXAMPLE_TOKEN,
        answers={201: _REQUESTED, 200: _REQUESTED},
        refusals=(
            *TOKEN,
            REFUSED,
            (409, "conflicting_request"),
            (422, "unsupported_asset"),
            (422, "context_not_accepted"),
            (422, "not_admitted"),
        ),
    ),
    "hostpay_payment_completed_create": Said(
        request=EXAMPLE_TOKEN, answers={202: _HEARD, 200: _HEARD}, refusals=(*TOKEN, (404, "unknown_payment"))
    ),
}
