from collections.abc import Iterator

import pytest

from tests.lib.scripted_http import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A provider that answers what the test scripts."""
    with ScriptedServer() as script:
        yield script
