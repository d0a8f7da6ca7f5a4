"""Addresses that others chose lead to somebody on the internet, or nowhere; and nobody there makes us wait."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from config.lib import public_http
from config.lib.errors import TransientError
from config.lib.public_addresses import LookUp, UnfitAddressError, checked_addresses, destination_of, is_public
from config.lib.public_http import MOST_ANSWER_BYTES, Poster
from tests.lib.scripted_http import Reply, ScriptedServer

# Far above the deadlines here, on a machine with other work to do too, and far below what these receivers would take.
SOON_S = 20


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as script:
        yield script


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_http, "DEADLINE_S", 1)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.7",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2600::1%eth0",
        "ff02::1",
        "localhost",
        "",
    ],
)
def test_it_calls_no_special_address_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]
)
def test_it_calls_an_address_of_somebody_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://example.com/", "https://"),
        ("ftp://example.com/", "https://"),
        ("//example.com/", "https://"),
        ("example.com", "https://"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://user:pw@example.com/", "user name"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "read"),
        ("https://exämple.com/", "printable"),
        ("https://example.com/a b", "printable"),
        ("https://example.com\\@127.0.0.1/", "printable"),
        ("https://[::1/", "read"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[12345::1]/", "IPv6|read"),
        ("https://2130706433/", "number"),
        ("https://0177.0.0.1/", "number"),
        ("https://0x7f.1/", "number"),
        ("https://127.1/", "number"),
        ("https://1.2.3/", "number"),
        ("https://example.0x1/", "number"),
        ("https://a..b/", "host"),
        ("https://-a.example/", "host"),
        ("https://example.com/" + "x" * 500, "at most"),
    ],
)
def test_it_refuses_what_is_no_address_to_post_to(url: str, rule: str) -> None:
    with pytest.raises(UnfitAddressError, match=rule):
        destination_of(url, is_sandbox=False)


@pytest.mark.parametrize("port", [22, 25, 80, 465, 993, 5432, 6379, 9443])
def test_where_ports_are_named_no_other_is_posted_to(port: int) -> None:
    ports = {443, 8443}
    for url in ("https://example.com/", "https://example.com:443/", "https://example.com:8443/"):
        assert destination_of(url, is_sandbox=False, ports=ports).port in ports

    with pytest.raises(UnfitAddressError, match="its port must be 443 or 8443"):
        destination_of(f"https://example.com:{port}/", is_sandbox=False, ports=ports)
    with pytest.raises(UnfitAddressError, match="its port must be 443 or 8443"):
        Poster(f"https://example.com:{port}/", is_sandbox=False, ports=ports)


def test_it_takes_a_url_apart() -> None:
    plain = destination_of("https://Hooks.Example.com./in?key=1", is_sandbox=False)
    odd = destination_of("http://[2606:4700:0::1111]:8080", is_sandbox=True)

    assert (plain.host, plain.port, plain.target, plain.authority) == (
        "hooks.example.com",
        443,
        "/in?key=1",
        "hooks.example.com",
    )
    assert (odd.host, odd.port, odd.target, odd.authority) == (
        "2606:4700::1111",
        8080,
        "/",
        "[2606:4700::1111]:8080",
    )


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["10.0.0.7"], ["93.184.216.34", "169.254.169.254"], ["::ffff:10.0.0.1"], ["fd00:ec2::254"]]
)
def test_it_refuses_a_name_that_stands_for_an_inner_address(found: list[str]) -> None:
    place = destination_of("https://looks-fine.example.com/", is_sandbox=False)

    with pytest.raises(UnfitAddressError, match="not a public address"):
        checked_addresses(place, is_sandbox=False, within_s=5, look_up=lambda *_: found)


def test_in_the_sandbox_this_machine_is_reached_and_no_other_inner_one() -> None:
    place = destination_of("http://receiver.example.com/", is_sandbox=True)

    assert checked_addresses(place, is_sandbox=True, within_s=5, look_up=lambda *_: ["127.0.0.1"]) == ["127.0.0.1"]
    for inner in ("10.0.0.1", "169.254.169.254"):
        with pytest.raises(UnfitAddressError):
            checked_addresses(place, is_sandbox=True, within_s=5, look_up=lambda *_, inner=inner: [inner])


def test_a_name_that_cannot_be_looked_up_may_be_known_later() -> None:
    place = destination_of("https://nobody.invalid/", is_sandbox=False)

    def unknown(*_: object) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    lookups: list[LookUp] = [unknown, lambda *_: []]
    for look_up in lookups:
        with pytest.raises(TransientError, match="could not be looked up"):
            checked_addresses(place, is_sandbox=False, within_s=5, look_up=look_up)


def test_a_look_up_that_hangs_is_left_alone() -> None:
    place = destination_of("https://slow.example.com/", is_sandbox=False)
    until = threading.Event()
    started = time.monotonic()

    with pytest.raises(TransientError, match="in time"):
        checked_addresses(
            place, is_sandbox=False, within_s=0.2, look_up=lambda *_: ["1.1.1.1"] if until.wait(60) else []
        )

    assert time.monotonic() - started < SOON_S
    until.set()


def test_it_connects_to_the_address_it_checked_and_looks_up_once(server: ScriptedServer) -> None:
    """DNS rebinding: the second answer would lead elsewhere, so nobody asks for one."""
    port = server.url.rpartition(":")[2]
    answers = iter([["127.0.0.1"]])

    with Poster(f"http://hooks.example.com:{port}/in?a=1", is_sandbox=True, look_up=lambda *_: next(answers)) as poster:
        for body in (b'{"n":1}', b'{"n":2}'):
            assert poster.post(body, {"webhook-id": "msg_1"}).status == 200

    assert [asked.path for asked in server.asked] == ["/in?a=1"] * 2
    assert server.asked[0].headers["host"] == f"hooks.example.com:{port}"
    assert server.asked[0].headers["webhook-id"] == "msg_1"
    assert [asked.json["n"] for asked in server.asked] == [1, 2]


def test_it_never_connects_to_an_inner_address(server: ScriptedServer) -> None:
    with (
        Poster(server.url.replace("http", "https"), is_sandbox=False) as poster,
        pytest.raises(UnfitAddressError, match=r"127\.0\.0\.1"),
    ):
        poster.post(b"{}", {})

    assert server.asked == []


def test_it_goes_on_to_the_next_address_of_a_name(server: ScriptedServer) -> None:
    port = server.url.rpartition(":")[2]

    with Poster(f"http://two.example.com:{port}", is_sandbox=True, look_up=lambda *_: ["::1", "127.0.0.1"]) as poster:
        assert poster.post(b"{}", {}).status == 200


def test_it_follows_no_redirection(server: ScriptedServer) -> None:
    server.say(Reply(status=307, headers={"location": f"{server.url}/elsewhere"}))

    with Poster(server.url, is_sandbox=True) as poster:
        assert poster.post(b"{}", {}).status == 307

    assert len(server.asked) == 1


def test_it_uses_no_proxy_of_the_environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    with Poster(server.url, is_sandbox=True) as poster:
        assert poster.post(b"{}", {}).status == 200


def test_it_reads_no_more_than_the_beginning_of_a_huge_answer(server: ScriptedServer) -> None:
    server.say(Reply(status=500, body=b"x" * (5 * 1024 * 1024)))

    with Poster(server.url, is_sandbox=True) as poster:
        posted = poster.post(b"{}", {})

    assert (posted.status, len(posted.body)) == (500, MOST_ANSWER_BYTES)


def test_it_waits_for_no_silent_receiver(server: ScriptedServer, short_deadline: None) -> None:
    over = threading.Event()
    server.say(Reply(until=over))
    started = time.monotonic()

    with Poster(server.url, is_sandbox=True) as poster, pytest.raises(TransientError, match="no answer within 1 s"):
        poster.post(b"{}", {})

    assert time.monotonic() - started < SOON_S
    over.set()


def test_a_body_that_drips_ends_in_time_and_the_status_counts(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The status must come before it.
    monkeypatch.setattr(public_http, "DEADLINE_S", 3)
    server.say(Reply(status=200, body=b"y" * 1000, drip=True, pause_s=0.05))
    started = time.monotonic()

    with Poster(server.url, is_sandbox=True) as poster:
        posted = poster.post(b"{}", {})

    assert time.monotonic() - started < SOON_S
    assert posted.status == 200
    assert 0 < len(posted.body) < 1000


def test_headers_that_drip_do_not_prolong_the_wait(short_deadline: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    for _ in range(500):
                        connection.sendall(b"x: y\r\n")
                        time.sleep(0.1)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        with (
            Poster(f"http://127.0.0.1:{listener.getsockname()[1]}", is_sandbox=True) as poster,
            pytest.raises(TransientError, match="no answer within"),
        ):
            poster.post(b"{}", {})
        assert time.monotonic() - started < SOON_S
        thread.join()


def test_a_refused_connection_says_so() -> None:
    with Poster("http://127.0.0.1:1/secret-path", is_sandbox=True) as poster, pytest.raises(TransientError) as failed:
        poster.post(b"{}", {})

    assert "not reached" in str(failed.value)
    assert "secret-path" not in str(failed.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_the_certificate_must_be_of_the_name_and_not_of_the_address(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hooks.example.com"]
    names = ["-addext", "subjectAltName=DNS:hooks.example.com"]
    subprocess.run([*make, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ScriptedServer() as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        port = server.url.rpartition(":")[2]

        def post(host: str, trusting: str | None) -> int:
            with Poster(
                f"https://{host}:{port}", is_sandbox=True, look_up=lambda *_: ["127.0.0.1"], trusting=trusting
            ) as poster:
                return poster.post(b"{}", {}).status

        assert post("hooks.example.com", str(certificate)) == 200
        for host, trusting in (("other.example.com", str(certificate)), ("hooks.example.com", None)):
            with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
                post(host, trusting)
        assert len(server.asked) == 1
