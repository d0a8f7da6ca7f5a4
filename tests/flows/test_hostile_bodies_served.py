"""What no sender sends by accident, through the web server as it is deployed: refused early, and kept nowhere."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from django.db import connection

from config.stack.parts import python, serves
from config.stack.ports import HOST, free_port
from hostpay.models import HostPayment
from payouts.models import Accumulation, InboundEvent
from payouts.services import create_api_key
from tests.factories import ACTOR
from tests.flows.test_hostile_bodies import POSTED
from tests.lib.servers import running
from tests.payouts.sending import signed_headers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

CHUNK = b" " * 64 * 1024
TWENTY_MEGABYTES = 20 * 1024 * 1024
CHUNKS = TWENTY_MEGABYTES // len(CHUNK)
WORKERS = 1


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """gunicorn on the tests' database, with the options of the stack: its port, and the pid of its one worker."""
    port, folder = free_port(), tmp_path_factory.mktemp("web")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.lib.served",
        "SERVED_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }
    options = ("--bind", f"{HOST}:{port}", "--worker-class", "gthread", "--workers", str(WORKERS), "--threads", "4",
               "--no-control-socket", "--log-level", "warning")  # fmt: skip
    with running(
        python("gunicorn", *options, "config.wsgi"),
        is_ready=lambda: serves(port, "/livez"),
        log=folder / "web.log",
        environment=environment,
    ) as process:
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield port, int(worker)


def headers() -> dict[str, str]:
    """Every proof that any address asks for, over another body than what is sent."""
    _, key = create_api_key(name="tests", scopes=("read", "ops"), actor=ACTOR)
    return {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "x-nowpayments-sig": "0" * 128,
        **signed_headers(b"{}"),
    }


def ask(port: int, address: str, body: object, given: dict[str, str], **options: bool) -> tuple[int, dict[str, object]]:
    with closing(http.client.HTTPConnection(HOST, port, timeout=20)) as client:
        # The answer may come, and the connection be closed, while we are still sending.
        with suppress(BrokenPipeError, ConnectionResetError):
            client.request("POST", address, body, given, **options)  # type: ignore[arg-type]
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("address", POSTED)
def test_f16_twenty_megabytes_in_chunks_without_a_length_are_not_read(web: tuple[int, int], address: str) -> None:
    given = headers() | {"Transfer-Encoding": "chunked"}
    before = time.monotonic()

    status, problem = ask(web[0], address, iter([CHUNK] * CHUNKS), given, encode_chunked=True)

    assert (status, problem["code"]) == (411, "length_required")
    assert time.monotonic() - before < 5
    _assert_nothing_was_kept()


@pytest.mark.parametrize("address", POSTED)
def test_f16_twenty_megabytes_that_are_announced_are_not_read(web: tuple[int, int], address: str) -> None:
    given = headers() | {"Content-Length": str(TWENTY_MEGABYTES)}

    with closing(http.client.HTTPConnection(HOST, web[0], timeout=20)) as client:
        client.putrequest("POST", address)
        for name, value in given.items():
            client.putheader(name, value)
        client.endheaders()
        # Not one byte of the body is sent.
        answer = client.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (413, "body_too_large")
    _assert_nothing_was_kept()


@pytest.mark.parametrize("address", POSTED)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Content-Encoding": "gzip"}, "unsupported_media_type"),
        ({"Content-Type": "text/plain"}, "unsupported_media_type"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "unsupported_media_type"),
    ],
)
def test_f16_what_is_no_plain_json_is_refused(
    web: tuple[int, int], address: str, changes: dict[str, str], code: str
) -> None:
    status, problem = ask(web[0], address, b"\x1f\x8b\x08" + b"\x00" * 100, headers() | changes)

    assert (status, problem["code"]) == (415, code)
    _assert_nothing_was_kept()


def test_f16_a_flood_of_large_bodies_takes_no_memory(web: tuple[int, int]) -> None:
    port, worker = web
    given = headers() | {"Transfer-Encoding": "chunked"}
    before = _most_kilobytes(worker)

    for address in POSTED * 2:
        ask(port, address, iter([CHUNK] * CHUNKS), given, encode_chunked=True)

    assert _most_kilobytes(worker) - before < 16 * 1024


def _assert_nothing_was_kept() -> None:
    for model in (InboundEvent, Accumulation, HostPayment):
        assert not model.objects.exists()


def _most_kilobytes(pid: int) -> int:
    """The most memory that the process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("the kernel tells no VmHWM")
