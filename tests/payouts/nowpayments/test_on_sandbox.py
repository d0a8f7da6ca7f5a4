"""The whole way, over real sockets: the sandbox provider notifies our webhook, and answers when it is asked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from config.stack.ports import answers
from payouts import gateways
from payouts.models import Accumulation, InboundEvent, NowPayment, Outcome
from payouts.services import advance_payment, due_payments, ingest_payment
from tests.lib.ports import own_port
from tests.lib.servers import running
from tests.payouts.nowpayments.sending import ACTOR, URL, work
from tests.payouts.sending import client

pytestmark = pytest.mark.django_db(transaction=True)

PROJECT = Path(__file__).parents[3]
API_KEY, SECRET = "sandbox-nowpayments-key-0123", "sandbox-ipn-secret-0123"
PATIENCE_S = 60


@pytest.fixture
def sandbox(live_server: Any, settings: Settings, tmp_path: Path) -> Iterator[httpx.Client]:
    """The provider, quick, with its notifications going to this test's own web server."""
    settings.NOWPAYMENTS_IPN_SECRETS = [SECRET]
    settings.NOWPAYMENTS_API_KEY = API_KEY
    port = own_port()
    settings.NOWPAYMENTS_API_URL = f"http://127.0.0.1:{port}"
    gateways.nowpayments.cache_clear()
    command = [sys.executable, "-m", "hostpay.sandbox.nowpayments", "--port", str(port), "--step-s", "0.05"]
    environment = {
        **os.environ,
        "SANDBOX_NOWPAYMENTS_API_KEY": API_KEY,
        "SANDBOX_NOWPAYMENTS_IPN_SECRET": SECRET,
        "PYTHONPATH": str(PROJECT),
    }
    log = tmp_path / "nowpayments.log"
    started = running(
        [*command, "--webhook", live_server.url + URL],
        is_ready=lambda: answers(port),
        log=log,
        environment=environment,
    )
    with (
        started,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": API_KEY}, trust_env=False) as http,
    ):
        yield http
    gateways.nowpayments.cache_clear()


def ask(sandbox: httpx.Client, path: str, content: dict[str, Any] | None = None) -> Any:
    answer = sandbox.get(path) if content is None else sandbox.post(path, json=content)
    answer.raise_for_status()
    return answer.json()


def pay(sandbox: httpx.Client, **changes: Any) -> str:
    """A payment is created, as a shop would; its number."""
    wanted = {"price_amount": 30, "price_currency": "usd", "pay_currency": "eth", "order_id": "client-1:user-1"}
    return str(ask(sandbox, "/v1/payment", {**wanted, **changes})["payment_id"])


def notified(count: int) -> None:
    """Wait for so many stored notifications, then process them as the worker would, oldest first."""

    def are_there() -> bool:
        return InboundEvent.objects.count() >= count

    wait(are_there)
    for event in InboundEvent.objects.filter(outcome=Outcome.RECEIVED).order_by("pk"):
        work(event)


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_payment_is_notified_step_by_step_and_recorded_once(sandbox: httpx.Client) -> None:
    client()

    payment_id = pay(sandbox)
    notified(5)

    row = Accumulation.objects.get()
    assert (row.payment_id, row.gross_usd) == (payment_id, Decimal(30))
    assert (row.outcome_amount, row.received_wei) == ("0.009998", 9_998_000_000_000_000)
    # The provider notes an answer when it has it, which is after the notification is stored.
    wait(lambda: len(ask(sandbox, "/control/deliveries")) >= 5)
    assert [each["answered"] for each in ask(sandbox, "/control/deliveries")] == [200] * 5


def test_reordered_and_repeated_notifications_end_the_same(sandbox: httpx.Client) -> None:
    client()
    ask(sandbox, "/control/settings", {"reorder": True, "duplicates": 2})

    pay(sandbox)
    notified(15)

    assert Accumulation.objects.get().gross_usd == Decimal(30)
    outcomes = list(InboundEvent.objects.order_by("pk").values_list("outcome", flat=True))
    assert outcomes == [Outcome.RECORDED, Outcome.REPLAYED, Outcome.REPLAYED, *[Outcome.LATE] * 12]


def test_a_payment_whose_notifications_are_lost_is_ingested(sandbox: httpx.Client) -> None:
    client()
    ask(sandbox, "/control/settings", {"lose": True})
    payment_id = pay(sandbox)
    wait(lambda: ask(sandbox, f"/v1/payment/{payment_id}")["payment_status"] == "finished")
    assert not InboundEvent.objects.exists()

    payment = ingest_payment(payment_id=payment_id, actor=ACTOR)

    assert payment.accumulation == Accumulation.objects.get()


def test_a_refund_is_notified_to_nobody_and_found_by_asking(sandbox: httpx.Client) -> None:
    client()
    payment_id = pay(sandbox)
    notified(5)
    ask(sandbox, f"/control/payments/{payment_id}", {"payment_status": "refunded", "notify": False})

    assert ingest_payment(payment_id=payment_id, actor=ACTOR).status == "refunded"

    assert Accumulation.objects.get().hold_reason == "NOWPayments refunded the payment."


def test_a_repeated_deposit_names_its_parent(sandbox: httpx.Client) -> None:
    client()
    payment_id = pay(sandbox, case="waiting")
    notified(1)

    child = ask(sandbox, f"/control/payments/{payment_id}/deposit", {"amount": "0.002"})
    wait(lambda: InboundEvent.objects.count() >= 2)
    work(InboundEvent.objects.filter(event_id=str(child["payment_id"])).order_by("pk")[0])

    assert NowPayment.objects.get(payment_id=str(child["payment_id"])).parent_payment_id == payment_id
    assert not Accumulation.objects.exists()
    # All of the child's notifications have arrived before the web server goes.
    wait(lambda: len(ask(sandbox, "/control/deliveries")) >= 6)


def test_a_redeposit_heard_of_by_asking_alone_is_worth_what_arrived(sandbox: httpx.Client) -> None:
    client()
    payment_id = pay(sandbox, price_amount=500)
    notified(5)
    ask(sandbox, "/control/settings", {"lose": True})
    child_id = str(ask(sandbox, f"/control/payments/{payment_id}/deposit", {"amount": "0.002"})["payment_id"])
    wait(lambda: ask(sandbox, f"/v1/payment/{child_id}")["payment_status"] == "finished")

    ingest_payment(payment_id=child_id, actor=ACTOR)

    row = Accumulation.objects.get(payment_id=child_id)
    assert (row.gross_usd, row.status) == (Decimal("5.994"), "held")
    assert row.hold_reason == (
        "What reached us is worth $5.994 at $3,000.00 for one ETH, the price asked was $500.00: more than 1000 bps apart,"
        " unless it is a later deposit to the address of another payment."
    )
    ask(sandbox, "/control/settings", {"lose": False})
    ask(sandbox, f"/control/payments/{child_id}/resend", {})
    notified(7)
    child = NowPayment.objects.get(payment_id=child_id)
    assert (child.parent_payment_id, child.review_reason) == (payment_id, "")
    assert child.status_changes.filter(reason__contains="is known only now").exists()
    assert Accumulation.objects.get(payment_id=child_id).gross_usd == Decimal("5.994")


def test_f24_a_payment_called_finished_that_brought_next_to_nothing_is_held(sandbox: httpx.Client) -> None:
    client()
    payment_id = pay(sandbox, price_amount=501, case="waiting")
    notified(1)

    ended = {"payment_status": "finished", "actually_paid": None, "outcome_amount": "0.0000001"}
    ask(sandbox, f"/control/payments/{payment_id}", ended)
    notified(2)

    row = Accumulation.objects.get()
    assert (row.status, row.gross_usd) == ("held", Decimal("0.0003"))
    assert "$0.0003 at $3,000.00 for one ETH, the price asked was $501.00" in row.hold_reason


def test_an_outcome_finer_than_a_wei_is_booked(sandbox: httpx.Client) -> None:
    client()
    payment_id = pay(sandbox, price_amount="1.123456789", case="waiting")
    notified(1)

    ended = {"payment_status": "finished", "actually_paid": None, "outcome_amount": 0.00037234567890123457}
    ask(sandbox, f"/control/payments/{payment_id}", ended)
    notified(2)

    row = Accumulation.objects.get()
    assert (row.gross_usd, row.received_wei) == (Decimal("1.12345678"), 372_345_678_901_234)


def test_a_replay_does_not_decide_which_of_two_tellings_is_right(sandbox: httpx.Client) -> None:
    payment_id = pay(sandbox, price_amount=12)
    notified(5)
    assert NowPayment.objects.get().review_cause == "refused"
    ask(sandbox, f"/control/payments/{payment_id}", {"order_id": "client-2:user-1", "price_amount": "1.2"})
    notified(6)
    client()

    with pytest.raises(CommandError, match="1 of 1 deliveries were not recorded"):
        call_command("replay_inbox", "--failed", stdout=StringIO(), stderr=StringIO())

    assert not Accumulation.objects.exists()
    assert "tells of it differently" in NowPayment.objects.get().review_reason


def test_a_redeposit_whose_notifications_are_lost_is_found_by_looking_at_the_first(sandbox: httpx.Client) -> None:
    client()
    payment_id = pay(sandbox, price_amount=500)
    notified(5)
    ask(sandbox, "/control/settings", {"lose": True})
    child_id = str(ask(sandbox, f"/control/payments/{payment_id}/deposit", {"amount": "0.002"})["payment_id"])
    wait(lambda: ask(sandbox, f"/v1/payment/{child_id}")["payment_status"] == "finished")

    NowPayment.objects.filter(payment_id=payment_id).update(next_action_at=timezone.now())
    for _ in range(2):
        for payment_pk in due_payments(now=timezone.now(), limit=10):
            advance_payment(payment_pk=payment_pk, actor=ACTOR)

    assert NowPayment.objects.get(payment_id=child_id).parent_payment_id == payment_id
    row = Accumulation.objects.get(payment_id=child_id)
    assert (row.gross_usd, row.status) == (Decimal("5.994"), "pending")


def test_a_wrong_key_learns_nothing(sandbox: httpx.Client) -> None:
    assert sandbox.get("/v1/payment/1", headers={"x-api-key": "wrong"}).status_code == 403
    assert sandbox.get("/v1/payment/1").status_code == 404
