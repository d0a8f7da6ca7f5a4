"""What no sender sends by accident, through the web server as it is deployed: refused early, and kept nowhere."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from django.db import connection

from config.stack.parts import python, serves
from config.stack.ports import HOST
from hostpay.models import HostPayment
from payouts.models import Accumulation, InboundEvent
from payouts.services import create_api_key
from tests.factories import ACTOR
from tests.flows.test_hostile_bodies import POSTED
from tests.lib.ports import own_port
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
    port, folder = own_port(), tmp_path_factory.mktemp("web")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.lib.served",
        "SERVED_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }
    options = ("--bind", f"{HOST}:{port}", "--worker-class", "tests.lib.served_worker.Worker", "--workers", str(WORKERS), "--threads", "4",
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
    with closing(http.client.HTTPConnection(HOST, port, timeout=60)) as client:
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
    # Twenty megabytes that nobody reads; who waits for them waits for its own patience.
    assert time.monotonic() - before < 30
    _assert_nothing_was_kept()


@pytest.mark.parametrize("address", POSTED)
def test_f16_twenty_megabytes_that_are_announced_are_not_read(web: tuple[int, int], address: str) -> None:
    given = headers() | {"Content-Length": str(TWENTY_MEGABYTES)}

    with closing(http.client.HTTPConnection(HOST, web[0], timeout=60)) as client:
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


def raw(port: int, sent: bytes) -> tuple[int, dict[str, object]]:
    """What is answered to bytes that no client library would send; the sender then only waits."""
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.headers["Content-Type"] == "application/problem+json", answer.read()
        return answer.status, json.loads(answer.read())


def _head(*lines: str, method: str = "POST", target: str = "/api/v1/payments/") -> bytes:
    first = (f"{method} {target} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json")
    return "\r\n".join((*first, *lines, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (_head("Content-Length: 2", "Transfer-Encoding: chunked"), 400, "bad_request"),
        (_head("Content-Length: 2", "Content-Length: 3"), 400, "bad_request"),
        (_head("Content-Length: -2"), 400, "bad_request"),
        (_head("Content-Length: +2"), 400, "bad_request"),
        (_head("Content-Length: \xb2"), 400, "bad_request"),
        (_head("Transfer-Encoding: xchunked"), 400, "bad_request"),
        (_head("Transfer-Encoding: gzip, chunked"), 411, "length_required"),
        (_head(), 411, "length_required"),
        (_head("Content-Length: " + "9" * 30), 413, "body_too_large"),
        (_head("Content-Length: 0", "Expect: bananas"), 417, "expectation_failed"),
        (_head("Content-Length: 0", "X-Forwarded-For : 10.0.0.1"), 400, "bad_request"),
        (_head("Content-Length: 0", "X-A: b", " folded: c"), 400, "bad_request"),
        (_head("Content-Length: 0", "X-Request-ID: a\0b"), 400, "bad_request"),
        (_head("Content-Length: 0", "Authorization: Bearer sk_\x01"), 400, "bad_request"),
        (_head("Content-Length: 0", "Host: evil.example"), 400, "bad_request"),
        (_head("Content-Length: 0", "X-A: " + "a" * 70_000), 431, "headers_too_large"),
        (_head(*(f"X-{number}: a" for number in range(200))), 431, "headers_too_large"),
        (_head(method="GET", target="/api/v1/clients/?client=" + "a" * 5000), 414, "uri_too_long"),
        (_head(method="GET", target="*"), 400, "bad_request"),
        (_head(method="get"), 400, "bad_request"),
        (_head().replace(b"\r\n", b"\n"), 400, "bad_request"),
        (_head().replace(b"HTTP/1.1", b"HTTP/2.0"), 400, "bad_request"),
        (_head().replace(HOST.encode(), b"evil.example"), 400, "bad_request"),
        (_head(method="GET", target="/api/v1/payments/%00"), 404, "not_found"),
        (_head(method="GET", target="/api/v1/%2e%2e/v1/clients/"), 404, "not_found"),
        (_head(method="TRACE"), 405, "method_not_allowed"),
    ],
)
def test_f16_what_is_no_request_of_ours_is_refused_in_the_words_of_the_api(
    web: tuple[int, int], sent: bytes, status: int, code: str
) -> None:
    answered, problem = raw(web[0], sent)

    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    # What was sent is not told back.
    assert not [word for word in ("sk_", "evil", "bananas", "10.0.0.1") if word in str(problem)]
    _assert_nothing_was_kept()


@pytest.mark.parametrize("address", POSTED)
def test_f16_a_sender_that_goes_silent_keeps_no_thread(web: tuple[int, int], address: str) -> None:
    before = time.monotonic()
    proofs = (f"{name}: {value}" for name, value in headers().items() if name != "Content-Type")

    status, problem = raw(web[0], _head(*proofs, "Content-Length: 100", target=address) + b'{"token":')

    assert (status, problem["code"]) == (408, "body_incomplete")
    assert time.monotonic() - before < 10
    _assert_nothing_was_kept()


def test_f16_who_goes_silent_in_the_headers_is_a_line_in_the_log_and_no_fault(web: tuple[int, int]) -> None:
    with socket.create_connection((HOST, web[0]), timeout=60) as silent:
        silent.sendall(b"POST /api/v1/payments/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
        assert silent.recv(1000) == b""

    log = Path(f"/proc/{web[1]}/fd/2").readlink().read_text()
    assert "closed on a caller that went silent" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("address", POSTED)
def test_f16_a_body_that_is_cut_off_is_no_other_message(web: tuple[int, int], address: str) -> None:
    """Its sender says that no more comes, and waits for the answer. What came is signed, and was another body once."""
    proofs = (f"{name}: {value}" for name, value in headers().items() if name != "Content-Type")
    with socket.create_connection((HOST, web[0]), timeout=20) as connection:
        connection.sendall(_head(*proofs, "Content-Length: 100", target=address) + b"{}")
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()

        assert (answer.status, json.loads(answer.read())["code"]) == (408, "body_incomplete")
    _assert_nothing_was_kept()


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ",
        b"POST /api/v1/payments/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 60000\r\n\r\n",
    ],
    ids=["headers", "body"],
)
def test_f16_senders_in_drips_give_their_threads_back(web: tuple[int, int], begun: bytes) -> None:
    """More of them than there are threads; somebody else is answered after the time that a request may take."""
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((HOST, web[0]), timeout=20)) for _ in range(6)]
        for connection in slow:
            connection.sendall(begun)
        is_over, before = threading.Event(), time.monotonic()

        def drip() -> None:
            while not is_over.wait(0.3):
                for connection in slow:
                    with suppress(OSError):
                        connection.sendall(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            time.sleep(1)
            assert serves(web[0], "/livez")
        finally:
            is_over.set()
            dripping.join()

    assert time.monotonic() - before < 15
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
