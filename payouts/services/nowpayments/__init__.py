"""Payments that come through NOWPayments: notifications stored, understood, booked; and asked for when none came."""

from payouts.services.nowpayments.following import (
    advance_payment,
    due_payments,
    ingest_payment,
    replay_notification,
)
from payouts.services.nowpayments.noticing import process_notification
from payouts.services.nowpayments.receiving import is_from_nowpayments, store_notification, waiting_notifications
from payouts.services.nowpayments.reviewing import close_review, set_aside, take_up_again

__all__ = (
    "advance_payment",
    "close_review",
    "due_payments",
    "ingest_payment",
    "is_from_nowpayments",
    "process_notification",
    "replay_notification",
    "set_aside",
    "store_notification",
    "take_up_again",
    "waiting_notifications",
)
