"""What hostpay does, one function per business event. Callers import from here."""

from hostpay.services.advancing import Handover, advance, sign
from hostpay.services.approvals import (
    approve,
    propose_cancel,
    propose_refund,
    propose_take_on,
    propose_write_off,
    reject,
    why_not_propose,
)
from hostpay.services.breaking import close_breaker, open_breaker, open_breakers
from hostpay.services.closing import Unpaid, ask_unpaid, close_unpaid, close_unsent
from hostpay.services.explaining import explain_payment
from hostpay.services.halting import halt_wallet
from hostpay.services.heartbeats import beating
from hostpay.services.limits import most_wei_at_once
from hostpay.services.operating import (
    WAIT_FOR,
    accept_receipt,
    close_review,
    escalate,
    retry_payment,
    wait_for_rest,
)
from hostpay.services.pausing import PausedError, is_paused, pause, refuse_if_paused, resume
from hostpay.services.reconciling.lifting import lift_halt
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
from hostpay.services.wallets import WalletFacts, exchange_range, our_wallet, wallet_facts, wei_of_usd

__all__ = (
    "WAIT_FOR",
    "AdoptedOrder",
    "ConflictingRequestError",
    "Handover",
    "PausedError",
    "UnknownContextError",
    "Unpaid",
    "WalletFacts",
    "accept_receipt",
    "advance",
    "approve",
    "ask_unpaid",
    "beating",
    "close_breaker",
    "close_review",
    "close_unpaid",
    "close_unsent",
    "due_payments",
    "escalate",
    "exchange_range",
    "explain_payment",
    "forget_used_tokens",
    "halt_wallet",
    "is_paused",
    "latest_payment",
    "lift_halt",
    "live_payment",
    "most_wei_at_once",
    "nudge",
    "open_breaker",
    "open_breakers",
    "our_wallet",
    "pause",
    "propose_cancel",
    "propose_refund",
    "propose_take_on",
    "propose_write_off",
    "refuse_if_paused",
    "reject",
    "request_payment",
    "resume",
    "retry_payment",
    "sign",
    "use_token_once",
    "wait_for_rest",
    "wallet_facts",
    "wei_of_usd",
    "why_not_propose",
)
