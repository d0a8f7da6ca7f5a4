"""What the tests of hostpay share."""

from collections.abc import Iterator

import pytest

from tests.lib.swaps import Swaps
from tests.lib.world import World


@pytest.fixture
def swaps(world: World) -> Iterator[Swaps]:
    """An exchange without a past, and payments to make there."""
    world.exchange.reset()
    yield Swaps(world=world)
    world.exchange.reset()
