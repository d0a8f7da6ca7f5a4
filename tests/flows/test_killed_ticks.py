"""kill -9 of a real process at every boundary it comes by: the next one takes over, and the end is the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import factories
from tests.lib.lives import Life, breaches
from tests.lib.mortal import Mortals
from tests.lib.world import World, make_due, stand_of_all

pytestmark = pytest.mark.slow

_PARTS = 4
_PATIENCE_S = 120.0


@pytest.fixture
def mortals(world: World, tmp_path: Path) -> Iterator[Mortals]:
    with Mortals(tmp_path) as found:
        yield found


def _live(life: Life, mortals: Mortals, *, die_at: str = "") -> tuple[list[str], bool]:
    """Tick after tick until it is quiet, the first one that comes by the place killed there; the places, and whether."""
    places: list[str] = []
    was_killed = False
    deadline = time.monotonic() + _PATIENCE_S
    while not life.is_quiet():
        assert time.monotonic() < deadline, stand_of_all()
        make_due()
        status = mortals.tick("" if was_killed else die_at)
        if status == -signal.SIGKILL:
            was_killed = True
        else:
            assert status == 0
            places += [place for place in mortals.places() if place not in places]
        life.world.anvil.mine()
    return places, was_killed


@pytest.mark.parametrize("part", range(_PARTS))
def test_f44_f67_a_killed_process_is_taken_over_by_the_next(world: World, mortals: Mortals, part: int) -> None:
    factories.policy("20")
    life = Life(world)
    places, _ = _live(life, mortals)
    expected = life.end()
    assert (expected.batch, expected.payment, expected.is_delivered) == ("completed", "settled", True)
    assert len(places) >= 60
    wrong, killed = {}, 0

    for place in places[part::_PARTS]:
        life = Life(world)
        _, was_killed = _live(life, mortals, die_at=place)
        killed += was_killed
        if found := life.judge(expected):
            wrong[place] = found

    assert wrong == {}
    assert killed >= len(places[part::_PARTS]) - 2
    assert breaches(with_chain=True) == []
