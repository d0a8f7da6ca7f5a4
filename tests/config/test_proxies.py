"""Who calls: only trusted proxies are believed about it, and nobody can forge it."""

from __future__ import annotations

import json
import logging

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client as Browser
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from config import logs
from config.env import Reader, SettingsError
from config.middleware import ProxyMiddleware
from config.proxies import Peers, client_address
from payouts.models import InboundEvent
from tests.payouts.sending import payment, post, signed_headers

PROXIES = Peers.read("10.0.0.0/8,2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        # Nobody in front: the header is a caller's own words.
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1, 10.0.0.1", "203.0.113.9"),
        # One proxy, two proxies.
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        # What the caller wrote itself stands further left.
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1,10.0.0.3,198.51.100.1,10.0.0.2", "198.51.100.1"),
        # A proxy that says nothing, or nonsense, is the last that is known.
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, _hidden, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # With ports, and in IPv6's clothes.
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db9::1]:4711", "2001:db9::1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "2001:0db9:0::0001", "2001:db9::1"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        # A socket file's peer has no address, and is not trusted unasked.
        ("", "198.51.100.1", ""),
    ],
)
def test_it_walks_from_the_right_past_trusted_proxies_only(peer: str, forwarded_for: str, client: str) -> None:
    assert client_address(proxies=PROXIES, peer=peer, forwarded_for=forwarded_for) == client


def test_a_proxy_on_a_socket_file_is_trusted_when_it_is_named() -> None:
    assert client_address(proxies=Peers.read("unix"), peer="", forwarded_for="198.51.100.1") == "198.51.100.1"


@given(forged=st.lists(st.one_of(st.ip_addresses().map(str), st.text(max_size=20)), max_size=6))
def test_nothing_that_a_caller_writes_changes_who_it_is(forged: list[str]) -> None:
    written = ",".join(forged)

    # The proxy appends what it saw.
    through = f"{written}, 198.51.100.1".lstrip(", ")
    assert client_address(proxies=PROXIES, peer="10.0.0.1", forwarded_for=through) == "198.51.100.1"
    assert client_address(proxies=PROXIES, peer="203.0.113.9", forwarded_for=written) == "203.0.113.9"


def test_https_is_believed_of_a_trusted_proxy_only(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = PROXIES
    seen: list[tuple[bool, str]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append((request.is_secure(), request.META["REMOTE_ADDR"]))
        return HttpResponse()

    for peer in ("10.0.0.1", "203.0.113.9"):
        headers = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.1"}
        ProxyMiddleware(view)(RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer))

    assert seen == [(True, "198.51.100.1"), (False, "203.0.113.9")]


@pytest.mark.django_db
def test_a_rejected_delivery_is_kept_with_the_address_of_who_sent_it(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = Peers.read("127.0.0.1")

    post(b"{}", {"x-forwarded-for": "6.6.6.6, 198.51.100.1"})

    assert InboundEvent.objects.get().headers["remote-address"] == "198.51.100.1"


@pytest.mark.django_db
def test_log_lines_name_the_caller(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.TRUSTED_PROXIES = Peers.read("127.0.0.1")
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logs.LineFormatter().format(record))

    handler, logger = Keeping(), logging.getLogger("payouts.api.payments")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, logger.name)
    try:
        body = json.dumps(payment(client_id="nobody")).encode()
        post(body, signed_headers(body) | {"x-forwarded-for": "198.51.100.1"})
    finally:
        logger.removeHandler(handler)

    assert "from=198.51.100.1" in lines[0]
    assert logs.remote_address.get() == ""


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example.org", "10.0.0.0/33", "all"])
def test_a_setting_that_names_no_networks_is_refused(text: str) -> None:
    reader = Reader({"TRUSTED_PROXIES": text})
    reader.peers("TRUSTED_PROXIES", default="none")

    with pytest.raises(SettingsError, match="TRUSTED_PROXIES must be networks like"):
        reader.finish()


def test_by_default_nobody_is_believed(db: None) -> None:
    answer = Browser().get("/admin/login/", headers={"x-forwarded-proto": "https", "x-forwarded-for": "1.1.1.1"})

    assert answer.wsgi_request.META["REMOTE_ADDR"] == "127.0.0.1"
    assert not answer.wsgi_request.is_secure()
