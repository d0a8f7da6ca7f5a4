"""Where clients are paid from some day on: asked for by the client's id, and seen before it takes effect."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser

from config.admin_site.attention import attention
from payouts.models import Client, DestinationChange
from payouts.services import cancel_destination_change, request_destination_change
from tests.factories import ACTOR, client
from tests.web.test_operations import confirm, list_operation, said
from tests.web.test_pages import url_of

URL = list_operation(DestinationChange, "request")
ELSEWHERE = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
WANTED = {"wallet_address": ELSEWHERE, "payout_currency": "usdt", "payout_network": "eth"}


def move(of: Client, **changes: Any) -> DestinationChange:
    return request_destination_change(client_id=of.pk, **{**WANTED, **changes}, actor=ACTOR, reason="moved")


def test_of_two_clients_of_one_name_the_one_with_the_id_is_meant(operator: Browser) -> None:
    client(external_id="bakery-1", name="Bakery")
    meant = client(external_id="bakery-2", name="Bakery")

    answer = confirm(operator, URL, client="bakery-2", **WANTED)

    assert DestinationChange.objects.get().client == meant
    assert said(answer).startswith("Client bakery-2 (Bakery) will be paid there from ")


@pytest.mark.parametrize("name", ["bakery", "Bakery", "bakery-22", "1"])
def test_no_other_client_is_guessed(operator: Browser, name: str) -> None:
    client(external_id="bakery-2", name="Bakery")

    answer = confirm(operator, URL, client=name, **WANTED)

    assert answer.status_code == 200
    assert "No client has this id." in answer.content.decode()
    assert not DestinationChange.objects.exists()


@pytest.mark.django_db
def test_a_change_that_waits_is_seen_until_it_is_cancelled() -> None:
    first = move(client(external_id="bakery", name="Bakery"))
    DestinationChange.objects.filter(pk=first.pk).update(effective_at=first.effective_at - timedelta(seconds=1))

    (item,) = attention().items
    assert item.kind == "destination"
    assert "Client bakery is to be paid elsewhere from " in item.sentence
    assert item.sentence.endswith(f"asked by {ACTOR}: cancel what nobody meant.")
    assert item.url == url_of(DestinationChange, "change", first.pk)

    second = move(client())
    (item,) = attention().items
    assert item.sentence.endswith(f"asked by {ACTOR}, and 1 more after it: cancel what nobody meant.")

    for change in (first, second):
        cancel_destination_change(change_id=change.pk, actor=ACTOR, reason="stolen key")
    assert attention().items == []
