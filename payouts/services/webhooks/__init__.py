"""Telling others of a payment's life: the outbox, who empties it, and what an operator can do about it."""

from payouts.services.webhooks.delivering import deliver_due, is_any_due
from payouts.services.webhooks.endpoints import (
    EndpointExistsError,
    TooManyEndpointsError,
    change_endpoint,
    check_endpoint,
    create_endpoint,
    disable_endpoint,
    enable_endpoint,
    look_up_address,
    rotate_secret,
    send_test,
)
from payouts.services.webhooks.messages import REASONS, body_of, payload_of
from payouts.services.webhooks.outcomes import give_up_of_disabled
from payouts.services.webhooks.resending import (
    acknowledge_given_up,
    forget_deliveries,
    give_up_delivery,
    resend_delivery,
    resend_failed,
    try_endpoint,
)
from payouts.services.webhooks.rounds import SLOW_MS

__all__ = (
    "REASONS",
    "SLOW_MS",
    "EndpointExistsError",
    "TooManyEndpointsError",
    "acknowledge_given_up",
    "body_of",
    "change_endpoint",
    "check_endpoint",
    "create_endpoint",
    "deliver_due",
    "disable_endpoint",
    "enable_endpoint",
    "forget_deliveries",
    "give_up_delivery",
    "give_up_of_disabled",
    "is_any_due",
    "look_up_address",
    "payload_of",
    "resend_delivery",
    "resend_failed",
    "rotate_secret",
    "send_test",
    "try_endpoint",
)
