"""What stands around every page: whose page it is, and a way past the navigation."""

from __future__ import annotations

import pytest
from django.test import Client as Browser

from payouts.models import Accumulation, InboundEvent
from tests import factories
from tests.payouts.sending import payment, send
from tests.web.test_pages import url_of

pytestmark = pytest.mark.django_db


def test_an_object_is_called_by_its_id_as_it_is_written(viewer: Browser) -> None:
    long = "order-1795660141-of-the-second-shop-in-the-same-second"
    factories.client(external_id="client-1")
    send(payment(payment_id=long))
    of = Accumulation.objects.get()

    page = viewer.get(url_of(Accumulation, "change", of.pk)).content.decode()

    head, _, rest = page.partition("</h1>")
    assert long in head
    assert long.capitalize() not in page
    # Two of one second differ in the middle.
    assert f'<code class="s-whole">{long}</code>' in rest.partition("</h2>")[0]


def test_a_list_is_called_as_the_navigation_calls_it(viewer: Browser) -> None:
    page = viewer.get(url_of(InboundEvent, "changelist")).content.decode()

    assert "Deliveries" in page.partition("</title>")[0]
    assert "Select" not in page.partition("</title>")[0]
    assert "Inbound event" not in page


def test_the_first_link_of_a_page_leads_past_the_navigation(viewer: Browser) -> None:
    page = viewer.get(url_of(InboundEvent, "changelist")).content.decode()

    body = page.partition("<body")[2]
    assert body.index('href="#content"') == body.index("href=")
    assert 'id="content"' in body


def test_a_delivery_shows_its_body_at_once(viewer: Browser) -> None:
    factories.client(external_id="client-1")
    send(payment())
    event = InboundEvent.objects.get()

    page = viewer.get(url_of(InboundEvent, "change", event.pk)).content.decode()

    assert page.count('<details class="s-raw" open>') == 1
    assert "once" in page
