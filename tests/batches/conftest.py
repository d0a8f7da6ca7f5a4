"""Every test of batches has a provider that answers how much it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hostpay import gateways
from tests.lib.exchange_range import ExchangeRange


@pytest.fixture(autouse=True)
def exchange_range(settings: Any) -> Iterator[ExchangeRange]:
    """The provider of every test here: takes anything from 10^-6 ETH, unless the test says otherwise."""
    with ExchangeRange() as server:
        settings.CHANGENOW_API_URL = server.url
        gateways.exchange.cache_clear()
        yield server
    gateways.exchange.cache_clear()
