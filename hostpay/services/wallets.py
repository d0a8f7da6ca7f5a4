"""The host wallet, and what the chain says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal

from django.conf import settings
from django.utils import timezone

from config.lib.money import ETH, USDT, to_units
from hostpay import gateways
from hostpay.models import Wallet
from hostpay.providers.changenow import AmountRange


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletFacts:
    """What the node said of the wallet at `block_number`."""

    eth_wei: int
    usdt_units: int
    nonce: int
    block_number: int
    read_at: datetime


def our_wallet() -> Wallet:
    """The wallet that the settings name, with its row."""
    wallet, _ = Wallet.objects.get_or_create(chain_id=settings.ETH_CHAIN_ID, address=settings.HOST_WALLET_ADDRESS)
    return wallet


def wallet_facts(*, timeout_s: int | None = None) -> WalletFacts:
    """Balances and nonce by the node's word (four calls, each within `timeout_s` or the provider's time-out).

    Raises:
        ProviderError: the node did not answer; nothing is assumed in its place.
    """
    node = gateways.node(timeout_s=timeout_s)
    address = settings.HOST_WALLET_ADDRESS
    return WalletFacts(
        eth_wei=node.balance_wei(address),
        usdt_units=node.usdt_balance(settings.USDT_CONTRACT_ADDRESS, address),
        nonce=node.nonce(address),
        block_number=node.block_number(),
        read_at=timezone.now(),
    )


def exchange_range() -> AmountRange:
    """What the provider takes at once, in ETH (one call).

    Raises:
        ProviderError: the provider did not answer.
    """
    return gateways.exchange().amount_range(from_asset=ETH, to_asset=USDT)


def wei_of_usd(*, usd: Decimal) -> int:
    """How much ETH the provider would give for so many dollars now, in wei rounded up (one call).

    Args:
        usd: with at most 6 decimals, the token's.

    Raises:
        ProviderError: the provider did not answer.
    """
    estimate = gateways.exchange().estimate(from_asset=USDT, to_asset=ETH, from_amount=usd)
    return to_units(estimate.to_amount.quantize(Decimal("1e-18"), rounding=ROUND_CEILING), ETH)
