"""F38: what two people end whose ETH is at the exchange: a refund that only they found, or a loss; and what comes after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction
from pytest_django import Settings

from batches.models import BatchConversion
from batches.services import check_threshold
from config.invariants import examine
from config.lib import clock
from config.lib.errors import ProviderError, RefusedError
from config.lib.money import ETH, format_units
from hostpay import gateways, services
from hostpay.models import (
    Approval,
    ExchangeOrder,
    HostPayment,
    LateReturn,
    OrderStatus,
    Receipt,
    Refund,
    Transaction,
    WriteOff,
)
from hostpay.sandbox.rpc import token_call
from hostpay.services import afterwards, approve, propose_refund, propose_write_off, reject
from hostpay.services.limits import in_flight_wei
from hostpay.services.reconciling.runs import lines_of
from hostpay.services.refunding import hold_block
from payouts.models import Accumulation
from tests import factories
from tests.hostpay.chain import crash_at, no_blocks, through
from tests.hostpay.reconciling.books import reconciled, settle_books
from tests.lib.concurrency import crew, wait_until_blocked
from tests.lib.faulty_node import FaultyNode
from tests.lib.scripted_http import Reply, ScriptedServer
from tests.lib.swaps import OPERATOR, SECOND, Swaps, fresh, long_ago, order_of
from tests.lib.unguarded import unguarded
from tests.lib.world import WORKER

pytestmark = pytest.mark.django_db(transaction=True)

SENT = 15 * 10**15
BACK = 145 * 10**14
STRANGER = "0x" + "12" * 20
CONTRACT = "0x" + "fb" * 20
OTHER_CONTRACT = "0x" + "fc" * 20
TWO_DAYS = timedelta(days=2)


def test_f38_a_refund_from_inside_a_contract_ends_the_payment_by_two_people(swaps: Swaps) -> None:
    payment = lost_batch(swaps)
    tx_hash = paid_by_contract(swaps, BACK)
    sent_before = swaps.world.sent_transactions()

    proposal = propose_refund(payment=payment, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="their ticket 12")
    assert fresh(payment).status == "final"
    assert not Refund.objects.exists()
    approve(approval=proposal, actor=SECOND, reason="seen on chain")

    ended, refund = fresh(payment), Refund.objects.get()
    assert (ended.status, ended.refunded_units, ended.review_reason) == ("refunded", BACK, "")
    assert (int(refund.units), int(refund.lost_units), refund.tx_hash) == (BACK, SENT - BACK, tx_hash)
    assert refund.approval == proposal
    assert Approval.objects.get().executed_at is not None
    assert "its trace brings exactly that to the wallet" in ended.status_changes.get(to_status="refunded").reason
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    assert BatchConversion.objects.get().status == "failed"
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert swaps.world.sent_transactions() == sent_before
    assert in_flight_wei(provider="changenow") == 0
    assert broken() == []


def test_f38_what_never_comes_back_is_written_off_by_two_people_and_frees_its_members(swaps: Swaps) -> None:
    payment = lost_batch(swaps)
    assert in_flight_wei(provider="changenow") == SENT

    proposal = propose_write_off(payment=payment, actor=OPERATOR, reason="they are bankrupt")
    assert (fresh(payment).status, WriteOff.objects.count()) == ("final", 0)
    approve(approval=proposal, actor=SECOND, reason="so it is")

    ended, lost = fresh(payment), WriteOff.objects.get()
    assert (ended.status, ended.review_reason, ended.refunded_units) == ("failed", "", None)
    assert ended.failure_reason == f"0.015 ETH at exchange {order_of(payment).provider_order_id} are written off"
    assert (int(lost.lost_units), lost.order, lost.approval) == (SENT, order_of(payment), proposal)
    assert order_of(payment).status == OrderStatus.FAILED
    assert in_flight_wei(provider="changenow") == 0
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    assert BatchConversion.objects.get().status == "failed"
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert broken() == []


def test_f38_usdt_that_comes_after_the_write_off_is_told_and_credited_to_nobody(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    watched = fresh(payment).next_action_at
    assert watched is not None
    assert watched - clock.now() > timedelta(hours=5)

    pays_after_all(swaps, payment)
    swaps.step()

    told = fresh(payment)
    receipt = Receipt.objects.get()
    assert told.review_reason == (
        f"exchange {order_of(payment).provider_order_id} was given up, and paid after all: 29.75 USDT in {receipt.tx_hash};"
        " its members were released, so it is shared out to nobody"
    )
    assert (told.status, told.received_units) == ("failed", None)
    # Theirs is the next batch's; what came is not shared out, and no other order can be credited with it.
    assert receipt.order == order_of(payment)
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert BatchConversion.objects.get().status == "failed"
    assert broken() == []

    services.close_review(payment=told, actor=OPERATOR, reason="booked against the loss")
    swaps.step()
    swaps.step()
    assert fresh(payment).review_reason == ""
    assert Receipt.objects.count() == 1


def test_f38_an_answer_that_nobody_understands_does_not_end_the_watch_for_what_comes_late(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    swaps.answer_by_id("id", "somebody-else")

    swaps.step()

    asked = fresh(payment)
    assert asked.review_reason
    assert asked.next_action_at is not None
    assert asked.next_action_at - clock.now() > timedelta(hours=5)
    swaps.world.exchange.clear_faults()
    pays_after_all(swaps, payment)
    swaps.step()
    assert "was given up, and paid after all" in fresh(payment).review_reason


def test_f38_a_worker_that_dies_after_it_saw_late_usdt_has_told_of_it(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    pays_after_all(swaps, payment)

    # The question to a person stands in the transaction of the receipt: nothing later has to be written.
    afterwards.look_for_late_money(payment=fresh(payment), actor=WORKER)

    assert Receipt.objects.exists()
    assert "was given up, and paid after all" in fresh(payment).review_reason


def test_f38_the_members_of_a_written_off_batch_are_paid_by_another_one_once(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    swaps.world.exchange.set(outcome={})

    check_threshold(actor=factories.ACTOR)
    second = HostPayment.objects.exclude(pk=payment.pk).get()
    swaps.world.drive_to(second, "settled")
    swaps.look_until(lambda: fresh(second).delivered_at is not None)

    assert second.reference != payment.reference
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"completed"}
    pays_after_all(swaps, payment)
    swaps.step()
    assert "was given up, and paid after all" in fresh(payment).review_reason
    assert Accumulation.objects.filter(converted_usdt_amount__gt=0).count() == 2
    assert {receipt.order.payment for receipt in Receipt.objects.all()} == {payment, second}
    assert broken() == []


def test_f38_an_unnamed_payout_could_be_of_what_was_given_up_and_is_nobodys(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.request(), "settled")
    given_up = written_off(swaps, lost(swaps))
    swaps.look_until(lambda: fresh(given_up).delivered_at is not None)
    waiting = swaps.deposited(outcome={"never_pay": "sending"})
    swaps.provider_says(waiting, "sending")
    pay_usdt(swaps, 29_750_000)
    long_ago(waiting, timedelta(minutes=20))

    swaps.step()

    assert fresh(waiting).status == "final"
    assert not Receipt.objects.filter(order__payment=waiting).exists()


def test_f38_eth_that_comes_back_after_the_write_off_has_a_row_and_the_balance_agrees(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.request(), "settled")
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    settle_books(swaps.world)
    tx_hash = comes_back(swaps, payment, transfer_of(swaps, BACK, sender=payer_of(swaps)))

    swaps.step()
    swaps.step()

    told, row = fresh(payment), LateReturn.objects.get()
    assert told.review_reason == (
        f"exchange {order_of(payment).provider_order_id} was given up, and its ETH came back after all: 0.0145 ETH in"
        f" {tx_hash}; it is booked, against the 0.015 ETH booked as lost"
    )
    assert (row.order, row.tx_hash, int(row.units), row.approval) == (order_of(payment), tx_hash, BACK, None)
    assert (told.status, told.refunded_units, Refund.objects.count()) == ("failed", None, 0)
    assert len([c for c in told.status_changes.all() if "came back after all" in c.reason]) == 1
    run = reconciled("chain")
    (eth,) = [line for line in lines_of(run) if line.row.startswith("ETH of the wallet")]
    assert "and 0.0145 ETH come back late" in eth.ours
    assert (run.result, eth.theirs) == ("agrees", eth.ours.partition(":")[0])
    assert broken() == []


def test_f38_a_worker_that_dies_after_it_booked_late_eth_has_told_of_it(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.request(), "settled")
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    comes_back(swaps, payment, transfer_of(swaps, BACK, sender=payer_of(swaps)))

    with crash_at("hostpay_hostpaymentstatuschange"):
        afterwards.look_for_late_money(payment=fresh(payment), actor=WORKER)
    assert not LateReturn.objects.exists()
    afterwards.look_for_late_money(payment=fresh(payment), actor=WORKER)

    assert LateReturn.objects.exists()
    assert "came back after all" in fresh(payment).review_reason


@pytest.mark.parametrize("way", ["a stranger", "a contract"])
def test_f38_what_does_not_prove_itself_after_the_write_off_is_booked_by_two_people(swaps: Swaps, way: str) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    tx_hash = transfer_of(swaps, BACK) if way == "a stranger" else paid_by_contract(swaps, BACK)
    comes_back(swaps, payment, tx_hash)
    swaps.step()
    told = fresh(payment)
    assert "was given up, and names a refund after all" in told.review_reason
    assert tx_hash in told.review_reason
    assert not LateReturn.objects.exists()

    proposal = propose_refund(payment=told, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")
    approve(approval=proposal, actor=SECOND, reason="seen on chain")

    row, ended = LateReturn.objects.get(), fresh(payment)
    assert (int(row.units), row.approval, row.order) == (BACK, proposal, order_of(payment))
    assert (ended.status, ended.review_reason) == ("failed", "")
    swaps.step()
    assert (fresh(payment).review_reason, LateReturn.objects.count()) == ("", 1)
    with pytest.raises(RefusedError, match="is booked for it already"):
        propose_refund(payment=fresh(payment), tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="once more")
    with pytest.raises(RefusedError, match="only what the exchange has can be written off"):
        propose_write_off(payment=fresh(payment), actor=OPERATOR, reason="once more")
    assert broken() == []


def test_f38_a_late_refund_is_booked_by_two_people_though_its_review_was_closed(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    with pytest.raises(RefusedError, match="only what the exchange has"):
        propose_refund(
            payment=payment, tx_hash="0x" + "66" * 32, units=BACK, actor=OPERATOR, reason="its end is not told"
        )
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    tx_hash = comes_back(swaps, payment, transfer_of(swaps, BACK))
    swaps.step()
    services.close_review(payment=fresh(payment), actor=OPERATOR, reason="will ask them")
    swaps.step()
    # The same words are no news.
    assert fresh(payment).review_reason == ""

    proposal = propose_refund(payment=fresh(payment), tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")
    approve(approval=proposal, actor=SECOND, reason="seen on chain")

    row, ended = LateReturn.objects.get(), fresh(payment)
    assert (int(row.units), row.tx_hash, row.approval) == (BACK, tx_hash, proposal)
    assert (ended.status, ended.review_reason, ended.refunded_units) == ("failed", "", None)
    assert broken() == []


def test_f38_booking_what_came_late_answers_no_other_question(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    tx_hash = comes_back(swaps, payment, transfer_of(swaps, BACK))
    swaps.step()
    since = fresh(payment).review_since
    proposal = propose_refund(payment=fresh(payment), tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")
    # It names no refund any more.
    swaps.world.exchange.clear_faults()
    pays_after_all(swaps, payment)
    swaps.step()
    receipt, both = Receipt.objects.get(), fresh(payment)
    assert f"paid after all: 29.75 USDT in {receipt.tx_hash}" in both.review_reason
    assert f"came back in {tx_hash}" in both.review_reason
    assert both.review_since == since

    approve(approval=proposal, actor=SECOND, reason="seen on chain")
    swaps.step()

    left = fresh(payment)
    assert left.review_reason == (
        f"exchange {order_of(payment).provider_order_id} was given up, and paid after all: 29.75 USDT in {receipt.tx_hash};"
        " its members were released, so it is shared out to nobody"
    )
    assert left.review_since == since
    assert LateReturn.objects.get().tx_hash == tx_hash
    services.close_review(payment=left, actor=OPERATOR, reason="booked against the loss")
    swaps.step()
    assert fresh(payment).review_reason == ""


def test_f38_late_usdt_that_is_in_doubt_does_not_hide_late_eth(swaps: Swaps, settings: Settings) -> None:
    swaps.world.drive_to(swaps.request(), "settled")
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    tx_hash = transfer_of(swaps, BACK, sender=payer_of(swaps))

    with ScriptedServer() as server:
        answer = swaps.world.exchange.http.get(
            "/v2/exchange/by-id", params={"id": order_of(payment).provider_order_id}
        ).json()
        both = {**answer, "status": "finished", "payoutHash": tx_hash, "refundHash": tx_hash}
        server.say(Reply(body=json.dumps(both).encode(), headers={"content-type": "application/json"}))
        settings.CHANGENOW_API_URL = server.url
        gateways.exchange.cache_clear()
        swaps.step()
        swaps.step()
    gateways.exchange.cache_clear()

    row, told = LateReturn.objects.get(), fresh(payment)
    assert (row.tx_hash, int(row.units)) == (tx_hash, BACK)
    assert told.review_reason.count("after it was given up: ") == 1
    assert told.review_reason.count("its ETH came back after all") == 1


def test_f38_what_was_given_up_is_watched_for_three_months(swaps: Swaps) -> None:
    payment = written_off(swaps, lost_batch(swaps))
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)
    asked = order_of(payment).polled_at

    long_ago(payment, timedelta(days=91))
    swaps.step()

    assert fresh(payment).next_action_at is None
    assert order_of(payment).polled_at == asked


def test_f38_nothing_is_written_off_within_a_day_nor_what_is_not_in_review(swaps: Swaps) -> None:
    swaps.world.exchange.set(outcome={"fail": "after_deposit"})
    payment = swaps.world.drive_to_review(batch_payment())

    with pytest.raises(RefusedError, match="less than a day"):
        propose_write_off(payment=payment, actor=OPERATOR, reason="hurry")
    with pytest.raises(RefusedError, match="It is requested; only what the exchange has"):
        propose_write_off(payment=swaps.request(), actor=OPERATOR, reason="hurry")

    assert not Approval.objects.exists()


def test_f38_what_is_on_chain_is_not_written_off(swaps: Swaps) -> None:
    payment = lost_batch(swaps)
    proposal = propose_write_off(payment=payment, actor=OPERATOR, reason="gone")
    ExchangeOrder.objects.filter(payment=payment).update(payout_hash=pay_usdt(swaps, 29_750_000))

    with pytest.raises(RefusedError, match="Its USDT is on chain"):
        propose_write_off(payment=payment, actor=OPERATOR, reason="gone")
    with pytest.raises(RefusedError, match="Its USDT is on chain"):
        approve(approval=proposal, actor=SECOND, reason="gone")

    assert fresh(payment).status == "final"
    assert not WriteOff.objects.exists()


def test_i14_what_the_exchange_said_since_makes_the_approval_void(swaps: Swaps) -> None:
    payment = lost_batch(swaps)
    proposal = propose_write_off(payment=payment, actor=OPERATOR, reason="gone")
    ExchangeOrder.objects.filter(payment=payment).update(provider_status="exchanging")

    with pytest.raises(RefusedError, match="no longer what would be done"):
        approve(approval=proposal, actor=SECOND, reason="gone")
    reject(approval=proposal, actor=SECOND, reason="it moves again")

    assert fresh(payment).status == "final"
    assert not WriteOff.objects.exists()


def test_i14_neither_one_person_nor_a_late_one_gives_anything_up(swaps: Swaps) -> None:
    payment = lost_batch(swaps)
    proposal = propose_write_off(payment=payment, actor=OPERATOR, reason="gone")

    with pytest.raises(RefusedError, match="another person must decide"):
        approve(approval=proposal, actor=OPERATOR, reason="I am sure")
    with pytest.raises(RefusedError, match="proposed it already"):
        propose_write_off(payment=payment, actor=SECOND, reason="gone")
    with unguarded(Approval):
        Approval.objects.update(expires_at=clock.now())
    with pytest.raises(RefusedError, match="ran out"):
        approve(approval=Approval.objects.get(), actor=SECOND, reason="late")

    assert fresh(payment).status == "final"
    assert not WriteOff.objects.exists()


@pytest.mark.parametrize(
    ("claimed", "says"),
    [(BACK + 1, "brought 0.0145 ETH to the wallet, not 0.014500000000000001 ETH"), (0, "an amount above zero")],
)
def test_f38_an_amount_that_the_chain_contradicts_is_refused(swaps: Swaps, claimed: int, says: str) -> None:
    payment = lost(swaps)
    tx_hash = paid_by_contract(swaps, BACK)

    with pytest.raises(RefusedError, match=says):
        propose_refund(payment=payment, tx_hash=tx_hash, units=claimed, actor=OPERATOR, reason="ticket 12")

    assert not Approval.objects.exists()


def test_f38_a_transaction_that_brought_nothing_or_is_not_there_is_no_refund(swaps: Swaps) -> None:
    payment = lost(swaps)

    for tx_hash, says in (
        (Transaction.objects.get().tx_hash, "brought 0 ETH to the wallet"),
        ("0x" + "66" * 32, "is not final on chain"),
        ("0x1234", "A refund is a transaction"),
    ):
        with pytest.raises(RefusedError, match=says):
            propose_refund(payment=payment, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")


def test_f38_where_nothing_is_traced_the_wallets_balance_is_the_limit(swaps: Swaps, settings: Settings) -> None:
    payment = lost(swaps)
    tx_hash = paid_by_contract(swaps, BACK)

    with FaultyNode(swaps.world.anvil.rpc_url) as node, through(node.url, settings):
        no_such_method = {"code": -32601, "message": "the method does not exist"}
        node.say("debug_traceTransaction", times=9, error=no_such_method)
        with pytest.raises(RefusedError, match=r"brought 0\.0145 ETH to the wallet"):
            propose_refund(payment=payment, tx_hash=tx_hash, units=BACK + 1, actor=OPERATOR, reason="ticket 12")
        proposal = propose_refund(payment=payment, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")

    assert proposal.payload["proof"] == f"the wallet's balance rose by {format_units(BACK, ETH)} in its block"
    approve(approval=proposal, actor=SECOND, reason="seen on chain")
    assert fresh(payment).refunded_units == BACK


def test_f38_where_nothing_is_traced_what_is_booked_of_a_block_is_not_there_twice(
    swaps: Swaps, settings: Settings
) -> None:
    first, second = lost(swaps), lost(swaps)
    one, other = paid_by_contracts_at_once(swaps, {CONTRACT: BACK, OTHER_CONTRACT: SENT - BACK})

    with untraced(swaps, settings):
        # Of two in one block neither is proven, and the block's rise is a limit for both together.
        book(first, one, BACK)
        with pytest.raises(
            RefusedError, match=r"brought 0\.0005 ETH to the wallet, not 0\.0145 ETH, as 0\.0145 ETH of its"
        ):
            propose_refund(payment=second, tx_hash=other, units=BACK, actor=OPERATOR, reason="ticket 13")
        proposal = book(second, other, SENT - BACK)

    assert proposal.payload["proof"] == (
        "the wallet's balance rose by 0.0005 ETH in its block beside 0.0145 ETH that are booked of it"
    )
    assert [int(each.units) for each in Refund.objects.order_by("pk")] == [BACK, SENT - BACK]


def test_f38_of_two_accepted_at_one_moment_by_the_balance_of_one_block_one_is_booked(
    swaps: Swaps, settings: Settings
) -> None:
    first, second = lost(swaps), lost(swaps)
    # The block brought enough for either amount, and not for both.
    one, other = paid_by_contracts_at_once(swaps, {CONTRACT: BACK, OTHER_CONTRACT: SENT - BACK})

    with untraced(swaps, settings), crew(2) as workers:
        proposals = [
            propose_refund(payment=payment, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")
            for payment, tx_hash in ((first, one), (second, other))
        ]
        with transaction.atomic():
            hold_block(first.wallet.chain_id, int(proposals[0].payload["refund_block"]))
            approved = [
                workers.start(partial(approve, approval=proposal, actor=SECOND, reason="seen on chain"))
                for proposal in proposals
            ]
            # Both have asked the chain, which knew of no booking.
            wait_until_blocked(2)
        refused = [error for error in (each.exception() for each in approved) if error is not None]

    assert [type(error) for error in refused] == [RefusedError]
    assert "more was booked since this was proposed" in str(refused[0])
    assert [int(each.units) for each in Refund.objects.all()] == [BACK]
    assert sorted((fresh(first).status, fresh(second).status)) == ["final", "refunded"]
    assert broken() == []


def test_f38_a_part_that_stood_by_its_word_alone_leaves_the_rest_to_a_trace(swaps: Swaps, settings: Settings) -> None:
    first, second, third = lost(swaps), lost(swaps), lost(swaps)
    tx_hash = paid_by_contract(swaps, 2 * BACK)
    with untraced(swaps, settings):
        book(first, tx_hash, BACK)

    book(second, tx_hash, BACK - 1, is_part=True)

    assert [int(each.brought_units) for each in Refund.objects.order_by("pk")] == [BACK, 2 * BACK]
    assert fresh(second).refunded_units == BACK - 1
    with pytest.raises(RefusedError, match="was credited to another order before"):
        propose_refund(payment=third, tx_hash=tx_hash, units=2, actor=OPERATOR, reason="more", is_part=True)
    # By what the books know of it, now that a part of it was traced once.
    with untraced(swaps, settings):
        last = book(third, tx_hash, 1, is_part=True)
    assert last.payload["proof"] == (
        "by a part of it that is booked it brings 0.029 ETH in all, of which this is a part to the wallet"
    )
    assert sum(int(each.units) for each in Refund.objects.all()) == 2 * BACK
    assert broken() == []


def test_f38_what_cannot_be_approved_is_not_proposed_either(swaps: Swaps, settings: Settings) -> None:
    payment = lost(swaps)
    tx_hash = paid_by_contract(swaps, 2 * BACK)
    with untraced(swaps, settings):
        book(payment, tx_hash, BACK)
    swaps.look_until(lambda: fresh(payment).delivered_at is not None)

    # Its own share counts like another's.
    with pytest.raises(
        RefusedError, match=r"0\.0145 ETH are credited already, and 0\.014500000000000001 ETH are not left"
    ):
        propose_refund(
            payment=fresh(payment), tx_hash=tx_hash, units=BACK + 1, actor=OPERATOR, reason="the rest", is_part=True
        )
    book(fresh(payment), tx_hash, BACK, is_part=True)

    assert (int(Refund.objects.get().units), int(LateReturn.objects.get().units)) == (BACK, BACK)
    assert broken() == []


def test_f38_a_trace_that_contradicts_what_is_booked_of_it_proves_nothing(swaps: Swaps) -> None:
    first, second = lost(swaps), lost(swaps)
    tx_hash = paid_by_contract(swaps, 2 * BACK)
    book(first, tx_hash, BACK, is_part=True)
    with unguarded(Refund):
        Refund.objects.update(brought_units=3 * BACK)

    with pytest.raises(RefusedError, match=r"brought 0\.029 ETH, and a part of it is booked as of 0\.0435 ETH"):
        propose_refund(payment=second, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 13", is_part=True)

    assert Approval.objects.filter(decision="").count() == 0


def test_f38_where_the_nodes_keep_nothing_it_is_the_word_of_two_and_says_so(swaps: Swaps, settings: Settings) -> None:
    payment = lost(swaps)
    tx_hash = paid_by_contract(swaps, BACK)

    with FaultyNode(swaps.world.anvil.rpc_url) as node, through(node.url, settings):
        pruned = {"code": -32000, "message": "missing trie node"}
        node.say("debug_traceTransaction", times=9, error=pruned)
        node.say("eth_getBalance", times=9, error=pruned)
        proposal = propose_refund(payment=payment, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")
        approve(approval=proposal, actor=SECOND, reason="on the explorer")

    assert "by the word of two people" in fresh(payment).status_changes.get(to_status="refunded").reason


def test_f38_a_node_that_is_away_is_no_proof(swaps: Swaps, settings: Settings) -> None:
    payment = lost(swaps)
    tx_hash = paid_by_contract(swaps, BACK)

    with FaultyNode(swaps.world.anvil.rpc_url) as node, through(node.url, settings):
        node.lose_request("debug_traceTransaction", times=9)
        with pytest.raises(ProviderError):
            propose_refund(payment=payment, tx_hash=tx_hash, units=BACK, actor=OPERATOR, reason="ticket 12")

    assert not Approval.objects.exists()


def test_a_review_of_what_is_under_way_is_not_closed_like_that(swaps: Swaps) -> None:
    payment = lost(swaps)

    with pytest.raises(RefusedError, match="No review of an ended payment"):
        services.close_review(payment=payment, actor=OPERATOR, reason="go away")

    assert fresh(payment).review_reason != ""


def lost(swaps: Swaps) -> HostPayment:
    """At an exchange that says it failed, for two days now."""
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"fail": "after_deposit"}))
    long_ago(payment, TWO_DAYS)
    return fresh(payment)


def lost_batch(swaps: Swaps) -> HostPayment:
    swaps.world.exchange.set(outcome={"fail": "after_deposit"})
    payment = swaps.world.drive_to_review(batch_payment())
    long_ago(payment, TWO_DAYS)
    return fresh(payment)


def batch_payment() -> HostPayment:
    factories.policy("20")
    factories.accumulations("20", "10")
    check_threshold(actor=factories.ACTOR)
    return HostPayment.objects.get(context="batch")


def written_off(swaps: Swaps, payment: HostPayment) -> HostPayment:
    proposal = propose_write_off(payment=payment, actor=OPERATOR, reason="they are bankrupt")
    approve(approval=proposal, actor=SECOND, reason="so it is")
    return fresh(payment)


def book(payment: HostPayment, tx_hash: str, units: int, *, is_part: bool = False) -> Approval:
    """As two people would."""
    proposal = propose_refund(
        payment=payment, tx_hash=tx_hash, units=units, actor=OPERATOR, reason="ticket 12", is_part=is_part
    )
    return approve(approval=proposal, actor=SECOND, reason="seen on chain")


@contextmanager
def untraced(swaps: Swaps, settings: Settings) -> Iterator[None]:
    """Within, no node traces a transaction."""
    with FaultyNode(swaps.world.anvil.rpc_url) as node, through(node.url, settings):
        node.say("debug_traceTransaction", times=99, error={"code": -32601, "message": "the method does not exist"})
        yield


def pays_after_all(swaps: Swaps, payment: HostPayment) -> None:
    """The exchange says that it finished, and names a transaction that brought the USDT."""
    order_id = order_of(payment).provider_order_id
    swaps.world.exchange.control("POST", f"exchanges/{order_id}", {"status": "finished", "freeze": True})
    swaps.answer_by_id("payoutHash", pay_usdt(swaps, 29_750_000))


def pay_usdt(swaps: Swaps, units: int) -> str:
    """USDT for the host wallet, by a transfer that is final; its hash."""
    anvil, owner, usdt = swaps.world.anvil, swaps.world.anvil.rpc("eth_accounts")[1], swaps.world.usdt_contract_address
    tx_hash = ""
    for data in (
        token_call("issue(uint256)", units),
        token_call("transfer(address,uint256)", swaps.world.wallet_address, units),
    ):
        tx_hash = anvil.send({"from": owner, "to": usdt, "data": data, "gas": hex(300_000)})
        anvil.node.wait_for_receipt(tx_hash)
    anvil.mine(5)
    return tx_hash


def comes_back(swaps: Swaps, payment: HostPayment, tx_hash: str) -> str:
    """The exchange says that it refunded the payment, by that transaction."""
    order_id = order_of(payment).provider_order_id
    swaps.world.exchange.control("POST", f"exchanges/{order_id}", {"status": "refunded", "freeze": True})
    swaps.answer_by_id("refundHash", tx_hash)
    return tx_hash


def payer_of(swaps: Swaps) -> str:
    """The account that the exchange has paid us from."""
    return Receipt.objects.values_list("from_address", flat=True)[0]


def transfer_of(swaps: Swaps, wei: int, *, sender: str = STRANGER) -> str:
    return sent_by_stranger(swaps, {"to": swaps.world.wallet_address, "value": hex(wei)}, sender=sender)


def paid_by_contract(swaps: Swaps, wei: int) -> str:
    """ETH for the host wallet out of a contract that somebody calls without any; final; its hash."""
    fund_contract(swaps, CONTRACT, wei)
    return sent_by_stranger(swaps, {"to": CONTRACT, "gas": hex(100_000)})


def paid_by_contracts_at_once(swaps: Swaps, brings: dict[str, int]) -> list[str]:
    """The same in one block, for each contract what it brings; their hashes."""
    anvil = swaps.world.anvil
    anvil.rpc("anvil_setBalance", STRANGER, hex(10**20))
    anvil.rpc("anvil_impersonateAccount", STRANGER)
    hashes = []
    with no_blocks(anvil):
        for contract, wei in brings.items():
            fund_contract(swaps, contract, wei)
            call = {"from": STRANGER, "to": contract, "gas": hex(100_000)}
            hashes.append(anvil.send(call))
        anvil.mine()
    anvil.rpc("anvil_stopImpersonatingAccount", STRANGER)
    assert len({anvil.node.wait_for_receipt(tx_hash)["blockNumber"] for tx_hash in hashes}) == 1
    anvil.mine(5)
    return hashes


def fund_contract(swaps: Swaps, contract: str, wei: int) -> None:
    """Whoever calls it has the wallet called with all that it has."""
    wallet = swaps.world.wallet_address[2:]
    swaps.world.anvil.rpc("anvil_setCode", contract, f"0x60006000600060004773{wallet}5af100")
    swaps.world.anvil.rpc("anvil_setBalance", contract, hex(wei))


def sent_by_stranger(swaps: Swaps, transaction: dict[str, str], *, sender: str = STRANGER) -> str:
    anvil = swaps.world.anvil
    anvil.rpc("anvil_setBalance", sender, hex(10**20))
    anvil.rpc("anvil_impersonateAccount", sender)
    tx_hash = anvil.send({"from": sender, **transaction})
    anvil.rpc("anvil_stopImpersonatingAccount", sender)
    anvil.node.wait_for_receipt(tx_hash)
    anvil.mine(5)
    return tx_hash


def broken() -> list[str]:
    """What no longer holds, but for the liveness of workers, which a test is not."""
    return [str(finding) for finding in examine() if not finding.holds and finding.invariant.id != "I16"]
