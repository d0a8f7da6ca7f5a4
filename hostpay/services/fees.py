"""What a transaction may cost: the market's EIP-1559 fees, raised ones for a replacement, and their two ceilings."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from hostpay.providers.ethereum import FeeQuote

_BPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """Wei per unit of gas: the most we pay in all, and the tip within it."""

    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int


def market_fees(quote: FeeQuote) -> Fees:
    """What gets a transaction into a block now. Twice the base fee outlives six full blocks, each an eighth dearer."""
    return Fees(
        max_fee_per_gas_wei=2 * quote.base_fee_wei + quote.priority_fee_wei,
        max_priority_fee_per_gas_wei=quote.priority_fee_wei,
    )


def raised_fees(before: Fees, market: Fees) -> Fees:
    """For another transaction at the same nonce: both fees 12.5 % higher, rounded up plus 1 wei, or the market's if higher.

    Nodes ask for 10 % on both (geth, with exactly 10 % passing; reth refused exactly 10 % once) or 12.5 % (Parity).
    """
    return Fees(
        max_fee_per_gas_wei=max(_raised(before.max_fee_per_gas_wei), market.max_fee_per_gas_wei),
        max_priority_fee_per_gas_wei=max(
            _raised(before.max_priority_fee_per_gas_wei), market.max_priority_fee_per_gas_wei
        ),
    )


def too_dear(fees: Fees, *, gas_limit: int, value_wei: int) -> str:
    """Which ceiling the fees break, as a sentence with the figures; empty if none. Nothing is no value to compare with."""
    if fees.max_fee_per_gas_wei > settings.MAX_FEE_PER_GAS_WEI:
        return f"gas costs up to {fees.max_fee_per_gas_wei} wei, the cap is {settings.MAX_FEE_PER_GAS_WEI}"
    most_wei = gas_limit * fees.max_fee_per_gas_wei
    if value_wei and most_wei * _BPS > value_wei * settings.MAX_FEE_TO_VALUE_BPS:
        return (
            f"gas costs up to {most_wei} wei for a value of {value_wei} wei, the cap is"
            f" {settings.MAX_FEE_TO_VALUE_BPS} bps of the value"
        )
    return ""


def _raised(fee_wei: int) -> int:
    return fee_wei + (fee_wei + 7) // 8 + 1
