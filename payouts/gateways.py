"""Builds the clients of the services that payments come through, once a process."""

from functools import cache

from django.conf import settings

from payouts.providers.nowpayments import NowPayments


@cache
def nowpayments() -> NowPayments:
    """The payment provider."""
    return NowPayments(
        base_url=settings.NOWPAYMENTS_API_URL,
        api_key=settings.NOWPAYMENTS_API_KEY,
        timeout_s=settings.PROVIDER_TIMEOUT_S,
    )
