"""What payouts does, one function per business event. Callers import from here."""

from payouts.services.api_keys import create_api_key, find_api_key
from payouts.services.claims import hold_accumulation, unhold_accumulation, void_accumulation
from payouts.services.clients import (
    ClientExistsError,
    apply_destination_changes,
    cancel_destination_change,
    change_client,
    create_client,
    request_destination_change,
)
from payouts.services.destinations import check_destination
from payouts.services.drafts import AmountTooSmallError
from payouts.services.facts import InvalidJsonError, PaymentFacts, facts_of, read_facts
from payouts.services.inbox import bound_rejected_events, failed_events, replay_event, store_unauthentic, take_payment
from payouts.services.nowpayments import (
    advance_payment,
    close_review,
    due_payments,
    ingest_payment,
    is_from_nowpayments,
    process_notification,
    store_notification,
    waiting_notifications,
)
from payouts.services.recording import (
    ConflictingPaymentError,
    Delivery,
    Recorded,
    UnknownClientError,
    record_payment,
)
from payouts.services.request_keys import forget_request_keys

__all__ = (
    "AmountTooSmallError",
    "ClientExistsError",
    "ConflictingPaymentError",
    "Delivery",
    "InvalidJsonError",
    "PaymentFacts",
    "Recorded",
    "UnknownClientError",
    "advance_payment",
    "apply_destination_changes",
    "bound_rejected_events",
    "cancel_destination_change",
    "change_client",
    "check_destination",
    "close_review",
    "create_api_key",
    "create_client",
    "due_payments",
    "facts_of",
    "failed_events",
    "find_api_key",
    "forget_request_keys",
    "hold_accumulation",
    "ingest_payment",
    "is_from_nowpayments",
    "process_notification",
    "read_facts",
    "record_payment",
    "replay_event",
    "request_destination_change",
    "store_notification",
    "store_unauthentic",
    "take_payment",
    "unhold_accumulation",
    "void_accumulation",
    "waiting_notifications",
)
