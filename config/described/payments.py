"""What comes in: payments, notifications, and what stands for them."""

from typing import Any

from config.described.operation import BATCH_ID, REFUSED, TOO_MANY, Said, page
from payouts.api.described import RECORDED_EXAMPLE

_ACCUMULATION: dict[str, Any] = {
    "id": 17,
    "source": "api",
    "payment_id": "order-1001",
    "client_id": "demo-bakery",
    "user_id": "7",
    "subscription_id": "",
    "conversion_status": "completed",
    "gross_usd": "4.85000000",
    "fee_percent": "3.0000",
    "fee_usd": "0.14550000",
    "pending_usd_amount": "4.70450000",
    "outcome_currency": "eth",
    "outcome_amount": "0.001616",
    "received_wei": "1616000000000000",
    "fee_wei": "48480000000000",
    "net_wei": "1567520000000000",
    "batch_conversion_id": BATCH_ID,
    "converted_usdt_amount": "4.698211",
    "hold_reason": "",
    "paid_at": None,
    "created_at": "2030-01-31T12:00:00.123456Z",
}
_INTAKE = (
    (401, "bad_signature"),
    (401, "stale_signature"),
    TOO_MANY,
    (503, "intake_paused"),
    (503, "database_unavailable"),
)
_VOID = {"source": "api", "payment_id": "order-1001", "accumulation_id": 17}

SAID = {
    "payments_create": Said(
        # The view has examples of the request and of 201.
        answers={201: RECORDED_EXAMPLE, 200: RECORDED_EXAMPLE},
        refusals=(
            *_INTAKE,
            (409, "conflicting_payment"),
            (409, "conflicting_delivery"),
            (422, "unknown_client"),
            (422, "amount_too_small"),
        ),
    ),
    "payments_bulk_create": Said(
        answers={
            200: {"recorded": 1, "replayed": 0, "refused": 0, "results": [{"status": 201, "payment": RECORDED_EXAMPLE}]}
        },
        refusals=(*_INTAKE, (409, "conflicting_delivery")),
    ),
    "nowpayments_notification": Said(
        request={
            "payment_id": 5077125051,
            "payment_status": "finished",
            "pay_address": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            "price_amount": 12.5,
            "price_currency": "usd",
            "pay_amount": 0.00416667,
            "actually_paid": 0.00416667,
            "pay_currency": "eth",
            "order_id": "demo-bakery:7",
            "outcome_amount": 0.00412,
            "outcome_currency": "eth",
            "updated_at": 1895918400000,
        },
        answers={200: {"stored": 311}},
        refusals=((401, "bad_signature"), TOO_MANY, (503, "database_unavailable")),
    ),
    "accumulations_list": Said(answers={200: page(_ACCUMULATION)}),
    "accumulations_retrieve": Said(answers={200: _ACCUMULATION}),
    "accumulations_void_create": Said(
        request={"payment_id": "order-1001", "reason": "The order was cancelled, ticket 4711."},
        answers={200: _VOID, 202: {**_VOID, "accumulation_id": None}},
        refusals=(REFUSED,),
    ),
}
