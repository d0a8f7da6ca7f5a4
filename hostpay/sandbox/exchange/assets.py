"""The currencies the sandbox exchange deals in.

ETH and USDT on the local chain are real: deposits are seen and payouts are sent there. The others can only be paid
out, and such a payout is a made-up transaction hash.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from eth_utils.address import is_checksum_address

ETHEREUM_NETWORK = "eth"
HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
OTHER_ADDRESS = re.compile(r"[0-9A-Za-z]{20,110}")


class Kind(StrEnum):
    COIN = "coin"
    TOKEN = "token"  # noqa: S105 (not a password)
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Currency:
    """`usd` is its price to begin with; the settings hold the one in force."""

    ticker: str
    network: str
    name: str
    decimals: int
    kind: Kind
    legacy_ticker: str
    usd: Decimal
    has_extra_id: bool = False
    is_stable: bool = False

    @property
    def payable_in(self) -> bool:
        """Whether the exchange can receive it."""
        return self.kind is not Kind.ELSEWHERE


CURRENCIES = (
    Currency(
        ticker="eth",
        network="eth",
        name="Ethereum",
        decimals=18,
        kind=Kind.COIN,
        legacy_ticker="eth",
        usd=Decimal(3000),
    ),
    Currency(
        ticker="usdt",
        network="eth",
        name="Tether (ERC20)",
        decimals=6,
        kind=Kind.TOKEN,
        legacy_ticker="usdterc20",
        usd=Decimal(1),
        is_stable=True,
    ),
    Currency(
        ticker="usdt",
        network="trx",
        name="Tether (TRC20)",
        decimals=6,
        kind=Kind.ELSEWHERE,
        legacy_ticker="usdttrc20",
        usd=Decimal(1),
        is_stable=True,
    ),
    Currency(
        ticker="btc",
        network="btc",
        name="Bitcoin",
        decimals=8,
        kind=Kind.ELSEWHERE,
        legacy_ticker="btc",
        usd=Decimal(60000),
    ),
    Currency(
        ticker="ltc",
        network="ltc",
        name="Litecoin",
        decimals=8,
        kind=Kind.ELSEWHERE,
        legacy_ticker="ltc",
        usd=Decimal(80),
    ),
    Currency(
        ticker="trx",
        network="trx",
        name="Tron",
        decimals=6,
        kind=Kind.ELSEWHERE,
        legacy_ticker="trx",
        usd=Decimal("0.25"),
    ),
    Currency(
        ticker="xrp",
        network="xrp",
        name="Ripple",
        decimals=6,
        kind=Kind.ELSEWHERE,
        legacy_ticker="xrp",
        usd=Decimal("0.5"),
        has_extra_id=True,
    ),
)

BY_KEY = {(currency.ticker, currency.network): currency for currency in CURRENCIES}


def valid_address(network: str, address: str) -> bool:
    """On Ethereum: 40 hex digits, in one case or with the right EIP-55 checksum. Elsewhere: of the right look."""
    if network != ETHEREUM_NETWORK:
        return OTHER_ADDRESS.fullmatch(address) is not None
    if HEX_ADDRESS.fullmatch(address) is None:
        return False
    digits = address[2:]
    return digits in {digits.lower(), digits.upper()} or bool(is_checksum_address(address))
