"""Client of the swap provider ChangeNOW."""

from hostpay.providers.changenow.client import CALLS_PER_S, ChangeNow, Pace
from hostpay.providers.changenow.errors import (
    BadAnswerError,
    ExchangeRefusedError,
    NotAllowedError,
    OrderNotFoundError,
    OutOfRangeError,
    RateExpiredError,
)
from hostpay.providers.changenow.orders import EchoMismatch, OrderRequest, PlacedOrder, same_amount, verify_echo
from hostpay.providers.changenow.states import (
    AmountRange,
    Estimate,
    ExchangeState,
    ExchangeStatus,
    ListedExchange,
    status_of,
)

__all__ = (
    "CALLS_PER_S",
    "AmountRange",
    "BadAnswerError",
    "ChangeNow",
    "EchoMismatch",
    "Estimate",
    "ExchangeRefusedError",
    "ExchangeState",
    "ExchangeStatus",
    "ListedExchange",
    "NotAllowedError",
    "OrderNotFoundError",
    "OrderRequest",
    "OutOfRangeError",
    "Pace",
    "PlacedOrder",
    "RateExpiredError",
    "same_amount",
    "status_of",
    "verify_echo",
)
