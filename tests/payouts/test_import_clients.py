"""`manage.py import_clients`."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from payouts.models import Client, DestinationChange
from tests.payouts.sending import client

pytestmark = pytest.mark.django_db

WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def run(path: Path, **options: Any) -> str:
    told = io.StringIO()
    call_command("import_clients", str(path), stdout=told, stderr=io.StringIO(), **options)
    return told.getvalue()


def written(folder: Path, *items: Any, name: str = "clients.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in items) + "\n", newline="")
    return path


def bakery(**changes: Any) -> dict[str, Any]:
    return {"external_id": "bakery", "wallet_address": WALLET, "payout_threshold_usd": "50"} | changes


def test_it_makes_the_clients_of_a_table(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "external_id,name,wallet_address,payout_currency,payout_network,payout_threshold_usd,fee_percent",
        f'bakery,"Bakery, old town",{WALLET},,,50,',
        "radio,,TJRabPrwbZy45sbavfcjinPJC18kjpRTv8,usdt,trx,100.5,2.5",
        name="clients.csv",
    )

    assert run(path) == "2 new, 0 changed, 0 as they were, 0 refused.\n"

    made, radio = Client.objects.order_by("external_id")
    assert (made.name, made.wallet_address, made.payout_currency, made.payout_network) == (
        "Bakery, old town", WALLET, "usdt", "eth",
    )  # fmt: skip
    assert (str(made.payout_threshold_usd), made.fee_percent) == ("50.00000000", None)
    assert (radio.payout_network, str(radio.fee_percent)) == ("trx", "2.5000")
    assert not DestinationChange.objects.exists()


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, bakery(fee_percent="2"))
    run(path)

    assert run(path) == "0 new, 0 changed, 1 as they were, 0 refused.\n"
    assert Client.objects.count() == 1


def test_what_a_record_leaves_out_stays_and_null_takes_away(tmp_path: Path) -> None:
    run(written(tmp_path, bakery(name="Bakery", fee_percent="2")))

    assert run(written(tmp_path, {"external_id": "bakery", "fee_percent": None})).startswith("0 new, 1 changed")

    it = Client.objects.get()
    assert (it.name, it.fee_percent, it.wallet_address) == ("Bakery", None, WALLET)


def test_another_destination_waits_for_the_cool_off(tmp_path: Path, settings: Settings) -> None:
    settings.DESTINATION_COOL_OFF_S = 3600
    run(written(tmp_path, bakery()))
    moved = written(tmp_path, bakery(wallet_address=OTHER))

    assert run(moved, reason="they moved").startswith("0 new, 1 changed")

    assert Client.objects.get().wallet_address == WALLET
    change = DestinationChange.objects.get()
    assert (change.wallet_address, change.reason, change.state) == (OTHER, "they moved", "pending")
    assert change.requested_by.startswith("command:")
    # Waiting already; and the one that waits is not replaced by a third.
    assert run(moved).startswith("0 new, 0 changed, 1 as they were")
    with pytest.raises(CommandError, match="1 lines were refused"):
        run(written(tmp_path, bakery(wallet_address="0x90F79bf6EB2c4f870365E785982E1f101E93b906")))
    assert DestinationChange.objects.count() == 1


def test_a_record_is_taken_over_whole_or_not_at_all(tmp_path: Path) -> None:
    run(written(tmp_path, bakery(name="before")))

    with pytest.raises(CommandError):
        run(written(tmp_path, bakery(name="after", wallet_address="0x1")))

    assert Client.objects.get().name == "before"


def test_a_dry_run_tells_and_changes_nothing(tmp_path: Path) -> None:
    client("radio")
    path = written(tmp_path, bakery(), {"external_id": "radio", "name": "Radio"}, {"external_id": "radio-2"})

    told = io.StringIO()
    with pytest.raises(CommandError, match="1 lines were refused"):
        call_command("import_clients", str(path), dry_run=True, stdout=told, stderr=io.StringIO())

    new, changed, summary = told.getvalue().splitlines()
    assert new.startswith("new bakery: strategy (nothing) -> threshold; payout_threshold_usd (nothing) -> 50; ")
    assert changed == "changed radio: name (nothing) -> Radio"
    assert summary == "1 new, 1 changed, 0 as they were, 1 refused. Nothing was changed: this was a rehearsal."
    assert list(Client.objects.values_list("external_id", "name")) == [("radio", "")]


def test_a_line_that_is_wrong_in_many_ways_is_told_them_all(tmp_path: Path) -> None:
    wrong = {
        "external_id": "with space",
        "strategy": "someday",
        "fee_percent": "1e1",
        "wallet_address": WALLET.lower(),
        "payout_currency": "doge",
        "payout_network": "eth",
        "walet": "x",
    }
    path = written(tmp_path, bakery(**wrong), {"external_id": "radio", "wallet_address": WALLET.lower(), "walet": "x"})

    with pytest.raises(CommandError):
        run(path)

    report = (tmp_path / f"{path.name}.refused.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line)["why"] for line in report)
    assert {part.split(":")[0] for part in first.split("; ")} == set(wrong) - {"payout_network"}
    # Whether a client of that id would be paid there, such a line does not say.
    assert second == "walet: is not known here"
    assert not Client.objects.exists()


@pytest.mark.parametrize(
    ("item", "field", "words"),
    [
        (bakery(wallet_address=WALLET.lower()), "wallet_address", "EIP-55"),
        (bakery(payout_network="xrp"), "payout_network", "memo"),
        (bakery(payout_currency="xlm"), "payout_currency", "paid on eth: dai, eth, usdc, usdt"),
        (bakery(payout_network="dogecoin"), "payout_network", "whose addresses we can check"),
        (bakery(payout_threshold_usd="0"), "payout_threshold_usd", "above zero"),
        (bakery(payout_threshold_usd=True), "payout_threshold_usd", "must be a string like"),
        (bakery(payout_threshold_usd=None), "payout_threshold_usd", "required by the strategy"),
        (bakery(fee_percent="1e1"), "fee_percent", "must be a string like"),
        (bakery(strategy="someday"), "strategy", "must be among"),
        (bakery(external_id="with space"), "external_id", "printable"),
        (bakery(external_id=7), "external_id", "must be a string"),
        (bakery(external_id="tab\tinside"), "external_id", "printable"),
        (bakery(name="tab\tinside"), "name", "printable"),
        (bakery(walet="x"), "walet", "not known"),
        ({"external_id": "new-one"}, "wallet_address", "required for a new client"),
        ({"name": "nobody"}, "external_id", "is required"),
        ("[1]", "", "an object"),
    ],
)
def test_it_refuses_with_a_reason(tmp_path: Path, item: Any, field: str, words: str) -> None:
    path = written(tmp_path, item)

    with pytest.raises(CommandError, match="1 lines were refused"):
        run(path)

    (line,) = (tmp_path / "clients.jsonl.refused.jsonl").read_text().splitlines()
    refused = json.loads(line)
    assert (refused["line"], refused["code"]) == (1, "invalid_fields")
    assert f"{field}: " in refused["why"]
    assert words in refused["why"]
    assert not Client.objects.exists()


def test_the_second_line_about_a_client_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, bakery(), bakery(payout_threshold_usd="70"))

    with pytest.raises(CommandError):
        run(path)

    assert str(Client.objects.get().payout_threshold_usd) == "50.00000000"
    assert "Line 1 is about client bakery too" in (tmp_path / "clients.jsonl.refused.jsonl").read_text()


def test_lines_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, "{broken", bakery(), '{"external_id": "x", "external_id": "y"}')

    with pytest.raises(CommandError, match="2 lines"):
        run(path)

    assert Client.objects.get().external_id == "bakery"


def test_a_table_with_a_wrong_heading_is_refused_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "external_id,wallet", "bakery,x", name="clients.csv")

    with pytest.raises(CommandError, match="it has wallet"):
        run(path)
