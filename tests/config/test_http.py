"""A call is made once, and its failure says whether it may have had an effect."""

import logging
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress

import pytest

from config.lib.errors import OutcomeUnknownError, PermanentError, ProviderError, RateLimitedError, TransientError
from config.lib.http import CallInTransactionError, HttpClient, forbid_in_transaction
from tests.lib.scripted_http import Reply, ScriptedServer

KEY = "cn-key-7f3a9b"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as script:
        yield script


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[HttpClient]:
    made = HttpClient(
        service="exchange", base_url=f"{server.url}/v3/path-secret", timeout_s=3, secret_headers={"x-api-key": KEY}
    )
    yield made
    made.close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_returns_status_and_body(server: ScriptedServer, client: HttpClient) -> None:
    server.say_json('{"error":"not_found"}', status=404)

    answer = client.get("/v2/exchange/by-id", {"id": "a b"})

    assert (answer.status, answer.body) == (404, b'{"error":"not_found"}')
    [asked] = server.asked
    assert (asked.method, asked.path) == ("GET", "/v3/path-secret/v2/exchange/by-id?id=a+b")
    assert asked.headers["x-api-key"] == KEY
    assert asked.headers["accept-encoding"] == "identity"


def test_a_refused_connection_is_transient_even_for_a_call_with_effect() -> None:
    client = HttpClient(service="exchange", base_url=f"http://127.0.0.1:{closed_port()}", timeout_s=3)

    with pytest.raises(TransientError, match="nothing was sent") as failed:
        client.post("/v2/exchange", {}, has_effect=True)

    assert not isinstance(failed.value, OutcomeUnknownError)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(pause_s=4),
        Reply(drop=True),
        Reply(body=b"x" * 300, drip=True, pause_s=0.1),
        Reply(status=500),
        Reply(status=502, body=b"<html>"),
        Reply(status=408),
        Reply(body=b"x" * (3 * 1024 * 1024)),
        Reply(headers={"content-encoding": "gzip"}),
    ],
    ids=["silence", "dropped", "drip", "500", "502", "408", "endless", "compressed"],
)
def test_f28_f45_what_is_lost_after_sending_is_unknown_with_effect_only(
    server: ScriptedServer, client: HttpClient, reply: Reply
) -> None:
    server.say(reply)

    with pytest.raises(OutcomeUnknownError):
        client.post("/v2/exchange", {"a": "1"}, has_effect=True)
    assert len(server.asked) == 1
    with pytest.raises(ProviderError) as failed:
        client.post("", {"a": "1"}, has_effect=False)
    assert not isinstance(failed.value, OutcomeUnknownError)
    with pytest.raises(ProviderError) as failed:
        client.get("/v2/exchange")
    assert not isinstance(failed.value, OutcomeUnknownError)
    assert len(server.asked) == 3


def test_f28_headers_that_drip_are_lost_like_silence() -> None:
    """Each byte comes within the time that one read may take, and the whole never does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    for _ in range(200):
                        connection.sendall(b"x: y\r\n")
                        time.sleep(0.1)

        thread = threading.Thread(target=drip)
        thread.start()
        client = HttpClient(service="exchange", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=1)
        started = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="no answer within 1 s"):
            client.post("/v2/exchange", {}, has_effect=True)
        with pytest.raises(TransientError, match="no answer within 1 s"):
            client.get("/v2/exchange")
        assert time.monotonic() - started < 5
        client.close()
        thread.join()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("", None), ("999999", 86400), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("1e3", None)],
)
def test_f32_it_says_how_long_to_stay_away(
    server: ScriptedServer, client: HttpClient, header: str, seconds: int | None
) -> None:
    server.say(Reply(status=429, headers={"retry-after": header} if header else {}))

    with pytest.raises(RateLimitedError) as limited:
        client.post("/v2/exchange", {}, has_effect=True)

    assert limited.value.retry_after_s == seconds


def test_it_follows_no_redirect(server: ScriptedServer, client: HttpClient) -> None:
    server.say(Reply(status=302, headers={"location": "/elsewhere"}))

    with pytest.raises(PermanentError, match="redirected"):
        client.get("/v2/exchange")

    assert len(server.asked) == 1


def test_a_redirected_call_with_effect_is_not_taken_for_one_without(server: ScriptedServer, client: HttpClient) -> None:
    server.say(Reply(status=303, headers={"location": "/done"}))

    with pytest.raises(OutcomeUnknownError, match=r"redirected .* may have been done"):
        client.post("/v2/exchange", {}, has_effect=True)

    assert len(server.asked) == 1


def test_it_uses_no_proxy_of_the_environment(
    server: ScriptedServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    again = HttpClient(service="exchange", base_url=server.url, timeout_s=3)

    assert again.get("/x").status == 200
    assert client.get("/x").status == 200


def test_no_call_is_made_in_a_database_transaction(server: ScriptedServer, client: HttpClient) -> None:
    before = forbid_in_transaction(lambda: True)
    try:
        with pytest.raises(CallInTransactionError):
            client.get("/v2/exchange")
    finally:
        forbid_in_transaction(before)

    assert server.asked == []


@pytest.mark.parametrize("reply", [Reply(), Reply(status=500), Reply(drop=True), Reply(pause_s=4)])
def test_f74_no_secret_reaches_log_error_or_repr(
    server: ScriptedServer, client: HttpClient, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="config.lib.http")
    server.say(reply)
    told = repr(client)
    try:
        client.post("/v2/exchange", {}, has_effect=True)
    except ProviderError as error:
        told += "".join(traceback.format_exception(error)) + repr(error.__context__)

    [line] = [record for record in caplog.records if record.name == "config.lib.http"]
    told += str(vars(line))
    assert "/v2/exchange" in told
    assert KEY not in told
    assert "path-secret" not in told
    assert client.masked(f"no such key {KEY} at path-secret") == "no such key *** at ***"
    with pytest.raises(TypeError):
        pickle.dumps(client)
