"""final → settled: F34 to F37, F39 to F43."""

from __future__ import annotations

from datetime import timedelta
from decimal import InvalidOperation

import pytest
from django.utils import timezone
from pytest_django import Settings

from config.lib.errors import RefusedError
from config.lib.lifecycle import IllegalMoveError, StaleRowError
from hostpay.models import HostPayment, OrderStatus, Receipt, Transaction
from hostpay.providers.ethereum import TransferLog
from hostpay.sandbox.rpc import token_call
from hostpay.services import accept_receipt, advance, escalate, explain_payment, wait_for_rest, watching
from hostpay.services.receiving import Found
from tests.lib.swaps import OPERATOR, Swaps, fresh, long_ago, order_of
from tests.lib.unguarded import unguarded
from tests.lib.world import World, make_due

pytestmark = pytest.mark.django_db(transaction=True)

# What 30 dollars' ether brings at the sandbox: half a percent of spread and a fee of ten cents.
ORDINARY = 29_750_000
A_QUARTER = timedelta(minutes=15)
AN_HOUR = timedelta(hours=1)


def test_the_proceeds_are_what_the_final_log_says_and_are_credited_once(swaps: Swaps) -> None:
    payment = swaps.world.drive_to(swaps.deposited(), "settled")

    receipt = Receipt.objects.get()
    assert (payment.received_units, int(receipt.units)) == (ORDINARY, ORDINARY)
    assert receipt.tx_hash == swaps.book_of(payment)["payments"][0]["tx_hash"]
    assert order_of(payment).status == OrderStatus.FINISHED
    assert swaps.world.anvil.node.token_units(swaps.world.usdt_contract_address, payment.payout_address) >= ORDINARY


def test_f34_a_deposit_that_came_late_is_followed_to_its_end_at_the_new_rate(swaps: Swaps) -> None:
    swaps.world.exchange.set(late_deposit="exchange")
    payment = swaps.ordered()
    swaps.world.exchange.outcome(order_of(payment).provider_order_id or "", expire=True)

    payment = swaps.world.drive_to(payment, "settled")

    assert payment.received_units == ORDINARY
    assert Transaction.objects.count() == 1


def test_f34_a_late_deposit_exchanged_outside_of_the_band_is_for_a_person(swaps: Swaps) -> None:
    swaps.world.exchange.set(late_deposit="exchange")
    payment = swaps.ordered()
    order_id = order_of(payment).provider_order_id or ""
    swaps.world.exchange.force(order_id, "expired")
    payment = swaps.world.drive_to_final(payment)
    swaps.step()
    assert "is expired by the provider's word" in fresh(payment).waiting_reason

    swaps.world.exchange.outcome(order_id, partial_fill=8000)
    swaps.world.exchange.control("POST", f"exchanges/{order_id}", {"freeze": False})
    payment = swaps.world.drive_to_review(payment)

    assert "2067 bps apart, 1000 tolerated" in payment.review_reason
    assert payment.status == "final"
    assert payment.received_units is None
    assert Transaction.objects.count() == 1


def test_f35_a_finished_exchange_that_paid_nothing_is_never_distributed_and_alerts_after_its_time(
    swaps: Swaps,
) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})
    swaps.provider_says(payment, "finished")

    swaps.step()
    swaps.step()

    assert (fresh(payment).status, fresh(payment).review_reason) == ("final", "")
    long_ago(payment, AN_HOUR)
    swaps.step()
    late = fresh(payment)
    assert "is finished, its USDT is not final on chain" in late.review_reason
    assert (late.status, late.received_units, late.delivered_at) == ("final", None, None)
    assert late.next_action_at is not None
    assert not Receipt.objects.exists()


def test_f35_a_payout_that_is_named_and_not_in_the_chain_is_not_believed(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})
    swaps.provider_says(payment, "finished")
    swaps.answer_by_id("payoutHash", "0x" + "77" * 32)

    swaps.step()
    swaps.step()

    assert fresh(payment).status == "final"
    assert order_of(payment).payout_hash == "0x" + "77" * 32
    assert not Receipt.objects.exists()


def test_f36_the_chain_wins_when_the_provider_still_says_exchanging(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(), "settled")
    payment = swaps.deposited(outcome={"pay_before_status": 600})
    paid = swaps.paid_by_provider(payment)
    assert paid["status"] == "exchanging"
    swaps.step()
    assert fresh(payment).status == "final"
    long_ago(payment, A_QUARTER)

    payment = swaps.world.drive_to(payment, "settled")

    assert payment.received_units == ORDINARY
    assert order_of(payment).provider_status == "exchanging"
    (settled,) = payment.status_changes.filter(from_status="final", to_status="settled")
    assert "though the provider still says exchanging" in settled.reason
    assert settled.data["provider_status"] == "exchanging"
    assert Receipt.objects.get(order__payment=payment).tx_hash == paid["payments"][0]["tx_hash"]


def test_f36_a_sender_nobody_knows_does_not_make_the_chain_win(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"pay_before_status": 600})
    swaps.paid_by_provider(payment)
    long_ago(payment, A_QUARTER)

    swaps.step()
    swaps.step()

    assert fresh(payment).status == "final"
    assert not Receipt.objects.exists()


def test_f36_no_transfer_is_taken_while_two_orders_wait_for_theirs(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(), "settled")
    first = swaps.deposited(outcome={"verifying": 600})
    second = swaps.deposited(outcome={"pay_before_status": 600})
    swaps.paid_by_provider(second)
    long_ago(first, A_QUARTER)
    long_ago(second, A_QUARTER)

    swaps.step()
    swaps.step()

    assert [fresh(first).status, fresh(second).status] == ["final", "final"]
    assert Receipt.objects.count() == 1


def test_f37_a_partial_fill_waits_for_a_person_who_distributes_what_arrived(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"partial_fill": 8000}))
    assert payment.review_reason == "23.8 USDT received for 30 USD: 2067 bps apart, 1000 tolerated"
    assert payment.status == "final"
    assert payment.next_action_at is not None

    accept_receipt(payment=payment, actor=OPERATOR, reason="the client agrees")

    settled = fresh(payment)
    assert (settled.status, settled.received_units, settled.review_reason) == ("settled", 23_800_000, "")
    (event,) = settled.status_changes.filter(from_status="final", to_status="settled")
    assert (event.actor, event.reason) == ("admin:olga", "accepted what arrived: the client agrees")


@pytest.mark.parametrize("figure", ["123456789012345678901234567890", "10000000000"])
def test_an_absurd_figure_of_the_provider_reaches_a_person_and_the_watch_goes_on(swaps: Swaps, figure: str) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})
    swaps.answer_by_id("amountTo", figure)
    swaps.provider_says(payment, "finished")

    payment = swaps.world.drive_to_review(payment)

    assert payment.status == "final"
    assert "amountTo is no amount of money" in payment.review_reason
    assert payment.next_action_at is not None


def test_nothing_is_credited_to_a_payment_that_a_person_settled_while_the_chain_was_asked(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"partial_fill": 8000}))
    (credited,) = Receipt.objects.all()
    rest = TransferLog(
        tx_hash="0x" + "ab" * 32,
        log_index=1,
        contract=swaps.world.usdt_contract_address,
        from_address=credited.from_address,
        to_address=payment.payout_address,
        units=5_000_000,
        block_number=1,
        block_hash="0x" + "cd" * 32,
    )

    accept_receipt(payment=fresh(payment), actor=OPERATOR, reason="the client agrees")
    with pytest.raises(StaleRowError):
        watching._pass_on(payment, order_of(payment), Found(logs=(rest,)), OPERATOR, because="the rest came")

    assert Receipt.objects.get() == credited
    assert fresh(payment).received_units == 23_800_000


def test_f37_a_person_may_wait_for_the_rest_until_a_time(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"partial_fill": 8000}))
    doubt = payment.review_reason

    wait_for_rest(payment=payment, actor=OPERATOR, reason="they promise the rest", wait=timedelta(hours=2))
    swaps.step()

    waiting = fresh(payment)
    assert waiting.review_reason == ""
    assert waiting.waiting_reason.startswith(f"{doubt}; admin:olga waits until ")
    assert [rule for rule in explain_payment(waiting) if "admin:olga" in rule.detail]
    assert waiting.status == "final"
    expire_decision(payment)
    swaps.step()
    assert fresh(payment).review_reason == doubt


def test_f37_another_doubt_is_told_though_a_person_waits_in_the_first(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"partial_fill": 8000}))
    wait_for_rest(payment=payment, actor=OPERATOR, reason="they promise the rest")
    swaps.step()
    assert fresh(payment).review_reason == ""

    swaps.answer_by_id("amountTo", 25)
    swaps.step()

    assert "the provider reports 25 USDT, the chain shows 23.8" in fresh(payment).review_reason


def test_f37_a_doubt_may_be_escalated_and_stays_open(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"partial_fill": 8000}))

    escalate(payment=payment, actor=OPERATOR, reason="ticket 4711")
    swaps.step()

    assert fresh(payment).review_reason == payment.review_reason
    (event,) = payment.status_changes.filter(data__decision="escalate")
    assert (event.reason, event.data["about"]) == ("escalated: ticket 4711", payment.review_reason)


def test_f37_there_is_nothing_to_decide_while_nothing_is_in_doubt(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"verifying": 600})

    for decide in (wait_for_rest, escalate, accept_receipt):
        with pytest.raises(RefusedError):
            decide(payment=fresh(payment), actor=OPERATOR, reason="just so")

    assert not payment.status_changes.filter(data__has_key="decision").exists()


def test_f37_two_transfers_of_one_exchange_are_summed(swaps: Swaps) -> None:
    payment = swaps.world.drive_to(swaps.deposited(outcome={"two_transfers": True}), "settled")

    assert payment.received_units == ORDINARY
    assert sorted(int(receipt.units) for receipt in Receipt.objects.all()) == [ORDINARY // 2, ORDINARY // 2]
    hashes = {paid["tx_hash"] for paid in swaps.book_of(payment)["payments"]}
    assert set(Receipt.objects.values_list("tx_hash", flat=True)) == hashes
    assert len(hashes) == 2


def test_f37_more_than_expected_waits_for_a_person(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"over_fill": 2000}))

    assert payment.review_reason == "35.7 USDT received for 30 USD: 1900 bps apart, 1000 tolerated"
    assert payment.received_units is None


def test_f37_without_an_expectation_the_provider_s_own_estimate_is_the_measure(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"partial_fill": 8000}, expected_usd=None))

    assert payment.review_reason == ("23.8 USDT received, 29.75 USDT were estimated: more than 1000 bps apart")


def test_a_figure_that_is_not_told_yet_is_waited_for(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"late_amount_to": 600})
    swaps.provider_says(payment, "finished")
    swaps.world.anvil.mine(3)

    swaps.step()
    assert "its figure is not told yet" in fresh(payment).waiting_reason
    assert not Receipt.objects.exists()

    long_ago(payment, AN_HOUR)
    assert swaps.world.drive_to(payment, "settled").received_units == ORDINARY


def test_a_figure_that_is_not_the_chain_s_is_for_a_person(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"report_amount_to": "30.5"}))

    assert payment.review_reason == "the provider reports 30.5 USDT, the chain shows 29.75"


def test_f39_a_compliance_hold_has_its_own_patience_and_shows_what_is_at_stake(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"verifying": 600})
    swaps.provider_says(payment, "verifying")
    order = order_of(payment)

    swaps.step()
    held = fresh(payment)
    assert held.waiting_reason == (
        f"exchange {order.provider_order_id} with our 0.015 ETH is held by the provider for verification"
    )
    long_ago(payment, timedelta(days=2))
    swaps.step()
    assert fresh(payment).review_reason == ""
    long_ago(payment, timedelta(days=5))
    swaps.step()

    alarmed = fresh(payment)
    assert alarmed.review_reason == held.waiting_reason
    assert alarmed.next_action_at is not None
    assert Transaction.objects.count() == 1
    assert payment.orders.count() == 1
    with pytest.raises(RefusedError):
        accept_receipt(payment=alarmed, actor=OPERATOR, reason="impatient")


def test_f40_an_unknown_word_reaches_a_person_and_the_watch_goes_on(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"unknown_status": "pondering", "never_pay": "sending"})

    payment = swaps.world.drive_to_review(payment)

    order = order_of(payment)
    assert payment.review_reason == (
        f"exchange {order.provider_order_id} with our 0.015 ETH is pondering, an unknown word"
    )
    assert (payment.status, payment.next_action_at is not None) == ("final", True)
    asked = order.polled_at
    swaps.step()
    order.refresh_from_db()
    assert (order.polled_at or timezone.now()) > (asked or timezone.now())
    assert fresh(payment).status == "final"


def test_f40_it_settles_by_itself_when_the_unknown_word_was_harmless(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"verifying": 600})
    order_id = order_of(payment).provider_order_id or ""
    swaps.world.exchange.force(order_id, "polishing")
    swaps.world.drive_to_review(payment)

    swaps.world.exchange.control("POST", f"exchanges/{order_id}", {"status": "verifying", "freeze": False})
    swaps.world.exchange.outcome(order_id)
    swaps.world.exchange.control("POST", f"exchanges/{order_id}", {"status": "confirming", "freeze": False})

    payment = swaps.world.drive_to(payment, "settled")
    assert payment.review_reason == ""


def test_f40_an_unknown_word_does_not_hide_a_payout_that_is_final_on_chain(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"verifying": 1})
    swaps.paid_by_provider(payment)
    swaps.provider_says(payment, "finished")
    swaps.answer_by_id("status", "polishing")
    payment = swaps.world.drive_to_review(payment)
    assert payment.review_reason.endswith("is polishing, an unknown word")

    long_ago(payment, A_QUARTER)
    payment = swaps.world.drive_to(payment, "settled")

    assert (payment.received_units, payment.review_reason) == (ORDINARY, "")


@pytest.mark.parametrize(
    ("words", "believed"),
    [
        (("finished", "polishing", "waiting"), "polishing"),
        (("exchanging", "polishing", "waiting"), "polishing"),
        (("exchanging", "polishing", "pondering", "confirming"), "pondering"),
        (("exchanging", "polishing", "verifying"), "verifying"),
        (("exchanging", "polishing", "finished"), "finished"),
        (("confirming", "polishing", "exchanging"), "exchanging"),
        (("polishing", "confirming"), "confirming"),
        (("finished", "polishing"), "polishing"),
        (("confirming", "expired"), "expired"),
        (("exchanging", "expired"), "exchanging"),
    ],
)
def test_f41_an_unknown_word_between_neither_hides_what_is_new_nor_lets_old_news_in(
    swaps: Swaps, words: tuple[str, ...], believed: str
) -> None:
    payment = swaps.deposited(outcome={"never_pay": "sending"})

    for word in words:
        swaps.world.exchange.clear_faults()
        swaps.answer_by_id("status", word)
        swaps.step()

    order = order_of(payment)
    assert order.provider_status == believed
    ignored = [change.reason for change in order.status_changes.filter(reason__endswith="; ignored")]
    assert bool(ignored) == (believed != words[-1])
    assert bool(fresh(payment).review_reason) == ("polishing" in words)
    assert fresh(payment).status == "final"


def test_f41_waiting_after_finished_is_old_news(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})
    swaps.provider_says(payment, "finished")
    swaps.step()
    assert order_of(payment).provider_status == "finished"

    swaps.world.exchange.force(order_of(payment).provider_order_id or "", "waiting")
    swaps.step()
    swaps.step()

    order = order_of(payment)
    assert (order.provider_status, order.status) == ("finished", OrderStatus.OPEN)
    (noted,) = order.status_changes.filter(reason__contains="ignored")
    assert noted.reason == "the provider says waiting after finished; ignored"
    assert (fresh(payment).status, fresh(payment).review_reason) == ("final", "")
    long_ago(payment, AN_HOUR)
    swaps.step()
    assert "waiting after finished, which is not believed" in fresh(payment).review_reason


def test_f42_one_transaction_that_pays_two_exchanges_is_matched_by_amount(swaps: Swaps) -> None:
    first, second = two_finished_unpaid(swaps, 30, 40)
    pay_in_one_transaction(swaps, ORDINARY, 39_700_000)

    first = swaps.world.drive_to(first, "settled")
    second = swaps.world.drive_to(second, "settled")

    assert (first.received_units, second.received_units) == (ORDINARY, 39_700_000)
    assert Receipt.objects.values("tx_hash").distinct().count() == 1
    assert Receipt.objects.values("log_index").distinct().count() == 2


def test_f42_what_cannot_be_told_apart_is_for_a_person(swaps: Swaps) -> None:
    first, second = two_finished_unpaid(swaps, 30, 30)
    tx_hash = pay_in_one_transaction(swaps, ORDINARY, ORDINARY)

    swaps.look_until(lambda: fresh(first).needs_review and fresh(second).needs_review)

    for payment in (first, second):
        assert fresh(payment).review_reason == (
            f"{tx_hash} brought 29.75 USDT, 29.75 USDT, and nothing says which of it is for this exchange"
        )
        assert fresh(payment).status == "final"
    assert not Receipt.objects.exists()


def test_f42_a_provider_that_pays_several_exchanges_at_once_settles_each_with_its_own(swaps: Swaps) -> None:
    payments = [swaps.deposited(usd, outcome={"pay_together": 3}) for usd in (30, 40, 50)]

    settled = [swaps.world.drive_to(payment, "settled") for payment in payments]

    assert [payment.received_units for payment in settled] == [ORDINARY, 39_700_000, 49_650_000]
    receipts = list(Receipt.objects.order_by("log_index"))
    assert len({receipt.tx_hash for receipt in receipts}) == 1
    assert [receipt.order.payment for receipt in receipts] == payments
    assert {order_of(payment).payout_hash for payment in payments} == {receipts[0].tx_hash}


def test_f42_a_provider_that_pays_equal_exchanges_at_once_leaves_it_to_a_person(swaps: Swaps) -> None:
    first, second = (swaps.deposited(30, outcome={"pay_together": 2}) for _ in range(2))

    swaps.look_until(lambda: fresh(first).needs_review and fresh(second).needs_review)

    for payment in (first, second):
        assert "nothing says which of it is for this exchange" in fresh(payment).review_reason
        assert fresh(payment).status == "final"
    assert not Receipt.objects.exists()


def test_f42_a_transaction_that_was_credited_already_is_not_credited_again(swaps: Swaps) -> None:
    first = swaps.world.drive_to(swaps.deposited(), "settled")
    tx_hash = Receipt.objects.get().tx_hash
    second = swaps.deposited(outcome={"never_pay": "finished"})
    swaps.provider_says(second, "finished")
    swaps.answer_by_id("payoutHash", tx_hash)

    second = swaps.world.drive_to_review(second)

    assert second.review_reason == f"all that {tx_hash} brought was credited to other orders before"
    assert Receipt.objects.get().order.payment == first


def test_f43_a_token_that_calls_itself_usdt_counts_for_nothing_and_alarms(
    swaps: Swaps, caplog: pytest.LogCaptureFixture
) -> None:
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"wrong_token": True}))

    assert payment.review_reason.startswith("security: ")
    counterfeit = swaps.world.exchange.sandbox.counterfeit_contract_address
    assert f"paid in token {counterfeit}, which is not USDT; it counts for nothing" in payment.review_reason
    assert (payment.status, payment.received_units) == ("final", None)
    assert not Receipt.objects.exists()
    assert "payout in a token that is not USDT" in caplog.text
    with pytest.raises(RefusedError, match="Nothing was received"):
        accept_receipt(payment=payment, actor=OPERATOR, reason="looks real")


def test_a_payout_whose_block_is_not_final_is_not_distributed(swaps: Swaps, settings: Settings) -> None:
    payment = swaps.deposited(outcome={"verifying": 1})
    settings.ETH_CONFIRMATIONS = 50
    swaps.paid_by_provider(payment)
    swaps.provider_says(payment, "finished")

    swaps.step()

    assert fresh(payment).status == "final"
    assert not Receipt.objects.exists()
    swaps.world.anvil.mine(50)
    swaps.world.drive_to(payment, "settled")


def two_finished_unpaid(swaps: Swaps, *usd: int) -> tuple[HostPayment, HostPayment]:
    """Two payments whose exchanges are finished, and nothing was paid for them yet."""
    first, second = (swaps.deposited(each, outcome={"never_pay": "finished"}) for each in usd)
    for payment in (first, second):
        swaps.provider_says(payment, "finished")
    return first, second


def pay_in_one_transaction(swaps: Swaps, *units: int) -> str:
    """One transaction with a transfer of USDT to our wallet for each amount, which the provider names for every order."""
    world = swaps.world
    contract, owner = "0x" + "fa" * 20, world.anvil.rpc("eth_accounts")[1]
    usdt = world.usdt_contract_address
    world.anvil.rpc("anvil_setCode", contract, MANY_CALLS)
    send(world, owner, usdt, token_call("issue(uint256)", sum(units)))
    send(world, owner, usdt, token_call("transfer(address,uint256)", contract, sum(units)))
    calls = "".join(token_call("transfer(address,uint256)", world.wallet_address, each)[2:] for each in units)
    tx_hash = send(world, owner, contract, "0x" + usdt[2:].rjust(64, "0") + calls)
    world.anvil.mine(3)
    swaps.answer_by_id("payoutHash", tx_hash)
    return tx_hash


# Takes a contract's address (32 bytes) and calls of 68 bytes each, and makes them one after the other.
MANY_CALLS = "0x60205b80361160" + "0a57005b60448160003760006000604460006000" + "6000355af150604401600256"


def send(world: World, sender: str, to: str, data: str) -> str:
    tx_hash = world.anvil.send({"from": sender, "to": to, "data": data, "gas": hex(300_000)})
    world.anvil.node.wait_for_receipt(tx_hash)
    return tx_hash


def expire_decision(payment: HostPayment) -> None:
    event = payment.status_changes.get(data__decision="wait")
    event.data["until"] = (timezone.now() - timedelta(seconds=1)).isoformat()
    with unguarded(type(event)):
        event.save(update_fields=("data",))


def test_an_error_nobody_foresaw_reaches_a_person_and_fails_loudly(
    swaps: Swaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = swaps.deposited(outcome={"never_pay": "finished"})

    def stumble(**_asked: object) -> None:
        raise InvalidOperation("no such figure")

    monkeypatch.setattr(watching, "watch_exchange", stumble)
    make_due()
    with pytest.raises(InvalidOperation):
        advance(payment_id=payment.pk, actor=OPERATOR)

    row = fresh(payment)
    assert row.status == "final"
    assert row.review_reason == "an error that was not foreseen: InvalidOperation: no such figure"
    assert (row.attempts, row.last_error) == (1, "InvalidOperation: no such figure")
    assert row.next_action_at is not None


def test_an_error_nobody_foresaw_before_anything_was_signed_is_not_tried_again(
    swaps: Swaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = swaps.request()

    def stumble(*_asked: object) -> None:
        raise IllegalMoveError("it cannot go there")

    monkeypatch.setattr("hostpay.services.ordering._place", stumble)
    make_due()
    with pytest.raises(IllegalMoveError):
        advance(payment_id=payment.pk, actor=OPERATOR)

    row = fresh(payment)
    assert (row.status, row.next_action_at) == ("requested", None)
    assert "IllegalMoveError" in row.review_reason
