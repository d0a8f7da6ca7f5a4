"""What hostpay does, one function per business event. Callers import from here."""

from hostpay.services.advancing import Handover, advance, sign
from hostpay.services.explaining import explain_payment
from hostpay.services.heartbeats import beating
from hostpay.services.operating import accept_receipt, close_unsent, retry_payment
from hostpay.services.pausing import PausedError, is_paused, pause, refuse_if_paused, resume
from hostpay.services.requesting import (
    AdoptedOrder,
    ConflictingRequestError,
    UnknownContextError,
    due_payments,
    latest_payment,
    live_payment,
    nudge,
    request_payment,
)
from hostpay.services.tokens import forget_used_tokens, use_token_once
from hostpay.services.wallets import WalletFacts, exchange_range, our_wallet, wallet_facts

__all__ = (
    "AdoptedOrder",
    "ConflictingRequestError",
    "Handover",
    "PausedError",
    "UnknownContextError",
    "WalletFacts",
    "accept_receipt",
    "advance",
    "beating",
    "close_unsent",
    "due_payments",
    "exchange_range",
    "explain_payment",
    "forget_used_tokens",
    "is_paused",
    "latest_payment",
    "live_payment",
    "nudge",
    "our_wallet",
    "pause",
    "refuse_if_paused",
    "request_payment",
    "resume",
    "retry_payment",
    "sign",
    "use_token_once",
    "wallet_facts",
)
