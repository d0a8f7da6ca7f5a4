"""NOWPayments: what its notifications say, whether they are its own, and what it answers when asked."""

from payouts.providers.nowpayments.client import NowPayments, PaymentNotFoundError
from payouts.providers.nowpayments.notices import (
    BadNoticeError,
    OtherNotice,
    PaymentNotice,
    Word,
    read_notice,
    read_payment,
)
from payouts.providers.nowpayments.references import BadReferenceError, Reference, read_reference, reference_text
from payouts.providers.nowpayments.signatures import canonical_forms, is_signed, signature_of

__all__ = (
    "BadNoticeError",
    "BadReferenceError",
    "NowPayments",
    "OtherNotice",
    "PaymentNotFoundError",
    "PaymentNotice",
    "Reference",
    "Word",
    "canonical_forms",
    "is_signed",
    "read_notice",
    "read_payment",
    "read_reference",
    "reference_text",
    "signature_of",
)
