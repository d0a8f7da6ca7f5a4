from hostpay.models.operations import Heartbeat, Pause, Switch, UsedToken
from hostpay.models.order import ExchangeOrder, ExchangeOrderStatusChange, OrderStatus, Receipt
from hostpay.models.payment import (
    CLOSED_UNPAID,
    ON_THE_WIRE,
    TERMINAL,
    Context,
    HostPayment,
    HostPaymentStatusChange,
    PaymentStatus,
)
from hostpay.models.transaction import Transaction, TransactionStatus, TransactionStatusChange
from hostpay.models.wallet import NonceSlot, Wallet

__all__ = (
    "CLOSED_UNPAID",
    "ON_THE_WIRE",
    "TERMINAL",
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
    "Switch",
    "Transaction",
    "TransactionStatus",
    "TransactionStatusChange",
    "UsedToken",
    "Wallet",
)
