"""What payouts does, one function per business event. Callers import from here."""

from payouts.services.api_keys import create_api_key, find_api_key, revoke_api_key
from payouts.services.claims import hold_accumulation, unhold_accumulation, void_accumulation
from payouts.services.clients import (
    ClientExistsError,
    apply_destination_changes,
    cancel_destination_change,
    change_client,
    create_client,
    request_destination_change,
)
from payouts.services.destinations import NETWORKS, check_destination
from payouts.services.drafts import AmountTooSmallError
from payouts.services.exports import record_export, record_refused_export
from payouts.services.facts import InvalidJsonError, PaymentFacts, facts_of, read_facts
from payouts.services.failed_tries import (
    forget_failed_tries,
    forget_failures_of,
    forgive_login,
    take_turn_to_log_in,
)
from payouts.services.forgetting import forget_bodies
from payouts.services.inbox import take_payment
from payouts.services.nowpayments import (
    advance_payment,
    close_review,
    due_payments,
    ingest_payment,
    is_from_nowpayments,
    process_notification,
    set_aside,
    store_notification,
    take_up_again,
    waiting_notifications,
)
from payouts.services.recording import (
    ConflictingPaymentError,
    Delivery,
    Recorded,
    UnknownClientError,
    record_payment,
)
from payouts.services.refusals import count_refusals
from payouts.services.replaying import (
    ask_for_replays,
    carry_out_replays,
    replay_event,
    replayable_events,
    waiting_replays,
    why_not_replayed,
)
from payouts.services.request_keys import forget_request_keys
from payouts.services.settling import (
    TooManyError,
    Which,
    about_payment,
    acknowledge_event,
    acknowledge_events,
    settle_sent_again,
    unsettled_events,
    why_not_acknowledged,
    with_error,
)
from payouts.services.unproven import bound_rejected_events, count_failure, rejected_totals, turn_away
from payouts.services.voiding import carry_out_void_orders, void_payment

__all__ = (
    "NETWORKS",
    "AmountTooSmallError",
    "ClientExistsError",
    "ConflictingPaymentError",
    "Delivery",
    "InvalidJsonError",
    "PaymentFacts",
    "Recorded",
    "TooManyError",
    "UnknownClientError",
    "Which",
    "about_payment",
    "acknowledge_event",
    "acknowledge_events",
    "advance_payment",
    "apply_destination_changes",
    "ask_for_replays",
    "bound_rejected_events",
    "cancel_destination_change",
    "carry_out_replays",
    "carry_out_void_orders",
    "change_client",
    "check_destination",
    "close_review",
    "count_failure",
    "count_refusals",
    "create_api_key",
    "create_client",
    "due_payments",
    "facts_of",
    "find_api_key",
    "forget_bodies",
    "forget_failed_tries",
    "forget_failures_of",
    "forget_request_keys",
    "forgive_login",
    "hold_accumulation",
    "ingest_payment",
    "is_from_nowpayments",
    "process_notification",
    "read_facts",
    "record_export",
    "record_payment",
    "record_refused_export",
    "rejected_totals",
    "replay_event",
    "replayable_events",
    "request_destination_change",
    "revoke_api_key",
    "set_aside",
    "settle_sent_again",
    "store_notification",
    "take_payment",
    "take_turn_to_log_in",
    "take_up_again",
    "turn_away",
    "unhold_accumulation",
    "unsettled_events",
    "void_accumulation",
    "void_payment",
    "waiting_notifications",
    "waiting_replays",
    "why_not_acknowledged",
    "why_not_replayed",
    "with_error",
)
