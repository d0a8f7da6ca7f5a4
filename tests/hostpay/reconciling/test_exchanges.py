"""Our orders at the sandbox exchange against its own word, and orders there that we do not know."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from config.lib.money import ETH, USDT
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, OrderStatus, Reconciliation
from hostpay.providers.changenow import OrderRequest, PlacedOrder
from hostpay.services import close_unsent
from hostpay.services.reconciling.runs import lines_of
from tests.hostpay.reconciling.books import line_of, open_rows, reconciled
from tests.lib.swaps import OPERATOR, Swaps, order_of

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = "orders at the exchange that we do not know"


def orphan(swaps: Swaps, *, amount: str = "0.015", tag: str = "", payout_address: str = "") -> PlacedOrder:
    """An order of our account that no row of ours knows."""
    wallet = swaps.world.wallet_address
    return gateways.exchange().create_exchange(
        OrderRequest(
            from_asset=ETH,
            to_asset=USDT,
            from_amount=Decimal(amount),
            payout_address=payout_address or wallet,
            refund_address=wallet,
            tag=tag,
        )
    )


def deposit(swaps: Swaps, payin_address: str, wei: int = 15 * 10**15) -> str:
    """Somebody pays that order; the hash."""
    owner = swaps.world.anvil.rpc("eth_accounts")[1]
    return swaps.world.anvil.send({"from": owner, "to": payin_address, "value": hex(wei)})


def listed(run: Reconciliation) -> str:
    (summary,) = [line for line in lines_of(run) if line.row.startswith("orders at the exchange since")]
    return f"{summary.ours}, {summary.theirs}"


def until_status(swaps: Swaps, order_id: str, *statuses: str) -> None:
    deadline = time.monotonic() + 60
    while next(row["status"] for row in swaps.books() if row["id"] == order_id) not in statuses:
        assert time.monotonic() < deadline, swaps.books()
        time.sleep(0.05)
    swaps.world.anvil.mine(3)


def test_orders_that_are_there_as_here_agree(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(), "settled")
    swaps.ordered()

    run = reconciled("provider")

    assert (run.result, open_rows(run), run.failures) == ("agrees", [], {})
    assert listed(run) == "2 known, 2 listed"
    assert line_of(run, "orders of ours, asked for anew").theirs == "2 as in our books"


def test_f28_an_orphan_without_a_deposit_is_listed_and_is_no_difference(swaps: Swaps) -> None:
    placed = orphan(swaps)

    run = reconciled("provider")

    told = line_of(run, f"order {placed.order_id}")
    assert (run.result, told.verdict, told.ours) == ("agrees", "noted", "not known")
    assert "no deposit; 0.015 ETH to 0x" in told.theirs


def test_f28_an_orphan_that_received_a_deposit_is_an_alarm_with_its_figures(swaps: Swaps) -> None:
    placed = orphan(swaps)
    tx_hash = deposit(swaps, placed.payin_address)
    until_status(swaps, placed.order_id, "finished")

    run = reconciled("provider")

    told = line_of(run, f"order {placed.order_id}")
    assert (run.result, told.verdict) == ("differs", "alarm")
    assert f"0.015 ETH at {placed.payin_address} by {tx_hash}" in told.theirs
    assert "Ask the exchange whose it is" in told.next_step


def test_f28_an_orphan_names_the_intent_whose_answer_was_lost(swaps: Swaps, settings: Settings) -> None:
    settings.CHANGENOW_PARTNER_FIELDS = True
    gateways.exchange.cache_clear()
    swaps.world.exchange.set(key_is_private=False)
    swaps.world.exchange.fault("drop_after", "/v2/exchange", match={"method": "POST"})
    payment = swaps.ordered()
    swaps.world.exchange.set(key_is_private=True)
    lost, _ = swaps.books()

    run = reconciled("provider")

    told = line_of(run, f"order {lost['id']}")
    intent = payment.orders.get(status=OrderStatus.ABANDONED)
    assert told.ours == f"not known; made for intent {intent.pk} of payment {payment.pk}, abandoned"
    assert told.verdict == "noted"


def test_an_order_that_we_gave_up_and_that_was_paid_all_the_same_is_an_alarm(swaps: Swaps) -> None:
    payment = swaps.ordered()
    order = order_of(payment)
    close_unsent(payment=payment, actor=OPERATOR, reason="not wanted any more")
    deposit(swaps, order.payin_address or "", int(order.send_units))
    until_status(swaps, order.provider_order_id or "", "finished")

    run = reconciled("provider")

    told = line_of(run, f"order {order.provider_order_id}")
    assert (run.result, told.verdict) == ("differs", "alarm")
    assert told.ours.startswith("never paid; abandoned")
    assert "no second time" in told.next_step


def test_a_standard_key_may_not_list_and_the_run_says_that_it_did_not_look(swaps: Swaps) -> None:
    swaps.ordered()
    orphan(swaps)
    swaps.world.exchange.set(key_is_private=False)

    run = reconciled("provider")

    told = line_of(run, UNKNOWN)
    assert (told.verdict, told.ours) == ("noted", "not looked for")
    assert "HTTP 403" in told.theirs
    assert "Use private key" in told.theirs
    assert not [line for line in lines_of(run) if "listed" in line.theirs]


def test_short_pages_end_nothing(swaps: Swaps) -> None:
    swaps.world.exchange.set(page_rows=2)
    placed = [orphan(swaps, amount=f"0.01{number}") for number in range(5)]
    deposit(swaps, placed[4].payin_address, 14 * 10**15)
    until_status(swaps, placed[4].order_id, "finished")

    run = reconciled("provider")

    assert listed(run) == "0 known, 5 listed"
    assert open_rows(run) == [f"order {placed[4].order_id}"]


@pytest.mark.parametrize("path", ["/v2/exchange/by-id", "/v2/exchanges"])
@pytest.mark.parametrize("fault", ["5xx", "429", "html_200", "truncated", "empty_200"])
def test_an_exchange_that_does_not_answer_is_an_error_and_never_an_empty_list(
    swaps: Swaps, path: str, fault: str
) -> None:
    swaps.ordered()
    swaps.world.exchange.fault(fault, path, match={"times": None})

    run = reconciled("provider")

    assert (run.result, list(run.failures), run.lines) == ("failed", ["provider"], [])


def test_a_status_that_nobody_looked_at_differs_and_one_that_is_followed_is_noted(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})
    swaps.step()
    row = f"order {order_of(payment).provider_order_id}"
    swaps.world.exchange.force(order_of(payment).provider_order_id or "", "verifying")

    assert line_of(reconciled("provider"), row).verdict == "noted"

    ExchangeOrder.objects.update(polled_at=timezone.now() - timedelta(hours=1))
    told = line_of(reconciled("provider"), row)
    assert (told.verdict, told.theirs) == ("differs", "verifying")
    assert "are beat and the worker running?" in told.next_step


def test_a_figure_that_differs_from_the_logs_is_told_with_both(swaps: Swaps) -> None:
    payment = swaps.world.drive_to(swaps.deposited(), "settled")
    order = order_of(payment)
    swaps.answer_by_id("amountTo", 30)

    told = line_of(reconciled("provider"), f"order {order.provider_order_id}")

    assert (told.verdict, told.ours, told.theirs) == (
        "differs",
        "29.75 USDT received, by the chain's logs",
        "30 USDT paid",
    )


def test_f30_terms_that_changed_after_the_order_are_an_alarm(swaps: Swaps) -> None:
    order = order_of(swaps.ordered())
    swaps.answer_by_id("payoutAddress", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")

    told = line_of(reconciled("provider"), f"order {order.provider_order_id}")

    assert (told.verdict, told.ours) == ("alarm", "as ordered")
    assert "payout address is 0x70997970" in told.theirs


def test_an_order_that_the_exchange_has_forgotten_is_told(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})
    order = order_of(payment)
    swaps.world.exchange.reset()

    told = line_of(reconciled("provider"), f"order {order.provider_order_id}")

    assert (told.verdict, told.theirs.startswith("not known")) == ("alarm", True)
    assert HostPayment.objects.get().status == "final"


def test_f69_an_orphan_that_pays_to_an_address_nobody_knows_is_found_too(swaps: Swaps) -> None:
    placed = orphan(swaps, payout_address="0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    deposit(swaps, placed.payin_address)
    until_status(swaps, placed.order_id, "finished")

    run = reconciled("provider")

    assert line_of(run, f"order {placed.order_id}").verdict == "alarm"


def test_a_deposit_by_another_transaction_than_ours_is_told_with_both(swaps: Swaps) -> None:
    payment = swaps.world.drive_to(swaps.deposited(), "settled")
    swaps.answer_by_id("payinHash", "0x" + "ab" * 32)

    told = line_of(reconciled("provider"), f"order {order_of(payment).provider_order_id}")

    assert (told.verdict, "sent by 0x" in told.ours) == ("differs", True)
    assert told.theirs.endswith(f"by 0x{'ab' * 32}")


def test_orders_that_a_bounded_run_leaves_out_are_told_and_cannot_be_signed_off(
    swaps: Swaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostpay.services.reconciling.exchanges._MOST_READ", 0)
    swaps.ordered()

    run = reconciled("provider")

    told = line_of(run, "further orders of ours")
    assert (run.result, told.theirs, told.is_acceptable) == ("differs", "1 more", False)
