"""Clients from an uploaded file: shown first, confirmed once, and never more than was shown."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.urls import reverse

from payouts.models import Client, DestinationChange
from tests.payouts.sending import client

pytestmark = pytest.mark.django_db

WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TABLE = (
    "external_id,name,wallet_address,payout_threshold_usd\r\n"
    f"bakery,<b>Bakery</b>,{WALLET},50\r\n"
    f"client-1,,{WALLET},\r\n"
    "radio,,0x1,50\r\n"
)
URL = "/admin/payouts/client/import/"
HIDDEN = re.compile(r'type="hidden" name="(token|content|is_csv)" value="([^"]*)"')


def upload(browser: Browser, text: str = TABLE, name: str = "clients.csv") -> Any:
    return browser.post(URL, {"file": SimpleUploadedFile(name, text.encode())})


def shown(answer: Any) -> dict[str, str]:
    """What the page that asks would send back."""
    return {"reason": "moved", **dict(HIDDEN.findall(answer.content.decode()))}


def said(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_it_shows_what_would_change_and_changes_nothing_yet(operator: Browser) -> None:
    it = client()

    page = upload(operator).content.decode()

    assert "New clients: 1; changed: 1; already as the file says: 0; refused lines: 1." in page
    assert "name: &lt;b&gt;Bakery&lt;/b&gt;" in page
    assert f"wallet_address: {it.wallet_address} → {WALLET}" in page
    assert "must be an address in EIP-55" in page
    assert Client.objects.count() == 1
    assert not DestinationChange.objects.exists()


def test_what_was_shown_is_done_once_when_confirmed(operator: Browser) -> None:
    it = client()
    form = shown(upload(operator))

    first = operator.post(URL, form)
    second = operator.post(URL, form)

    assert said(first) == ("Clients made: 1; changed: 1. Refused lines: 1; mend them in the file and import it again.")
    assert first["Location"] == reverse("admin:payouts_client_changelist")
    assert "moved on since" in said(second)
    assert Client.objects.get(external_id="bakery").name == "<b>Bakery</b>"
    # A destination never changes directly.
    change = DestinationChange.objects.get()
    assert (change.client, change.reason, change.requested_by) == (it, "moved", "admin:anna")
    assert Client.objects.get(pk=it.pk).wallet_address == it.wallet_address


def test_another_file_than_the_one_shown_is_not_confirmed(operator: Browser) -> None:
    one, other = shown(upload(operator)), shown(upload(operator, TABLE.replace(",50", ",60")))

    answer = operator.post(URL, one | {"content": other["content"]})

    assert "was not made for you" in answer.content.decode()
    assert not Client.objects.exists()


def test_a_file_whose_changes_are_others_meanwhile_is_not_confirmed(operator: Browser) -> None:
    form = shown(upload(operator))
    client("bakery")

    answer = operator.post(URL, form)

    assert "Nothing was changed" in said(answer)
    assert Client.objects.get().name == ""


def test_it_wants_a_reason_and_keeps_the_file(operator: Browser) -> None:
    answer = operator.post(URL, shown(upload(operator)) | {"reason": " "})

    assert "This field is required" in answer.content.decode()
    assert not Client.objects.exists()
    assert said(operator.post(URL, shown(answer))).startswith("Clients made: 1; changed: 0. Refused lines: 2;")


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("external_id,wallet\nx,y\n", "clients.csv", "it has wallet"),
        ('external_id\n"open\n', "clients.csv", "is no table any more"),
        ("", "clients.csv", "empty"),
        ("x" * (512 * 1024 + 1), "clients.jsonl", "at most 512 KiB"),
        ('{"external_id": "x"}\n' * 2001, "clients.jsonl", "more than 2000"),
    ],
)
def test_a_file_that_is_none_is_refused_on_its_page(operator: Browser, text: str, name: str, words: str) -> None:
    assert words in upload(operator, text, name).content.decode()
    assert not Client.objects.exists()


def test_a_made_up_confirmation_is_refused(operator: Browser) -> None:
    assert operator.post(URL, {"content": "not base64!", "token": "x"}).status_code == 400


def test_onlookers_can_do_nothing(viewer: Browser) -> None:
    assert viewer.get(URL).status_code == 403
    assert upload(viewer).status_code == 403
    assert URL not in viewer.get(reverse("admin:payouts_client_changelist")).content.decode()
