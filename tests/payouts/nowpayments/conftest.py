"""The two services that are asked: the payment provider, and the exchange for its price of one ETH."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from hostpay import gateways as hostpay_gateways
from payouts import gateways
from tests.lib.scripted_http import ScriptedServer

PRICE = (
    '{"fromCurrency":"eth","fromNetwork":"eth","toCurrency":"usdt","toNetwork":"eth","flow":"standard",'
    '"type":"direct","rateId":null,"validUntil":null,"fromAmount":1,"toAmount":3000}'
)


@pytest.fixture
def provider(settings: Settings) -> Iterator[ScriptedServer]:
    """What answers `GET /v1/payment/{id}`; it says `{}` until a test scripts it."""
    with ScriptedServer() as server:
        settings.NOWPAYMENTS_API_URL = server.url
        gateways.nowpayments.cache_clear()
        yield server
    gateways.nowpayments.cache_clear()


@pytest.fixture(autouse=True)
def exchange(settings: Settings) -> Iterator[ScriptedServer]:
    """One ETH is 3000 USDT, as at the sandbox's provider."""
    with ScriptedServer() as server:
        settings.CHANGENOW_API_URL = server.url
        hostpay_gateways.exchange.cache_clear()
        server.say_json(PRICE)
        yield server
    hostpay_gateways.exchange.cache_clear()
