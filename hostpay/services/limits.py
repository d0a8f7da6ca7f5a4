"""How much may leave: in one payment, within an hour, within a day, and be with one provider at once.

To be asked in the transaction that signs, which holds the row of the wallet: the key is of one wallet only, so nobody
signs between the sum and the signature. Times are the database's, so a worker's clock widens no window.
"""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import DurationField, ExpressionWrapper, F, QuerySet, Sum
from django.db.models.functions import Now

from config.lib.explain import Rule
from config.lib.money import ETH, format_units, to_units
from hostpay.models import ON_THE_WIRE, ExchangeOrder, HostPayment, PaymentStatus, Transaction, TransactionKind
from hostpay.services.steps import Review, Wait

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A limit that was raised is noticed after this long at the latest.
_LONGEST_WAIT_S = 3600


def most_wei_at_once() -> int:
    """The most that one payment may send."""
    return _wei(settings.MAX_SEND_ETH)


def why_over_limit(*, payment: HostPayment, provider: str, value_wei: int) -> Review | Wait | None:
    """Which limit the payment would break if it were signed now, with the figures; None if none.

    Too large in itself is for a person; what others have used up comes back by itself.
    """
    most_wei = most_wei_at_once()
    if value_wei > most_wei:
        return Review(
            reason=f"{_eth(value_wei)} are more than MAX_SEND_ETH allows in one payment, {_eth(most_wei)}; nothing was signed"
        )
    for name, limit, window in _windows():
        used_wei = _sum(_signed_within(window))
        if used_wei + value_wei > _wei(limit):
            return Wait(
                reason=_would_be_too_much(name, limit, used_wei, value_wei),
                after_s=_until_room(window, used_wei + value_wei - _wei(limit)),
            )
    used_wei = in_flight_wei(provider=provider, but=payment)
    if used_wei + value_wei > _wei(settings.MAX_ETH_IN_FLIGHT):
        return Wait(
            reason=_would_be_too_much("MAX_ETH_IN_FLIGHT", settings.MAX_ETH_IN_FLIGHT, used_wei, value_wei),
            after_s=settings.EXCHANGE_POLL_EVERY_S,
        )
    return None


def limit_rules(*, payment: HostPayment, provider: str, value_wei: int) -> list[Rule]:
    """Every limit with what is used of it, as it stands now."""
    in_one = _rule("MAX_SEND_ETH", settings.MAX_SEND_ETH, 0, value_wei)
    windows = [_rule(name, limit, _sum(_signed_within(window)), value_wei) for name, limit, window in _windows()]
    flying = in_flight_wei(provider=provider, but=payment)
    return [in_one, *windows, _rule("MAX_ETH_IN_FLIGHT", settings.MAX_ETH_IN_FLIGHT, flying, value_wei)]


def in_flight_wei(*, provider: str, but: HostPayment | None = None) -> int:
    """What was signed away to the provider's orders, and has neither brought proceeds nor come back."""
    orders = ExchangeOrder.objects.filter(
        provider=provider, is_current=True, payment__status__in=(*ON_THE_WIRE, PaymentStatus.FINAL)
    )
    if but is not None:
        orders = orders.exclude(payment=but)
    return int(orders.aggregate(total=Sum("send_units"))["total"] or 0)


def _windows() -> tuple[tuple[str, Decimal, timedelta], ...]:
    return (
        ("MAX_SEND_ETH_PER_HOUR", settings.MAX_SEND_ETH_PER_HOUR, HOUR),
        ("MAX_SEND_ETH_PER_DAY", settings.MAX_SEND_ETH_PER_DAY, DAY),
    )


def _signed_within(window: timedelta) -> QuerySet[Transaction]:
    """First signatures of payments. One that was cancelled or reverted counts as well: a limit may err on that side."""
    return Transaction.objects.filter(kind=TransactionKind.PAYMENT, created_at__gt=Now() - window)


def _sum(signed: QuerySet[Transaction]) -> int:
    return int(signed.aggregate(total=Sum("value_units"))["total"] or 0)


def _until_room(window: timedelta, excess_wei: int) -> int:
    """Seconds until signatures worth the excess have left the window."""
    left = ExpressionWrapper(F("created_at") + window - Now(), output_field=DurationField())
    gone_wei = 0
    for units, remains in (
        _signed_within(window).annotate(left=left).order_by("created_at").values_list("value_units", "left")
    ):
        gone_wei += int(units)
        if gone_wei >= excess_wei:
            seconds: int = math.ceil(remains.total_seconds())
            return max(1, min(seconds, _LONGEST_WAIT_S))
    return _LONGEST_WAIT_S


def _rule(name: str, limit: Decimal, used_wei: int, value_wei: int) -> Rule:
    if used_wei + value_wei > _wei(limit):
        return Rule(name=name, ok=False, detail=_would_be_too_much(name, limit, used_wei, value_wei))
    used = f"{_eth(used_wei)} used, " if used_wei else ""
    return Rule(name=name, ok=True, detail=f"{used}{_eth(value_wei)} wanted, {_eth(_wei(limit))} allowed")


def _would_be_too_much(name: str, limit: Decimal, used_wei: int, value_wei: int) -> str:
    return f"{name}: {_eth(used_wei)} used and {_eth(value_wei)} wanted are more than {_eth(_wei(limit))}"


def _wei(limit: Decimal) -> int:
    return to_units(limit, ETH)


def _eth(wei: int) -> str:
    return format_units(wei, ETH)
