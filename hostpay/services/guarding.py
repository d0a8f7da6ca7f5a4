"""The last look before a signature, in the transaction that makes it: may this money leave at all?"""

from __future__ import annotations

from django.conf import settings

from config.lib.audit import Actor
from config.lib.explain import Rule
from hostpay.models import ExchangeOrder, HostPayment, Wallet
from hostpay.services.breaking import open_breakers, open_if_failing
from hostpay.services.limits import limit_rules, why_over_limit
from hostpay.services.steps import Review, Said, Wait


def why_not_sign(
    *, payment: HostPayment, wallet: Wallet, current: ExchangeOrder, value_wei: int, actor: Actor
) -> Said | None:
    """What forbids the payment's first signature; None if it may leave. The caller holds the wallet's row."""
    opened = open_if_failing(actor=actor)
    stopped = why_stopped()
    if opened is not None or stopped is not None:
        return stopped
    if (wallet.chain_id, wallet.address) != (settings.ETH_CHAIN_ID, settings.HOST_WALLET_ADDRESS):
        return Review(
            reason=f"it is to leave {wallet}, and the settings say {settings.HOST_WALLET_ADDRESS} on chain"
            f" {settings.ETH_CHAIN_ID}; nothing was signed"
        )
    return why_over_limit(payment=payment, provider=current.provider, value_wei=value_wei)


def why_stopped() -> Wait | None:
    """The open breaker, which forbids every signature, as a wait that ends when a person has closed it."""
    opened = open_breakers()
    if not opened:
        return None
    first = opened[0]
    return Wait(
        reason=f"the breaker is open since {first.opened_at:%Y-%m-%d %H:%M} UTC: {first}",
        after_s=settings.SWEEP_EVERY_S,
    )


def guard_rules(payment: HostPayment) -> list[Rule]:
    """The same as rules to be read: the breaker and every limit, as they stand for the payment now."""
    opened = open_breakers()
    breaker = Rule(
        name="breaker closed",
        ok=not opened,
        detail="; ".join(map(str, opened)) or "nothing holds signing back",
        since=opened[0].opened_at if opened else None,
    )
    current = payment.orders.filter(is_current=True).first()
    if current is None:
        return [breaker]
    return [breaker, *limit_rules(payment=payment, provider=current.provider, value_wei=int(current.send_units))]
