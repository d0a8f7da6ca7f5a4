"""Builds what talks to the outside: the services that payments come through, and the receivers of our webhooks."""

from collections.abc import Collection
from contextlib import suppress
from functools import cache

from django.conf import settings

from config.lib.errors import TransientError
from config.lib.public_addresses import checked_addresses, destination_of
from config.lib.public_http import Poster
from payouts.providers.nowpayments import NowPayments

# A request of an operator waits for it.
_LOOK_UP_S = 3


@cache
def nowpayments() -> NowPayments:
    """The payment provider."""
    return NowPayments(
        base_url=settings.NOWPAYMENTS_API_URL,
        api_key=settings.NOWPAYMENTS_API_KEY,
        timeout_s=settings.PROVIDER_TIMEOUT_S,
    )


def webhook_poster(url: str) -> Poster:
    """Posts to an endpoint that somebody else chose.

    Raises:
        UnfitAddressError: nothing may be sent there.
    """
    return Poster(url, is_sandbox=not settings.LIVE, ports=_webhook_ports())


def check_webhook_url(url: str) -> None:
    """Go on only with what may be an endpoint's address, by the looks of it; nobody is asked.

    Raises:
        UnfitAddressError: it may not, with the rule.
    """
    destination_of(url, is_sandbox=not settings.LIVE, ports=_webhook_ports())


def look_up_webhook_url(url: str) -> None:
    """Go on only if something may be sent there now; a name that cannot be looked up is not held against it.

    Whoever sends looks it up again: this is to tell somebody early.

    Raises:
        UnfitAddressError: it may not, with the rule.
    """
    destination = destination_of(url, is_sandbox=not settings.LIVE, ports=_webhook_ports())
    with suppress(TransientError):
        checked_addresses(destination, is_sandbox=not settings.LIVE, within_s=_LOOK_UP_S)


def _webhook_ports() -> Collection[int] | None:
    """None: any."""
    ports: Collection[int] = settings.WEBHOOK_PORTS
    return ports if settings.LIVE else None
