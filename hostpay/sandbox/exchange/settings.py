"""What can be set about the sandbox exchange, at its start and while it runs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from hostpay.sandbox.exchange.assets import CURRENCIES, Currency
from hostpay.sandbox.exchange.outcomes import Outcome

DECIMAL = re.compile(r"\d{1,12}(\.\d{1,18})?")


class LateDeposit(StrEnum):
    """What becomes of a deposit that comes after the exchange expired."""

    EXCHANGE = "exchange"
    REFUND = "refund"
    HOLD = "hold"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Amounts are decimal strings on the outside; times are seconds, with decimals; `_bps` is hundredths of a percent."""

    price_eth_usd: Decimal = Decimal("3000.00")
    other_prices_usd: dict[str, Decimal] = field(default_factory=dict)
    spread_bps: int = 50
    deposit_fee: Decimal = Decimal(0)
    network_fee_usd: Decimal = Decimal("0.10")
    refund_fee: Decimal = Decimal("0.0005")
    minimum_usd: Decimal = Decimal("5.00")
    maximum_usd: Decimal | None = None
    confirmations: int = 1
    new_s: Decimal = Decimal(0)
    exchanging_s: Decimal = Decimal("0.5")
    sending_s: Decimal = Decimal(0)
    unpaid_timeout_s: Decimal = Decimal(3600)
    rate_valid_s: Decimal = Decimal(600)
    fixed_rate_deposit_s: Decimal = Decimal(1200)
    late_deposit: LateDeposit = LateDeposit.HOLD
    pair_active: bool = True
    fixed_rate_enabled: bool = True
    key_is_private: bool = True
    special_access: bool = True
    page_rows: int = 10
    hold_s: Decimal = Decimal(30)
    outcome: dict[str, Any] = field(default_factory=dict)

    def price_usd(self, currency: Currency) -> Decimal:
        if currency.ticker == "eth":
            return self.price_eth_usd
        return self.other_prices_usd.get(currency.ticker, currency.usd)

    def changed(self, updates: Mapping[str, Any]) -> "Settings":
        """The settings with some of them replaced. Raises ValueError that names the one it cannot take."""
        known = {each.name for each in fields(self)}
        if unknown := sorted(set(updates) - known):
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        return replace(self, **{name: self._parsed(name, value) for name, value in updates.items()})

    def as_json(self) -> dict[str, Any]:
        """Every setting in the form `changed` takes."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def _parsed(self, name: str, value: Any) -> Any:
        current = getattr(Settings(), name)
        parse = next((_PARSERS[kind] for kind in _PARSERS if isinstance(current, kind)), _decimal)
        if name == "maximum_usd" and value is None:
            return None
        return parse(name, value)


def _decimal(name: str, value: Any) -> Decimal:
    if not isinstance(value, str | int) or isinstance(value, bool) or not DECIMAL.fullmatch(str(value)):
        raise ValueError(f"{name} must be a decimal string such as 0.5")
    return Decimal(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal():
        raise ValueError(f"{name} must be a whole number")
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    if value not in {True, False, "true", "false"}:
        raise ValueError(f"{name} must be true or false")
    return value in {True, "true"}


def _late_deposit(_name: str, value: Any) -> LateDeposit:
    return LateDeposit(value)


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")  # noqa: TRY004 (what came is JSON, and wrong)
    if name == "outcome":
        return asdict(Outcome.parse(value), dict_factory=_only_set)
    known = {currency.ticker for currency in CURRENCIES}
    if not set(value) <= known:
        raise ValueError(f"{name} knows only {', '.join(sorted(known))}")
    return {ticker: _decimal(name, price) for ticker, price in value.items()}


def _only_set(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None and value is not False}


# bool before int: a bool is an int.
_PARSERS: dict[type, Callable[[str, Any], Any]] = {
    bool: _boolean,
    int: _whole,
    LateDeposit: _late_deposit,
    dict: _mapping,
}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
