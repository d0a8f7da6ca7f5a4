"""F38: an exchange that fails before our ETH or after it, and refunds that come, come short, or never come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from batches.models import BatchConversion
from batches.services import check_threshold
from config.invariants import examine
from config.lib.errors import RefusedError
from hostpay.models import (
    Approval,
    ExchangeOrder,
    HostPayment,
    LateReturn,
    OrderStatus,
    Receipt,
    Refund,
    Transaction,
    Wallet,
)
from hostpay.services import approve, propose_refund
from hostpay.services.refunding import Returned, close_refunded, find_refund
from payouts.models import Accumulation
from tests import factories
from tests.lib.concurrency import crew, wait_until_blocked
from tests.lib.swaps import OPERATOR, SECOND, Swaps, fresh, long_ago, order_of

pytestmark = pytest.mark.django_db(transaction=True)

SENT = 15 * 10**15
FEE = 5 * 10**14
STRANGER = "0x" + "12" * 20


def test_f38_an_exchange_that_failed_before_our_eth_is_not_paid_and_the_members_are_released(swaps: Swaps) -> None:
    payment = batch_payment()
    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)
    swaps.world.exchange.force(order_of(payment).provider_order_id or "", "failed")
    ExchangeOrder.objects.update(status_changed_at=timezone.now() - timedelta(minutes=2))
    sent_before = swaps.world.sent_transactions()

    swaps.look_until(lambda: fresh(payment).delivered_at is not None)

    ended = fresh(payment)
    assert ended.status == "failed"
    assert "is failed, and nothing was paid to it" in ended.failure_reason
    assert ExchangeOrder.objects.get().status == OrderStatus.FAILED
    assert BatchConversion.objects.get().status == "failed"
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert not Accumulation.objects.filter(batch_conversion__isnull=False).exists()
    assert not Transaction.objects.exists()
    assert swaps.world.sent_transactions() == sent_before


def test_f38_failed_after_our_eth_is_for_a_person_and_releases_nobody(swaps: Swaps) -> None:
    payment = batch_payment()
    swaps.world.exchange.set(outcome={"fail": "after_deposit"})

    payment = swaps.world.drive_to_review(payment)

    assert "with our 0.015 ETH is failed at the provider: ask it for the refund" in payment.review_reason
    assert (payment.status, payment.next_action_at is not None) == ("final", True)
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"swapping"}
    assert not Refund.objects.exists()


def test_f38_a_refund_is_believed_when_it_is_final_and_its_loss_is_booked(swaps: Swaps) -> None:
    paid_before(swaps)
    payment = batch_payment()
    swaps.world.exchange.set(outcome={"refund": "sent"})
    sent_before = swaps.world.sent_transactions()

    swaps.look_until(lambda: fresh(payment).delivered_at is not None)

    ended, refund = fresh(payment), Refund.objects.get()
    assert (ended.status, ended.refunded_units, ended.review_reason) == ("refunded", SENT - FEE, "")
    assert (int(refund.units), int(refund.lost_units)) == (SENT - FEE, FEE)
    assert refund.tx_hash == order_of(payment).refund_hash
    assert order_of(payment).status == OrderStatus.REFUNDED
    assert ended.failure_reason == "the exchange refunded it: 0.0145 ETH came back, 0.0005 ETH did not"
    assert BatchConversion.objects.get().status == "failed"
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert not Accumulation.objects.filter(batch_conversion__isnull=False).exists()
    assert ended.received_units is None
    assert swaps.world.sent_transactions() == sent_before + 1
    assert not Receipt.objects.filter(order__payment=payment).exists()


def test_f38_the_refund_that_a_person_asked_for_is_followed_by_itself(swaps: Swaps) -> None:
    paid_before(swaps)
    payment = swaps.deposited(outcome={"fail": "after_deposit"})
    payment = swaps.world.drive_to_review(payment)

    answer = swaps.world.exchange.http.post(
        "/v2/exchange/refund",
        json={"id": order_of(payment).provider_order_id, "address": swaps.world.wallet_address},
    )

    assert answer.json() == {"result": True}
    payment = swaps.world.drive_to(payment, "refunded")
    assert payment.review_reason == ""
    assert Refund.objects.get().order == order_of(payment)


def test_f38_a_refund_that_never_comes_is_waited_for_and_told_after_its_time(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"refund": "never"})
    swaps.provider_says(payment, "refunded")

    swaps.step()
    waiting = fresh(payment)
    assert "is refunded, and no refund transaction is named" in waiting.waiting_reason
    assert "0.015 ETH" in waiting.waiting_reason
    long_ago(payment, timedelta(days=2))
    swaps.step()

    late = fresh(payment)
    assert late.review_reason == waiting.waiting_reason
    assert (late.status, late.delivered_at, late.next_action_at is not None) == ("final", None, True)
    assert not Refund.objects.exists()


def test_f38_a_refund_that_is_only_said_is_not_believed(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"refund": "never"})
    swaps.provider_says(payment, "refunded")
    swaps.answer_by_id("refundHash", "0x" + "66" * 32)

    swaps.step()

    assert "is not final on chain" in fresh(payment).waiting_reason
    assert fresh(payment).status == "final"


def test_f38_a_transfer_that_is_not_to_us_is_no_refund(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"refund": "never"})
    swaps.provider_says(payment, "refunded")
    swaps.answer_by_id("refundHash", Transaction.objects.get().tx_hash)

    swaps.step()
    long_ago(payment, timedelta(days=2))
    swaps.step()

    assert "is no plain transfer of ETH to the wallet" in fresh(payment).review_reason
    assert not Refund.objects.exists()


def test_f38_a_refund_that_comes_short_is_for_a_person_who_may_take_it(swaps: Swaps) -> None:
    paid_before(swaps)
    swaps.world.exchange.set(refund_fee="0.004")
    payment = swaps.world.drive_to_review(swaps.deposited(outcome={"refund": "sent"}))
    doubt = payment.review_reason
    assert doubt.startswith("0.011 ETH of 0.015 ETH came back in 0x")
    assert doubt.endswith("more than 1000 bps are missing")
    assert not Refund.objects.exists()

    accepted_by_two(payment, order_of(payment).refund_hash, 11 * 10**15)
    payment = fresh(payment)

    assert payment.refunded_units == 11 * 10**15
    assert int(Refund.objects.get().lost_units) == 4 * 10**15
    approval = Approval.objects.get()
    assert Refund.objects.get().approval == approval
    assert (approval.proposed_by, approval.decided_by) == ("admin:olga", "admin:otto")
    assert approval.payload["proof"] == "a plain transfer of exactly that"


def test_f38_one_refund_transaction_ends_one_payment(swaps: Swaps) -> None:
    paid_before(swaps)
    swaps.world.drive_to(swaps.deposited(outcome={"refund": "sent"}), "refunded")
    first = Refund.objects.get()
    second = swaps.deposited(outcome={"refund": "never"})
    swaps.provider_says(second, "refunded")
    swaps.answer_by_id("refundHash", first.tx_hash)

    second = swaps.world.drive_to_review(second)

    assert second.review_reason == (
        f"refund {first.tx_hash} was credited to another order before, with 0.0145 ETH of its 0.0145 ETH"
    )
    with pytest.raises(RefusedError, match="only what the exchange has"):
        accepted_by_two(swaps.request(), first.tx_hash, SENT - FEE)
    with pytest.raises(RefusedError, match="was credited to another order before"):
        accepted_by_two(second, first.tx_hash, SENT - FEE)
    assert fresh(second).status == "final"
    assert Refund.objects.count() == 1


def test_f38_one_transaction_that_brings_two_payments_back_is_divided_to_the_last_wei(swaps: Swaps) -> None:
    paid_before(swaps)
    first, second = (swaps.deposited(outcome={"refund": "never"}) for _ in range(2))
    both = deposit_of(swaps, STRANGER, 2 * SENT - 2 * FEE)
    first = swaps.world.drive_to_review(named_as_refund(swaps, first, both))
    second = swaps.world.drive_to_review(named_as_refund(swaps, second, both))
    assert "more than was sent" in first.review_reason
    with pytest.raises(
        RefusedError, match=r"brought 0\.029 ETH to the wallet, not 0\.0145 ETH.*say that this is a part"
    ):
        accepted_by_two(first, both, SENT - FEE)

    accepted_by_two(first, both, SENT - FEE, is_part=True)

    assert (fresh(first).status, fresh(first).refunded_units) == ("refunded", SENT - FEE)
    # What is left is the other's: its amount fits, and its sender was accepted by two people.
    with pytest.raises(RefusedError, match=r"credited to another order before, with 0\.0145 ETH of its 0\.029 ETH"):
        accepted_by_two(second, both, SENT - FEE + 1, is_part=True)
    second = swaps.world.drive_to(second, "refunded")
    assert second.refunded_units == SENT - FEE
    assert [int(each.units) for each in Refund.objects.all()] == [SENT - FEE] * 2
    assert {int(each.brought_units) for each in Refund.objects.all()} == {2 * SENT - 2 * FEE}
    assert [str(finding) for finding in examine() if not finding.holds and finding.invariant.id != "I16"] == []


def test_f38_two_people_who_divide_the_same_transaction_at_once_give_no_wei_twice(swaps: Swaps) -> None:
    paid_before(swaps)
    payments = [swaps.deposited(outcome={"refund": "never"}) for _ in range(2)]
    both = deposit_of(swaps, STRANGER, SENT + FEE)
    payments = [swaps.world.drive_to_review(named_as_refund(swaps, payment, both)) for payment in payments]
    first, second = payments
    # Each alone is possible: the chain is asked before anything is locked, and nothing was credited yet.
    proposal = propose_refund(
        payment=second, tx_hash=both, units=SENT, actor=OPERATOR, reason="ticket 12", is_part=True
    )
    returned = find_refund(first, order_of(first))
    assert isinstance(returned, Returned)

    with crew() as workers:
        with transaction.atomic():
            close_refunded(
                payment=first,
                current=order_of(first),
                returned=replace(returned, units=SENT),
                actor=OPERATOR,
                reason="as if two people had",
            )
            other = workers.start(partial(approve, approval=proposal, actor=SECOND, reason="seen on chain"))
            wait_until_blocked()
        with pytest.raises(RefusedError, match="another payment was given a part meanwhile"):
            other.result()

    assert [int(each.units) for each in Refund.objects.all()] == [SENT]
    assert (fresh(first).status, fresh(second).status) == ("refunded", "final")
    assert Approval.objects.get().decision == ""


def test_f38_the_database_divides_no_more_than_a_transaction_brought(swaps: Swaps) -> None:
    facts: dict[str, Any] = {
        "chain_id": 31337,
        "tx_hash": "0x" + "ab" * 32,
        "block_number": 1,
        "block_hash": "0x" + "bb" * 32,
        "from_address": STRANGER,
    }
    orders = [order_of(swaps.ordered()) for _ in range(3)]
    Refund.objects.create(order=orders[0], units=6, brought_units=10, lost_units=0, **facts)
    for wrong in (
        {"units": 5, "brought_units": 10},
        {"units": 4, "brought_units": 11},
        {"units": 11, "brought_units": 10},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            LateReturn.objects.create(order=orders[1], **wrong, **facts)
        with pytest.raises(IntegrityError), transaction.atomic():
            Refund.objects.create(order=orders[1], **wrong, lost_units=0, **facts)

    LateReturn.objects.create(order=orders[1], units=3, brought_units=10, **facts)
    Refund.objects.create(order=orders[2], units=1, brought_units=10, lost_units=0, **facts)

    with pytest.raises(IntegrityError), transaction.atomic():
        LateReturn.objects.create(order=orders[2], units=1, brought_units=10, **facts)


def test_f38_the_database_takes_a_portion_of_unknown_whole_as_at_least_so_much(swaps: Swaps) -> None:
    facts: dict[str, Any] = {
        "chain_id": 31337,
        "block_number": 1,
        "block_hash": "0x" + "bb" * 32,
        "from_address": STRANGER,
    }
    orders = [order_of(swaps.ordered()) for _ in range(2)]
    by_word, too_much = "0x" + "ab" * 32, "0x" + "cd" * 32
    Refund.objects.create(order=orders[0], tx_hash=by_word, units=6, brought_units=6, lost_units=0, **facts)
    with pytest.raises(IntegrityError), transaction.atomic():
        LateReturn.objects.create(order=orders[1], tx_hash=by_word, units=1, brought_units=1, **facts)
    with pytest.raises(IntegrityError), transaction.atomic():
        LateReturn.objects.create(order=orders[1], tx_hash=by_word, units=5, brought_units=10, **facts)

    LateReturn.objects.create(order=orders[1], tx_hash=by_word, units=4, brought_units=10, **facts)

    with pytest.raises(IntegrityError), transaction.atomic():
        LateReturn.objects.create(order=orders[0], tx_hash=by_word, units=1, brought_units=10, **facts)
    # A word that was too large leaves nothing, and does not raise what is proven.
    LateReturn.objects.create(order=orders[0], tx_hash=too_much, units=12, brought_units=12, **facts)
    with pytest.raises(IntegrityError), transaction.atomic():
        LateReturn.objects.create(order=orders[1], tx_hash=too_much, units=1, brought_units=10, **facts)


def test_f38_a_purpose_whose_money_came_back_may_be_requested_anew(swaps: Swaps) -> None:
    paid_before(swaps)
    first = swaps.world.drive_to(swaps.deposited(outcome={"refund": "sent"}), "refunded")

    again = swaps.request(reference=first.reference)

    assert again.pk != first.pk
    assert swaps.world.drive_to(again, "settled").received_units == 29_750_000


def test_f38_a_strangers_transfer_from_before_our_deposit_ends_no_payment(swaps: Swaps) -> None:
    payment = swaps.ordered()
    older = deposit_of(swaps, STRANGER)
    swaps.world.exchange.outcome(order_of(payment).provider_order_id or "", refund="never")
    payment = named_as_refund(swaps, swaps.world.drive_to_final(payment), older)

    payment = swaps.world.drive_to_review(payment)
    assert payment.review_reason == f"refund {older} is older than our deposit"
    with pytest.raises(RefusedError, match="is older than our deposit"):
        accepted_by_two(payment, older, SENT)

    assert fresh(payment).status == "final"
    assert not Refund.objects.exists()


def test_f38_a_strangers_transfer_from_after_our_deposit_ends_a_payment_only_if_a_person_wants_it(swaps: Swaps) -> None:
    paid_before(swaps)
    payment = swaps.deposited(outcome={"refund": "never"})
    later = deposit_of(swaps, STRANGER)
    payment = named_as_refund(swaps, payment, later)

    payment = swaps.world.drive_to_review(payment)

    assert payment.review_reason == (
        f"0.015 ETH of 0.015 ETH came back in {later}: {STRANGER} has never paid us for an exchange before"
    )
    assert not Refund.objects.exists()
    accepted_by_two(payment, later, SENT)
    assert (fresh(payment).status, fresh(payment).refunded_units) == ("refunded", SENT)
    assert Refund.objects.get().tx_hash == later


def test_f38_a_transfer_between_our_own_wallets_ends_no_payment(swaps: Swaps) -> None:
    payment = swaps.deposited(outcome={"refund": "never"})
    Wallet.objects.create(address=STRANGER, chain_id=payment.wallet.chain_id)
    ours = deposit_of(swaps, STRANGER)
    payment = named_as_refund(swaps, payment, ours)

    payment = swaps.world.drive_to_review(payment)

    assert payment.review_reason == f"refund {ours} comes from {STRANGER}, a wallet of our own"
    assert not Refund.objects.exists()


def test_f38_a_refund_named_beside_a_payout_that_is_final_ends_no_payment(swaps: Swaps) -> None:
    payout = paid_before(swaps)
    payment = swaps.deposited(outcome={"refund": "sent"})
    swaps.answer_by_id("payoutHash", payout)

    payment = swaps.world.drive_to_review(payment)

    named = order_of(payment).refund_hash
    assert payment.review_reason == f"refund {named} is named, and so is {payout}, a payout that is final on chain"
    assert not Refund.objects.exists()


def accepted_by_two(payment: HostPayment, tx_hash: str, units: int, *, is_part: bool = False) -> None:
    """What one operator read off the chain, and another has looked at too."""
    proposal = propose_refund(
        payment=payment, tx_hash=tx_hash, units=units, actor=OPERATOR, reason="ticket 12", is_part=is_part
    )
    approve(approval=proposal, actor=SECOND, reason="seen on chain")


def deposit_of(swaps: Swaps, sender: str, wei: int = SENT) -> str:
    """A transfer of what our payments send, or of another amount, from `sender` to the host wallet, final on chain; its hash."""
    anvil = swaps.world.anvil
    anvil.rpc("anvil_setBalance", sender, hex(10**20))
    anvil.rpc("anvil_impersonateAccount", sender)
    sent = anvil.send({"from": sender, "to": swaps.world.wallet_address, "value": hex(wei)})
    anvil.rpc("anvil_stopImpersonatingAccount", sender)
    anvil.mine(5)
    return sent


def named_as_refund(swaps: Swaps, payment: HostPayment, tx_hash: str) -> HostPayment:
    """From now on the provider says that it refunded, by that transaction."""
    swaps.provider_says(payment, "refunded")
    swaps.answer_by_id("refundHash", tx_hash)
    return fresh(payment)


def paid_before(swaps: Swaps) -> str:
    """One exchange that went well, so that the provider's wallet is known; the hash of its payout."""
    return order_of(swaps.world.drive_to(swaps.request(), "settled")).payout_hash


def batch_payment() -> HostPayment:
    """Of a batch of two members worth 30 dollars together."""
    factories.policy("20")
    factories.accumulations("20", "10")
    check_threshold(actor=factories.ACTOR)
    return HostPayment.objects.get(context="batch")
