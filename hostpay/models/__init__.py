from hostpay.models.control import (
    GIVEN_UP,
    Approval,
    ApprovalAction,
    ApprovalDecision,
    Breaker,
    BreakerCause,
    ServiceHealth,
)
from hostpay.models.operations import Heartbeat, Pause, Switch, UsedToken
from hostpay.models.order import ExchangeOrder, ExchangeOrderStatusChange, OrderStatus, Receipt, Refund, WriteOff
from hostpay.models.payment import (
    CLOSED_UNPAID,
    ON_THE_WIRE,
    TERMINAL,
    Context,
    HostPayment,
    HostPaymentStatusChange,
    PaymentStatus,
    SignerTask,
)
from hostpay.models.reconciliation import AcceptedDifference, Reconciliation, Result, Scope
from hostpay.models.transaction import Transaction, TransactionKind, TransactionStatus, TransactionStatusChange
from hostpay.models.wallet import NonceSlot, Wallet

__all__ = (
    "CLOSED_UNPAID",
    "GIVEN_UP",
    "ON_THE_WIRE",
    "TERMINAL",
    "AcceptedDifference",
    "Approval",
    "ApprovalAction",
    "ApprovalDecision",
    "Breaker",
    "BreakerCause",
    "Context",
    "ExchangeOrder",
    "ExchangeOrderStatusChange",
    "Heartbeat",
    "HostPayment",
    "HostPaymentStatusChange",
    "NonceSlot",
    "OrderStatus",
    "Pause",
    "PaymentStatus",
    "Receipt",
    "Reconciliation",
    "Refund",
    "Result",
    "Scope",
    "ServiceHealth",
    "SignerTask",
    "Switch",
    "Transaction",
    "TransactionKind",
    "TransactionStatus",
    "TransactionStatusChange",
    "UsedToken",
    "Wallet",
    "WriteOff",
)
