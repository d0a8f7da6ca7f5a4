"""What the swap provider refuses, and what it answers that cannot be used."""

from __future__ import annotations

from decimal import Decimal

from config.lib.errors import PermanentError


class BadAnswerError(PermanentError):
    """The answer lacks what we need, or says something no amount or address can be.

    After a create an order may exist all the same. Nobody pays it, so it expires.
    """

    code = "exchange_bad_answer"


class ExchangeRefusedError(PermanentError):
    """The provider says no; nothing happened. `provider_code` is its own word for why, empty if it gave none."""

    code = "exchange_refused"

    def __init__(self, message: str, *, provider_code: str = "") -> None:
        super().__init__(message)
        self.provider_code = provider_code


class OutOfRangeError(ExchangeRefusedError):
    """The amount is below the pair's minimum or above its maximum; either figure is None if it was not told."""

    code = "exchange_out_of_range"

    def __init__(
        self, message: str, *, provider_code: str, minimum: Decimal | None = None, maximum: Decimal | None = None
    ) -> None:
        super().__init__(message, provider_code=provider_code)
        self.minimum = minimum
        self.maximum = maximum


class NotAllowedError(ExchangeRefusedError):
    """Our key may not do this: it is wrong, or of the standard kind where a private one is asked for."""

    code = "exchange_not_allowed"


class OrderNotFoundError(ExchangeRefusedError):
    """The provider has no order with this id."""

    code = "exchange_order_not_found"


class RateExpiredError(ExchangeRefusedError):
    """The fixed rate that was asked for is not held any more: ask for another one."""

    code = "exchange_rate_expired"
