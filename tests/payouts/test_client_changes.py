"""INC-15: what is changed of a client leaves a row with both values, who and why, over whichever way it came."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client as Browser

from config.demo import make_clients
from config.lib import clock
from payouts.models import Client, ClientChange
from payouts.services import create_api_key
from payouts.services.clients import change_client
from tests import factories
from tests.factories import ACTOR, WALLET
from tests.lib.concurrency import crew, wait_until_blocked
from tests.payouts.sending import payment, send

pytestmark = pytest.mark.django_db

FORM = {"name": "", "strategy": "threshold", "payout_threshold_usd": "50", "fee_percent": "", "reason": "ticket 7"}


def rows() -> list[tuple[str, str, str, str]]:
    """(field, before, after, reason), oldest first."""
    return list(ClientChange.objects.order_by("id").values_list("field", "before", "after", "reason"))


@pytest.fixture
def admin_client(admin_client: Browser) -> Browser:
    """Who has given the password just now."""
    session = admin_client.session
    session["proved_at"] = clock.now().isoformat()
    session.save()
    return admin_client


@pytest.fixture
def secret() -> str:
    return create_api_key(name="operator", scopes=["ops", "read"], actor=ACTOR)[1]


@pytest.fixture
def call(secret: str) -> Any:
    def call(method: str, url: str, content: Any = None) -> Any:
        body = b"" if content is None else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {secret}"}
        return Browser().generic(method, url, body, content_type="application/json", headers=headers)

    return call


def test_inc15_a_change_over_the_api_is_a_row_for_each_field(call: Any, secret: str) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))

    answer = call(
        "PATCH",
        f"/api/v1/clients/{of.pk}/",
        {"fee_percent": "99.9", "payout_threshold_usd": "50", "name": "Bakery", "reason": "as agreed"},
    )

    assert answer.status_code == 200
    # The threshold was 50 before.
    assert rows() == [("name", "", "Bakery", "as agreed"), ("fee_percent", "1.5", "99.9", "as agreed")]
    fee = ClientChange.objects.get(field="fee_percent")
    assert (fee.client, fee.actor) == (of, f"api:{secret[:11]}")


def test_inc15_a_change_needs_no_reason_over_the_api(call: Any) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))

    assert call("PATCH", f"/api/v1/clients/{of.pk}/", {"fee_percent": None}).status_code == 200

    assert rows() == [("fee_percent", "1.5", "", "")]


def test_inc15_what_is_refused_or_changes_nothing_leaves_no_row(call: Any) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))

    refused = call("PATCH", f"/api/v1/clients/{of.pk}/", {"fee_percent": "1.6", "payout_threshold_usd": "0"})
    same = call("PATCH", f"/api/v1/clients/{of.pk}/", {"fee_percent": "1.50"})

    assert (refused.status_code, same.status_code) == (400, 200)
    assert rows() == []
    of.refresh_from_db()
    assert of.fee_percent == Decimal("1.5")


def test_inc15_what_a_new_client_begins_with_is_told_as_well(call: Any) -> None:
    call("POST", "/api/v1/clients/",
         {"external_id": "bakery", "wallet_address": WALLET, "payout_threshold_usd": "50.50", "reason": "signed up"})  # fmt: skip

    assert rows() == [
        ("strategy", "", "threshold", "signed up"),
        ("payout_threshold_usd", "", "50.5", "signed up"),
        ("wallet_address", "", WALLET, "signed up"),
        ("payout_currency", "", "usdt", "signed up"),
        ("payout_network", "", "eth", "signed up"),
    ]


def test_inc15_a_change_by_a_form_is_a_row_with_the_operators_name(admin_client: Browser) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))
    url = f"/admin/payouts/client/{of.pk}/change/"

    opened = open_form(admin_client, of)
    without = admin_client.post(url, {**opened, "reason": ""})
    answer = admin_client.post(url, opened)

    assert (without.status_code, answer.status_code) == (200, 302)
    assert rows() == [("fee_percent", "1.5", "", "ticket 7")]
    assert ClientChange.objects.get().actor == "admin:admin"
    page = admin_client.get(url).content.decode()
    assert "ticket 7" in page
    assert "admin:admin" in page


def open_form(browser: Browser, of: Client, **filled_in: str) -> dict[str, str]:
    """What is submitted of the client's page as it is now."""
    page = browser.get(f"/admin/payouts/client/{of.pk}/change/").content.decode()
    (seen,) = re.findall(r'<input type="hidden" name="seen" value="([^"]+)"', page)
    return {**FORM, "seen": seen, **filled_in}


def test_f71_a_page_that_is_out_of_date_changes_nothing(admin_client: Browser) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))
    url = f"/admin/payouts/client/{of.pk}/change/"
    opened = open_form(admin_client, of, name="Bakery", fee_percent="1.5")
    change_client(client_id=of.pk, changes={"fee_percent": Decimal(2)}, actor=ACTOR, reason="as agreed")

    for form in (opened, {**opened, "seen": ""}):
        answer = admin_client.post(url, form)

        assert answer.status_code == 200
        assert "Nothing was saved: the client was changed since this page was opened" in answer.content.decode()
        of.refresh_from_db()
        assert (of.name, of.fee_percent) == ("", Decimal(2))

    assert admin_client.post(url, open_form(admin_client, of, name="Bakery", fee_percent="2")).status_code == 302
    of.refresh_from_db()
    assert (of.name, of.fee_percent) == ("Bakery", Decimal(2))


@pytest.mark.django_db(transaction=True)
def test_f71_of_two_forms_saved_at_once_one_changes_the_client(admin_client: Browser) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))
    url = f"/admin/payouts/client/{of.pk}/change/"
    opened = open_form(admin_client, of, fee_percent="1.5")

    with crew(2) as workers, transaction.atomic():
        Client.objects.select_for_update().get(pk=of.pk)
        saved = [
            workers.start(partial(admin_client.post, url, {**opened, **changed}))
            for changed in ({"name": "Bakery"}, {"fee_percent": "2"})
        ]
        wait_until_blocked(2)

    assert sorted(each.result().status_code for each in saved) == [200, 302]
    of.refresh_from_db()
    assert (of.name, of.fee_percent) in {("Bakery", Decimal("1.5")), ("", Decimal(2))}


@pytest.mark.django_db(transaction=True)
def test_f71_of_two_clients_made_at_once_with_one_id_the_second_is_told(admin_client: Browser) -> None:
    made = {"external_id": "bakery", "wallet_address": WALLET, "payout_currency": "usdt", "payout_network": "eth"}

    with crew(1) as workers:
        with transaction.atomic():
            Client.objects.create(external_id="bakery", wallet_address=WALLET, payout_threshold_usd=1)
            second = workers.start(partial(admin_client.post, "/admin/payouts/client/add/", {**FORM, **made}))
            wait_until_blocked()
        answer = second.result()

    assert (answer.status_code, answer["Location"]) == (302, "/admin/payouts/client/add/")
    told = [str(message) for message in get_messages(answer.wsgi_request)]
    assert told == ["Nothing was saved. Client bakery exists already. Change it, or take another id."]
    assert Client.objects.get().payout_threshold_usd == 1


@pytest.mark.parametrize("threshold", ["1_000", "1e3", "١٢", "+5", "1,5", "01", ".5"])
def test_f7_an_amount_in_the_form_is_written_plainly(admin_client: Browser, threshold: str) -> None:
    made = {"external_id": "bakery", "wallet_address": WALLET, "payout_currency": "usdt", "payout_network": "eth"}

    answer = admin_client.post("/admin/payouts/client/add/", {**FORM, **made, "payout_threshold_usd": threshold})

    assert answer.status_code == 200
    assert "A plain number, like 12.5." in answer.content.decode()
    assert not Client.objects.exists()


def test_a_form_names_every_field_that_is_wrong_at_once(admin_client: Browser) -> None:
    wrong = {
        "external_id": "has space",
        "wallet_address": WALLET.lower(),
        "payout_currency": "doge",
        "payout_network": "eth",
        "payout_threshold_usd": "1e3",
        "fee_percent": "101",
        "reason": "",
    }

    page = admin_client.post("/admin/payouts/client/add/", {**FORM, **wrong})

    assert page.status_code == 200
    assert set(page.context["adminform"].form.errors) == set(wrong) - {"payout_network"}
    assert "Constraint" not in page.content.decode()
    assert "It must be one that is paid on eth: dai, eth, usdc, usdt." in page.content.decode()
    assert not Client.objects.exists()


def test_a_form_shows_amounts_without_empty_digits(admin_client: Browser) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))

    form = admin_client.get(f"/admin/payouts/client/{of.pk}/change/").context["adminform"].form

    assert (form["payout_threshold_usd"].value(), form["fee_percent"].value()) == ("50", "1.5")


def test_inc15_a_client_made_by_a_form_is_told_too(admin_client: Browser) -> None:
    made = {"external_id": "bakery", "wallet_address": WALLET, "payout_currency": "usdt", "payout_network": "eth"}

    refused = admin_client.post("/admin/payouts/client/add/", {**FORM, **made, "payout_network": "btc"})
    answer = admin_client.post("/admin/payouts/client/add/", {**FORM, **made})

    assert (refused.status_code, answer.status_code) == (200, 302)
    assert "It must be one whose addresses we can check" in refused.content.decode()
    assert Client.objects.get().external_id == "bakery"
    assert ("wallet_address", "", WALLET, "ticket 7") in rows()


def test_inc15_the_clients_of_the_sandbox_begin_with_a_history_and_are_made_once() -> None:
    first, again = make_clients(), make_clients()

    assert first == again == list(Client.objects.order_by("pk"))
    assert (
        ClientChange.objects.filter(client=first[0], field="wallet_address", reason="a shop of the sandbox").count()
        == 1
    )


def test_who_makes_a_client_that_deliveries_wait_for_is_told_of_them(admin_client: Browser) -> None:
    made = {"wallet_address": WALLET, "payout_currency": "usdt", "payout_network": "eth"}
    for number in range(2):
        send(payment(payment_id=f"payment-{number}", client_id="a&b"))

    for external_id in ("bakery", "a&b"):
        answer = admin_client.post("/admin/payouts/client/add/", {**FORM, **made, "external_id": external_id})

        told = " ".join(str(message) for message in get_messages(answer.wsgi_request))
        assert ("were refused before it was made" in told) == (external_id == "a&b")
    page = admin_client.get("/admin/payouts/inboundevent/?q=a%26b").content.decode()
    assert page.count("No client has the id a&amp;b") == 2


def test_inc15_a_change_by_an_import_is_a_row_with_its_reason(tmp_path: Path) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))
    path = tmp_path / "clients.csv"
    path.write_text(f"external_id,fee_percent\n{of.external_id},2.5\n", encoding="utf-8")

    call_command("import_clients", str(path), reason="new terms", verbosity=0)

    assert rows() == [("fee_percent", "1.5", "2.5", "new terms")]
    assert ClientChange.objects.get().actor.startswith("command:")


def test_inc15_the_api_shows_the_history(call: Any) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))
    change_client(client_id=of.pk, changes={"fee_percent": None, "name": "Bakery"}, actor=ACTOR, reason="as agreed")

    (shown,) = call("GET", f"/api/v1/client-changes/?client={of.external_id}&field=fee_percent").json()["results"]

    row = ClientChange.objects.get(field="fee_percent")
    assert shown == {
        "id": row.pk,
        "client_id": of.external_id,
        "field": "fee_percent",
        "before": "1.5",
        "after": "",
        "actor": str(ACTOR),
        "reason": "as agreed",
        "created_at": shown["created_at"],
    }


@pytest.mark.parametrize("change", ["UPDATE payouts_clientchange SET reason = 'x'", "DELETE FROM payouts_clientchange"])
def test_inc15_the_history_is_neither_changed_nor_deleted(change: str) -> None:
    of = factories.client(fee_percent=Decimal("1.5"))
    change_client(client_id=of.pk, changes={"fee_percent": None}, actor=ACTOR, reason="as agreed")

    with pytest.raises(IntegrityError, match="is refused"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)

    assert rows() == [("fee_percent", "1.5", "", "as agreed")]
