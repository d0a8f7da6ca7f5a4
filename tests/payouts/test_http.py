"""Over a real socket: what a client library would never send, and what it does."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from payouts.models import Accumulation, InboundEvent
from tests.payouts.sending import URL, client, payment, signed_headers

pytestmark = pytest.mark.django_db(transaction=True)

TWENTY_MEGABYTES = 20 * 1024 * 1024


@pytest.fixture
def server(live_server: Any) -> Iterator[http.client.HTTPConnection]:
    with closing(
        http.client.HTTPConnection(live_server.thread.host, live_server.thread.port, timeout=10)
    ) as connection:
        yield connection


def test_a_signed_payment_is_recorded_over_http(server: http.client.HTTPConnection) -> None:
    client()
    body = json.dumps(payment()).encode()

    server.request("POST", URL, body, {**signed_headers(body), "Content-Type": "application/json; charset=utf-8"})
    answer = server.getresponse()

    assert (answer.status, json.loads(answer.read())["pending_usd_amount"]) == (201, "24.73500000")
    assert Accumulation.objects.count() == 1


def test_f16_a_body_of_twenty_megabytes_is_refused_before_it_is_sent(live_server: Any) -> None:
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {TWENTY_MEGABYTES}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    address = (live_server.thread.host, live_server.thread.port)

    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert not InboundEvent.objects.exists()


def test_f12_a_header_sent_twice_does_not_help(server: http.client.HTTPConnection) -> None:
    client()
    body = json.dumps(payment()).encode()
    signed = signed_headers(body)
    server.putrequest("POST", URL)
    for name, value in {**signed, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
        server.putheader(name, value)
    server.putheader("webhook-id", "event-2")
    server.endheaders(body)

    assert server.getresponse().status == 401
    assert not Accumulation.objects.exists()
