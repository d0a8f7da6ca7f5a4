"""Clients over the API: made, changed, and paid elsewhere after a time to think."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client as Browser
from django.utils import timezone

from payouts import tasks
from payouts.models import Accumulation, Client, DestinationChange
from payouts.services import apply_destination_changes, create_api_key
from tests import factories
from tests.factories import ACTOR, WALLET
from tests.payouts.sending import payment, send

pytestmark = pytest.mark.django_db

URL = "/api/v1/clients/"
OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
SOLANA = "So11111111111111111111111111111111111111112"


def _caller(*scopes: str) -> Any:
    _, secret = create_api_key(name="operator", scopes=scopes, actor=ACTOR)

    def call(method: str, url: str, content: Any = None, **headers: str) -> Any:
        return Browser().generic(
            method,
            url,
            content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode(),
            content_type="application/json",
            headers={"authorization": f"Bearer {secret}", **headers},
        )

    return call


@pytest.fixture
def call() -> Any:
    return _caller("ops", "read")


def new(**changes: Any) -> dict[str, Any]:
    fields = {"external_id": "bakery", "wallet_address": WALLET, "payout_threshold_usd": "50.5", **changes}
    return {name: value for name, value in fields.items() if value is not None}


def test_it_makes_a_client_who_can_be_paid_at_once(call: Any) -> None:
    answer = call("POST", URL, new(name="Bäckerei", fee_percent="1.5"))

    made = Client.objects.get()
    assert answer.status_code == 201
    assert answer.json() == {
        "id": made.pk,
        "external_id": "bakery",
        "name": "Bäckerei",
        "strategy": "threshold",
        "wallet_address": WALLET,
        "payout_currency": "usdt",
        "payout_network": "eth",
        "payout_threshold_usd": "50.50000000",
        "fee_percent": "1.5000",
        "created_at": answer.json()["created_at"],
        "updated_at": answer.json()["updated_at"],
    }
    assert call("GET", f"{URL}{made.pk}/").json() == answer.json()
    assert send(payment(client_id="bakery")).status_code == 201
    assert not DestinationChange.objects.exists()


@pytest.mark.parametrize(
    ("address", "network"),
    [("0x" + "0" * 40, "eth"), ("1" * 32, "sol"), ("T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", "trx")],
)
def test_it_refuses_the_address_of_nobody_on_each_network(call: Any, address: str, network: str) -> None:
    answer = call("POST", URL, new(wallet_address=address, payout_network=network))

    assert answer.status_code == 400
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [
        ("wallet_address", "not_a_client")
    ]
    assert not Client.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"wallet_address": WALLET.lower()}, "wallet_address"),
        ({"wallet_address": WALLET[:-1] + "9"}, "wallet_address"),
        ({"wallet_address": TRON}, "wallet_address"),
        ({"wallet_address": "0x" + "0" * 40}, "wallet_address"),
        ({"wallet_address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"}, "wallet_address"),
        ({"wallet_address": WALLET, "payout_network": "trx"}, "wallet_address"),
        ({"wallet_address": TRON[:-1] + "u", "payout_network": "trx"}, "wallet_address"),
        ({"wallet_address": SOLANA[:-2], "payout_network": "sol"}, "wallet_address"),
        ({"payout_network": "xrp", "payout_currency": "xrp"}, "payout_network"),
        ({"payout_network": "btc", "payout_currency": "btc"}, "payout_network"),
        ({"payout_currency": "US DT"}, "payout_currency"),
        ({"payout_threshold_usd": None}, "payout_threshold_usd"),
        ({"payout_threshold_usd": "0"}, "payout_threshold_usd"),
        ({"payout_threshold_usd": "1e2"}, "payout_threshold_usd"),
        ({"fee_percent": "100"}, "fee_percent"),
        ({"fee_percent": "-1"}, "fee_percent"),
        ({"strategy": "lottery"}, "strategy"),
        ({"external_id": "two words"}, "external_id"),
        ({"external_id": None}, "external_id"),
        ({"nme": "x"}, "nme"),
    ],
)
def test_it_refuses_a_client_that_breaks_a_rule(call: Any, changes: dict[str, Any], field: str) -> None:
    answer = call("POST", URL, new(**changes))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not Client.objects.exists()


@pytest.mark.parametrize(
    ("currency", "network", "address"),
    [("usdt", "trx", TRON), ("sol", "sol", SOLANA), ("usdt", "bsc", WALLET), ("bnb", "bsc", WALLET)],
)
def test_it_knows_the_addresses_of_other_networks(call: Any, currency: str, network: str, address: str) -> None:
    sent = new(wallet_address=address, payout_currency=currency, payout_network=network)

    assert call("POST", URL, sent).status_code == 201


@pytest.mark.parametrize(
    ("currency", "network", "field", "says"),
    [
        ("btc", "eth", "payout_currency", "must be one that is paid on eth: dai, eth, usdc, usdt"),
        ("bnb", "eth", "payout_currency", "must be one that is paid on eth: dai, eth, usdc, usdt"),
        ("usdt", "base", "payout_currency", "must be one that is paid on base: eth, usdc"),
        ("bnb", "bnb", "payout_network", "needs a memo beside the address, which is not supported yet"),
        ("USDT", "eth", "payout_currency", "must be one that is paid on eth: dai, eth, usdc, usdt"),
        ("usdt", "doge", "payout_network",
         "must be one whose addresses we can check: arbitrum, avaxc, base, bsc, eth, matic, op, sol, trx"),
    ],
)  # fmt: skip
def test_it_pays_no_currency_on_a_network_that_does_not_have_it(
    call: Any, currency: str, network: str, field: str, says: str
) -> None:
    answer = call("POST", URL, new(payout_currency=currency, payout_network=network))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert [(error["field"], error["detail"]) for error in answer.json()["errors"]] == [(field, says)]
    assert not Client.objects.exists()


@pytest.mark.parametrize("written", ["50", "50.25", "0.00000001"])
def test_it_reads_amounts_written_as_json_numbers_exactly(call: Any, written: str) -> None:
    body = json.dumps(new(payout_threshold_usd="X", fee_percent="Y")).replace('"X"', written).replace('"Y"', "1.5")

    answer = call("POST", URL, body.encode())

    assert answer.status_code == 201
    assert Client.objects.get().payout_threshold_usd == Decimal(written)
    assert answer.json()["fee_percent"] == "1.5000"


@pytest.mark.parametrize("written", ["5e1", "1E-7", "-1", "true", "[50]", "0.000000001", '" 50"', '"5e1"'])
def test_it_reads_no_number_that_has_two_readings(call: Any, written: str) -> None:
    answer = call("POST", URL, json.dumps(new(payout_threshold_usd="X")).replace('"X"', written).encode())

    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (
        400,
        ["payout_threshold_usd"],
    )
    assert not Client.objects.exists()


def test_it_tells_all_that_is_wrong_at_once(call: Any) -> None:
    """What the form of a field shows, what only the rules of clients show, and what is no field."""
    answer = call(
        "POST",
        URL,
        {
            "external_id": "two words",
            "name": "tab\there",
            "strategy": "lottery",
            "wallet_address": WALLET.lower(),
            "payout_currency": "btc",
            "payout_threshold_usd": "0",
            "fee_percent": "1e1",
            "nme": "x",
        },
    )

    assert answer.status_code == 400
    assert sorted(error["field"] for error in answer.json()["errors"]) == sorted(
        [
            "external_id",
            "name",
            "strategy",
            "wallet_address",
            "payout_currency",
            "payout_threshold_usd",
            "fee_percent",
            "nme",
        ]
    )


def test_it_tells_all_that_is_wrong_with_a_change_or_a_destination_at_once(call: Any) -> None:
    of = factories.client()

    terms = call("PATCH", f"{URL}{of.pk}/", {"fee_percent": "x", "payout_threshold_usd": "0", "nme": "x"})
    moved = call("POST", f"{URL}{of.pk}/destination-changes/", {"wallet_address": "0x1", "payout_currency": "btc"})

    assert sorted(error["field"] for error in terms.json()["errors"]) == ["fee_percent", "nme", "payout_threshold_usd"]
    assert sorted(error["field"] for error in moved.json()["errors"]) == ["payout_currency", "reason", "wallet_address"]


def test_an_id_that_is_taken_stays_with_whom_has_it(call: Any) -> None:
    call("POST", URL, new())

    answer = call("POST", URL, new(wallet_address=OTHER))

    assert (answer.status_code, answer.json()["code"]) == (409, "client_exists")
    assert Client.objects.get().wallet_address == WALLET


def test_it_changes_the_terms_that_were_named_and_nothing_else(call: Any) -> None:
    of = factories.client(fee_percent=Decimal("1.5"), name="Bakery")

    answer = call("PATCH", f"{URL}{of.pk}/", {"fee_percent": None, "payout_threshold_usd": "75"})

    assert answer.status_code == 200
    assert (answer.json()["fee_percent"], answer.json()["payout_threshold_usd"]) == (None, "75.00000000")
    of.refresh_from_db()
    assert (of.fee_percent, of.payout_threshold_usd, of.name, of.wallet_address) == (None, 75, "Bakery", WALLET)


def test_the_destination_is_not_changed_beside_the_terms(call: Any) -> None:
    of = factories.client()

    answer = call("PATCH", f"{URL}{of.pk}/", {"wallet_address": OTHER})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "wallet_address")
    of.refresh_from_db()
    assert of.wallet_address == WALLET


def test_a_new_destination_takes_effect_after_its_time_to_think(call: Any, settings: Any) -> None:
    settings.DESTINATION_COOL_OFF_S = 3600
    of = factories.client()
    before = timezone.now()

    answer = call(
        "POST", f"{URL}{of.pk}/destination-changes/", {"wallet_address": OTHER, "reason": "new wallet, ticket 7"}
    )

    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["state"], shown["client_id"], shown["old_wallet_address"]) == ("pending", of.external_id, WALLET)
    change = DestinationChange.objects.get()
    assert change.requested_by.startswith("api:sk_")
    assert before + timedelta(seconds=3600) <= change.effective_at <= timezone.now() + timedelta(seconds=3600)

    assert apply_destination_changes(now=change.effective_at - timedelta(seconds=1)) == 0
    of.refresh_from_db()
    assert of.wallet_address == WALLET

    assert apply_destination_changes(now=change.effective_at) == 1
    assert apply_destination_changes(now=change.effective_at) == 0
    of.refresh_from_db()
    assert of.wallet_address == OTHER
    (listed,) = call("GET", f"/api/v1/destination-changes/?client={of.external_id}").json()["results"]
    assert (listed["state"], listed["reason"]) == ("applied", "new wallet, ticket 7")


def test_payments_name_the_destination_that_is_in_force(call: Any, settings: Any) -> None:
    settings.DESTINATION_COOL_OFF_S = 0
    of = factories.client(external_id="client-1")
    call("POST", f"{URL}{of.pk}/destination-changes/", {"wallet_address": OTHER, "reason": "moved"})
    send(payment(payment_id="before"))

    tasks.apply_destination_changes()
    send(payment(payment_id="after"), event_id="event-2")

    addresses = dict(Accumulation.objects.values_list("payment_id", "wallet_address"))
    assert addresses == {"before": WALLET, "after": OTHER}


def test_a_change_that_is_cancelled_never_takes_effect(call: Any) -> None:
    of = factories.client()
    path = f"{URL}{of.pk}/destination-changes/"
    number = call("POST", path, {"wallet_address": OTHER, "reason": "moved"}).json()["id"]
    while_waiting = call("POST", path, {"wallet_address": TRON, "payout_network": "trx", "reason": "no, there"})

    answer = call("POST", f"/api/v1/destination-changes/{number}/cancel/", {"reason": "not ours"})
    again = call("POST", f"/api/v1/destination-changes/{number}/cancel/", {"reason": "not ours"})

    assert (while_waiting.status_code, while_waiting.json()["code"]) == (409, "refused")
    assert (answer.status_code, answer.json()["state"], answer.json()["cancel_reason"]) == (
        200,
        "cancelled",
        "not ours",
    )
    assert again.status_code == 409
    assert apply_destination_changes(now=timezone.now() + timedelta(days=60)) == 0
    of.refresh_from_db()
    assert of.wallet_address == WALLET


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"wallet_address": OTHER.lower()}, 400), ({"reason": " "}, 400), ({"wallet_address": WALLET}, 409)],
)
def test_it_refuses_a_destination_that_breaks_a_rule(call: Any, changes: dict[str, Any], status: int) -> None:
    of = factories.client()

    answer = call("POST", f"{URL}{of.pk}/destination-changes/", {"wallet_address": OTHER, "reason": "moved", **changes})

    assert answer.status_code == status
    assert not DestinationChange.objects.exists()


def test_the_database_refuses_a_change_before_its_time() -> None:
    of = factories.client()
    now = timezone.now()

    with pytest.raises(IntegrityError, match="destination_change_waits_for_its_time"), transaction.atomic():
        DestinationChange.objects.create(
            client=of, wallet_address=OTHER, payout_currency="usdt", payout_network="eth", reason="x",
            requested_by="x", effective_at=now + timedelta(hours=1), applied_at=now,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", URL),
        ("PATCH", f"{URL}1/"),
        ("POST", f"{URL}1/destination-changes/"),
        ("POST", "/api/v1/destination-changes/1/cancel/"),
    ],
)
def test_reading_is_not_operating(method: str, path: str) -> None:
    answer = _caller("read")(method, path, {})

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("PATCH", f"{URL}99/", {"name": "x"}),
        ("POST", f"{URL}99/destination-changes/", {"wallet_address": OTHER, "reason": "x"}),
        ("POST", "/api/v1/destination-changes/99/cancel/", {"reason": "x"}),
    ],
)
def test_what_is_not_there_is_not_found(call: Any, method: str, path: str, content: Any) -> None:
    answer = call(method, path, content)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def _told(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400
    return {error["field"]: error["detail"] for error in answer.json()["errors"]}


def test_each_refused_field_is_told_its_rule_and_where_else_it_is_changed(call: Any) -> None:
    client = factories.client(external_id="client-1")

    assert _told(call("POST", URL, {"strategy": "never"}))["strategy"] == "must be one of threshold, instant"
    assert _told(call("POST", URL, {}))["external_id"] == "is required"
    assert _told(call("POST", URL, new(name="n" * 121))) == {"name": "must have at most 120 characters"}
    assert _told(call("POST", URL, [])) == {"": "must be a JSON object"}
    moved = _told(
        call("PATCH", f"{URL}{client.pk}/", {"wallet_address": OTHER, "external_id": "other", "nickname": "x"})
    )
    assert "/api/v1/clients/ID/destination-changes/" in moved["wallet_address"]
    assert moved["external_id"] == "never changes: payments name the client by it"
    assert moved["nickname"] == "is not known here"
    client.refresh_from_db()
    assert (client.wallet_address, client.external_id) == (WALLET, "client-1")


def test_whoever_comes_without_a_key_or_for_what_is_not_there_is_told_so(call: Any) -> None:
    bare = Browser().get(URL)

    assert (bare.status_code, bare.json()["detail"]) == (401, "Send an API key, as in `Authorization: Bearer sk_...`.")
    assert call("GET", f"{URL}99/").json()["detail"] == "Nothing here has this id."
