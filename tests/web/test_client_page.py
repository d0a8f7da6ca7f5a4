"""A client's own page is where its destination is changed, and where a change that waits is seen."""

from __future__ import annotations

import pytest
from django.test import Client as Browser

from payouts.models import DestinationChange
from tests import factories
from tests.factories import WALLET
from tests.web.test_exports import proved
from tests.web.test_operations import ask, confirm, operation_of, said
from tests.web.test_pages import url_of

pytestmark = pytest.mark.django_db

OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def test_it_changes_the_destination_after_a_time_to_think(operator: Browser) -> None:
    of = factories.client(name="Bakery")
    url, page_url = operation_of(of, "destination"), url_of(type(of), "change", of.pk)

    page, _ = ask(operator, url)
    wrong = confirm(proved(operator), url, wallet_address=OTHER.lower(), payout_currency="usdt", payout_network="eth")
    answer = confirm(operator, url, wallet_address=OTHER, payout_currency="usdt", payout_network="eth", reason="asked")

    # Whoever compares the old with the new sees all of it.
    assert WALLET in page
    assert "It must be an address in EIP-55 mixed case" in wrong.content.decode()
    assert answer["Location"] == page_url
    assert "(Bakery) will be paid there from" in said(answer)
    change = DestinationChange.objects.get()
    assert (change.state, change.wallet_address, change.reason) == ("pending", OTHER, "asked")
    of.refresh_from_db()
    assert of.wallet_address == WALLET


def test_a_change_that_waits_is_seen_and_asked_for_no_second_time(operator: Browser) -> None:
    of = factories.client()
    confirm(
        proved(operator),
        operation_of(of, "destination"),
        wallet_address=OTHER,
        payout_currency="usdt",
        payout_network="eth",
    )
    change = DestinationChange.objects.get()

    page = operator.get(url_of(type(of), "change", of.pk)).content.decode()

    assert OTHER in page
    assert url_of(DestinationChange, "change", change.pk) in page
    assert operation_of(of, "destination") not in page
    assert "cancel that one first" in page
    assert operator.get(operation_of(of, "destination")).status_code == 302
    assert OTHER in operator.get(url_of(DestinationChange, "change", change.pk)).content.decode()


def test_its_page_shows_what_became_of_each_change(operator: Browser, viewer: Browser) -> None:
    of = factories.client()
    place = {"wallet_address": OTHER, "payout_currency": "usdt", "payout_network": "eth"}
    confirm(proved(operator), operation_of(of, "destination"), **place, reason="as the shop asked")
    cancelled = DestinationChange.objects.get()
    confirm(operator, operation_of(cancelled, "cancel"), reason="it was not the shop")

    page = viewer.get(url_of(type(of), "change", of.pk)).content.decode()

    (section,) = [part for part in page.split("<section") if "Changes of its destination" in part]
    for shown in (url_of(DestinationChange, "change", cancelled.pk), "cancelled", OTHER, WALLET, "as the shop asked"):
        assert shown in section


def test_an_onlooker_has_no_way_to_change_it(viewer: Browser) -> None:
    of = factories.client()

    assert operation_of(of, "destination") not in viewer.get(url_of(type(of), "change", of.pk)).content.decode()
    assert viewer.get(operation_of(of, "destination")).status_code == 403
    assert not DestinationChange.objects.exists()
