"""A receiver on this machine, and endpoints that lead to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lib.scripted_http import ScriptedServer


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    with ScriptedServer() as script:
        yield script
