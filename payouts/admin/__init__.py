from payouts.admin import (
    accumulations,
    api_keys,
    client_changes,
    clients,
    destinations,
    failed_tries,
    inbound,
    nowpayments,
    request_keys,
    void_orders,
    webhook_deliveries,
    webhook_endpoints,
)

__all__ = (
    "accumulations",
    "api_keys",
    "client_changes",
    "clients",
    "destinations",
    "failed_tries",
    "inbound",
    "nowpayments",
    "request_keys",
    "void_orders",
    "webhook_deliveries",
    "webhook_endpoints",
)
