"""Webhook endpoints, and what they were told."""

from typing import Any

from config.described.operation import BATCH_ID, MOVED, REFUSED, Said, page

_URL = "https://shop.example.com/hooks/sluice"
_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105 (an example of the scheme's own text)
_ENDPOINT: dict[str, Any] = {
    "id": 3,
    "name": "shop",
    "url": _URL,
    "events": ["payment.batched", "payment.converted"],
    "client_id": None,
    "status": "enabled",
    "disabled_reason": "",
    "secret_made_at": "2030-01-31T12:00:00.123456Z",
    "old_secret_until": None,
    "failures": 0,
    "failing_since": None,
    "last_error": "",
    "last_success_at": "2030-01-31T12:15:01.000000Z",
    "next_attempt_at": "2030-01-31T12:15:01.000000Z",
    "created_at": "2030-01-31T12:00:00.123456Z",
}
_DISABLED: dict[str, Any] = {**_ENDPOINT, "status": "disabled", "disabled_reason": "The shop is closed for a week."}
_DELIVERY: dict[str, Any] = {
    "id": 81,
    "message_id": "evt_81_Xk29fQ",
    "endpoint_id": 3,
    "event": "payment.converted",
    "state": "delivered",
    "attempts": 1,
    "accumulation_id": 17,
    "payment_id": "order-1001",
    "created_at": "2030-01-31T12:21:07.654321Z",
    "resent_at": None,
    "delivered_at": "2030-01-31T12:21:08.000000Z",
    "given_up_at": None,
}
_WAITING: dict[str, Any] = {
    **_DELIVERY,
    "state": "waiting",
    "resent_at": "2030-02-01T09:00:00.000000Z",
    "delivered_at": None,
}
_GIVEN_UP: dict[str, Any] = {
    **_DELIVERY,
    "state": "given_up",
    "delivered_at": None,
    "given_up_at": "2030-02-01T09:00:00.000000Z",
}
_TEST: dict[str, Any] = {
    **_WAITING,
    "event": "endpoint.test",
    "attempts": 0,
    "accumulation_id": None,
    "payment_id": None,
    "resent_at": None,
}
_PAYLOAD: dict[str, Any] = {
    "type": "payment.converted",
    "timestamp": "2030-01-31T12:21:07.654321Z",
    "data": {
        "accumulation_id": 17,
        "source": "api",
        "payment_id": "order-1001",
        "client_id": "demo-bakery",
        "user_id": "7",
        "subscription_id": "",
        "conversion_status": "completed",
        "gross_usd": "4.85000000",
        "fee_usd": "0.14550000",
        "pending_usd_amount": "4.70450000",
        "converted_usdt_amount": "4.698211",
        "batch_conversion_id": BATCH_ID,
        "reason": "",
    },
}
_TRY: dict[str, Any] = {
    "started_at": "2030-01-31T12:21:07.900000Z",
    "ended_at": "2030-01-31T12:21:08.000000Z",
    "outcome": "delivered",
    "status_code": 204,
    "duration_ms": 100,
    "error": "",
    "response_body": "",
}
_WHY = {"reason": "The shop is back, ticket 4711."}
_MOVING = (REFUSED, *MOVED)
_ADDRESSES = (REFUSED, (409, "endpoint_exists"), (409, "too_many_endpoints"))

SAID = {
    "webhook_endpoints_list": Said(answers={200: page(_ENDPOINT)}),
    "webhook_endpoints_create": Said(answers={201: {**_ENDPOINT, "secret": _SECRET}}, refusals=_ADDRESSES),
    "webhook_endpoints_retrieve": Said(answers={200: _ENDPOINT}),
    "webhook_endpoints_partial_update": Said(
        request={"events": ["payment.converted"], "reason": "It asks for the shares alone."},
        answers={200: {**_ENDPOINT, "events": ["payment.converted"]}},
        refusals=(*_ADDRESSES, *MOVED),
    ),
    "webhook_endpoints_disable_create": Said(
        request={"reason": _DISABLED["disabled_reason"]}, answers={200: _DISABLED}, refusals=_MOVING
    ),
    "webhook_endpoints_enable_create": Said(request=_WHY, answers={200: _ENDPOINT}, refusals=(*_ADDRESSES, *MOVED)),
    "webhook_endpoints_try_now_create": Said(request=_WHY, answers={200: _ENDPOINT}, refusals=_MOVING),
    "webhook_endpoints_rotate_secret_create": Said(
        request={"overlap_hours": 24, "reason": "A colleague left."},
        answers={201: {"secret": _SECRET}},
        refusals=_MOVING,
    ),
    "webhook_endpoints_test_create": Said(answers={201: _TEST}, refusals=_MOVING),
    "webhook_endpoints_resend_failed_create": Said(
        request={"since": "2030-01-31T00:00:00Z", **_WHY}, answers={200: {"events": 12}}, refusals=_MOVING
    ),
    "webhook_deliveries_list": Said(answers={200: page(_DELIVERY)}),
    "webhook_deliveries_retrieve": Said(answers={200: {**_DELIVERY, "payload": _PAYLOAD, "tries": [_TRY]}}),
    "webhook_deliveries_resend_create": Said(request=_WHY, answers={200: _WAITING}, refusals=_MOVING),
    "webhook_deliveries_give_up_create": Said(request=_WHY, answers={200: _GIVEN_UP}, refusals=_MOVING),
}
