"""Client of the swap provider ChangeNOW."""

from hostpay.providers.changenow.client import ChangeNow
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
    "PlacedOrder",
    "RateExpiredError",
    "same_amount",
    "status_of",
    "verify_echo",
)
