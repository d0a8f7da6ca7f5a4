"""Clients, and what was changed of them."""

from typing import Any

from config.described.operation import REFUSED, WALLET, Said, page

_NEW_WALLET = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
_CLIENT: dict[str, Any] = {
    "id": 4,
    "external_id": "bakery",
    "name": "Bakery",
    "strategy": "threshold",
    "wallet_address": WALLET,
    "payout_currency": "usdt",
    "payout_network": "eth",
    "payout_threshold_usd": "50.00000000",
    "fee_percent": None,
    "created_at": "2030-01-31T12:00:00.123456Z",
    "updated_at": "2030-01-31T12:00:00.123456Z",
}
_DESTINATION: dict[str, Any] = {
    "id": 9,
    "client_id": "bakery",
    "state": "pending",
    "wallet_address": _NEW_WALLET,
    "payout_currency": "usdt",
    "payout_network": "eth",
    "old_wallet_address": WALLET,
    "old_payout_currency": "usdt",
    "old_payout_network": "eth",
    "reason": "The bakery moved its treasury, ticket 4711.",
    "requested_by": "api:sk_d4f85ec6",
    "created_at": "2030-02-01T09:00:00.123456Z",
    "effective_at": "2030-02-02T09:00:00.123456Z",
    "applied_at": None,
    "cancelled_at": None,
    "cancelled_by": "",
    "cancel_reason": "",
}
_CHANGE: dict[str, Any] = {
    "id": 23,
    "client_id": "bakery",
    "field": "fee_percent",
    "before": "",
    "after": "2.5",
    "actor": "api:sk_d4f85ec6",
    "reason": "As agreed in the contract of 2030.",
    "created_at": "2030-02-01T09:00:00.123456Z",
}

SAID = {
    "clients_list": Said(answers={200: page(_CLIENT)}),
    "clients_create": Said(
        request={"external_id": "bakery", "name": "Bakery", "wallet_address": WALLET, "payout_threshold_usd": "50"},
        answers={201: _CLIENT},
        refusals=((409, "client_exists"),),
    ),
    "clients_retrieve": Said(answers={200: _CLIENT}),
    "clients_partial_update": Said(
        request={"fee_percent": "2.5", "reason": _CHANGE["reason"]},
        answers={200: {**_CLIENT, "fee_percent": "2.5000"}},
    ),
    "client_changes_list": Said(answers={200: page(_CHANGE)}),
    "clients_destination_changes_create": Said(
        request={"wallet_address": _NEW_WALLET, "reason": _DESTINATION["reason"]},
        answers={201: _DESTINATION},
        refusals=(REFUSED,),
    ),
    "destination_changes_list": Said(answers={200: page(_DESTINATION)}),
    "destination_changes_cancel_create": Said(
        request={"reason": "The bakery knows nothing of it."},
        answers={
            200: {
                **_DESTINATION,
                "state": "cancelled",
                "cancelled_at": "2030-02-01T10:00:00.123456Z",
                "cancelled_by": "api:sk_d4f85ec6",
                "cancel_reason": "The bakery knows nothing of it.",
            }
        },
        refusals=(REFUSED,),
    ),
}
