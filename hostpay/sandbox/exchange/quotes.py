"""What the exchange gives for what: pure arithmetic on Decimals, rounded down, against the customer."""

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal, localcontext

from hostpay.sandbox.exchange.assets import Currency
from hostpay.sandbox.exchange.numbers import SHOWN_DECIMALS, shown
from hostpay.sandbox.exchange.settings import Settings

BPS = 10_000
# wei amounts have up to 30 digits, and a rate multiplies them.
WORKING_DIGITS = 80


@dataclass(frozen=True)
class Quote:
    """Amounts in whole coins of the two currencies; the withdrawal fee is already taken from `to_amount`."""

    from_amount: Decimal
    to_amount: Decimal
    deposit_fee: Decimal
    withdrawal_fee: Decimal


@dataclass(frozen=True)
class Dealer:
    """Quotes for one pair under the settings in force."""

    settings: Settings
    source: Currency
    target: Currency

    @property
    def withdrawal_fee(self) -> Decimal:
        return _up(self.settings.network_fee_usd / self.settings.price_usd(self.target), self.target)

    @property
    def minimum(self) -> Decimal:
        """The least the exchange takes, in the source currency."""
        return _up(self.settings.minimum_usd / self.settings.price_usd(self.source), self.source)

    @property
    def maximum(self) -> Decimal | None:
        if self.settings.maximum_usd is None:
            return None
        return shown(self.settings.maximum_usd / self.settings.price_usd(self.source), self.source.decimals)

    def direct(self, from_amount: Decimal) -> Quote:
        """What this much brings; never less than nothing."""
        with localcontext(prec=WORKING_DIGITS):
            gross = max(from_amount - self.settings.deposit_fee, Decimal(0)) * self._keep() / self._price_ratio()
            net = max(gross - self.withdrawal_fee, Decimal(0))
            return Quote(from_amount, shown(net, self.target.decimals), self.settings.deposit_fee, self.withdrawal_fee)

    def reverse(self, to_amount: Decimal) -> Quote:
        """What must be paid to get this much."""
        with localcontext(prec=WORKING_DIGITS):
            needed = (to_amount + self.withdrawal_fee) * self._price_ratio() / self._keep() + self.settings.deposit_fee
            return Quote(_up(needed, self.source), to_amount, self.settings.deposit_fee, self.withdrawal_fee)

    def _keep(self) -> Decimal:
        return Decimal(BPS - self.settings.spread_bps) / BPS

    def _price_ratio(self) -> Decimal:
        """How much of the source one unit of the target costs."""
        return self.settings.price_usd(self.target) / self.settings.price_usd(self.source)


def _up(value: Decimal, currency: Currency) -> Decimal:
    step = Decimal(1).scaleb(-min(currency.decimals, SHOWN_DECIMALS))
    return value.quantize(step, rounding=ROUND_UP)
