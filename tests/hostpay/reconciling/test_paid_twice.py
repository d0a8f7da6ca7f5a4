"""What stands between books that know too little and a second payment: each guard on its own, the others opened by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, Wallet
from hostpay.services import halting
from hostpay.services.reconciling import attach_order, readopt_sent
from tests.hostpay.chain import ALICE, look, ordered
from tests.hostpay.reconciling.books import settle_books
from tests.hostpay.reconciling.test_attaching import restore_from_before_the_order
from tests.hostpay.test_ordering import lose_answer
from tests.hostpay.test_outages import restore_from_before_the_signature
from tests.lib.swaps import Swaps, fresh, order_of
from tests.lib.unguarded import unguarded

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("word", ["expired", "failed", "waiting"])
def test_f69_an_order_that_holds_our_deposit_is_not_given_up_whatever_it_is_called(swaps: Swaps, word: str) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    payment = swaps.deposited(30)
    swaps.seen_by_provider(payment)
    sent = swaps.world.sent_transactions()
    restore_from_before_the_signature(payment, NonceSlot.objects.get(payment=payment).nonce)
    swaps.world.exchange.force(order_of(payment).provider_order_id or "", word)

    # The first look of a running signer ends nothing: the chain is asked before the exchange.
    payment = look(payment)
    assert (payment.status, payment.orders.count()) == ("ordered", 1)
    assert "used elsewhere" in Wallet.objects.get().halted_reason

    # And should the line look well, the exchange still knows what it got.
    halting.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")
    services.retry_payment(payment=payment, actor=ALICE, reason="go on")
    payment = look(payment)

    assert (payment.status, payment.orders.count()) == ("ordered", 1)
    assert f"is {word} and has a deposit of 0.015 ETH by 0x" in payment.review_reason
    assert swaps.world.sent_transactions() == sent


def test_f69_f48_a_wallet_with_a_past_signs_its_first_payment_only_when_a_person_has_confirmed_it(swaps: Swaps) -> None:
    swaps.deposited(20)
    sent = swaps.world.sent_transactions()
    payment = ordered(swaps.world)
    with unguarded(Wallet):
        Wallet.objects.update(next_nonce=None)

    payment = look(payment)

    assert "and these books have signed none" in Wallet.objects.get().halted_reason
    assert (payment.status, payment.review_reason) == ("ordered", "")
    assert "the wallet is halted" in payment.waiting_reason
    assert swaps.world.sent_transactions() == sent

    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it was my own before")

    swaps.world.drive_to(payment, "final", "settled")
    assert swaps.world.sent_transactions() == sent + 1


def test_f69_a_halt_is_not_lifted_over_a_transaction_that_paid_an_order_of_ours(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    payment = swaps.deposited(30)
    restore_from_before_the_signature(payment, NonceSlot.objects.get(payment=payment).nonce)
    payment = look(payment)
    # Whatever becomes of the payment by hand meanwhile.
    services.close_unsent(payment=payment, actor=ALICE, reason="it stands still")

    with pytest.raises(RefusedError, match=f"which the books do not know, paid order .* of payment {payment.pk}"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")

    assert Wallet.objects.get().halted_at is not None


def test_f69_a_halt_is_not_lifted_while_a_paid_order_belongs_to_nobody(swaps: Swaps) -> None:
    payment, order_id = _forgotten(swaps)
    look(payment)

    with pytest.raises(RefusedError, match=f"has order {order_id} of ours with a deposit") as refused:
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")

    assert "Attach it" in refused.value.next_step
    assert Wallet.objects.get().halted_at is not None


def test_f69_a_forgotten_order_values_the_dollars_that_the_books_never_valued(swaps: Swaps) -> None:
    payment, order_id = _forgotten(swaps, unpriced_usd=Decimal(10), expected_usd=Decimal(40))
    priced = int(payment.priced_units or 0)
    with unguarded(HostPayment):
        HostPayment.objects.filter(pk=payment.pk).update(priced_units=None)
    sent = swaps.world.sent_transactions()
    readopt_sent(actor=ALICE, reason="restored")

    attach_order(payment=fresh(payment), order_id=order_id, actor=ALICE, reason="the only one of 0.02 ETH")
    done = readopt_sent(actor=ALICE, reason="restored")

    assert (fresh(payment).priced_units, len(done.adopted), done.is_open) == (priced, 1, True)
    swaps.world.drive_to(payment, "settled")
    assert swaps.world.sent_transactions() == sent


def test_f69_a_payment_that_was_refused_a_paid_order_waits_for_a_person(swaps: Swaps) -> None:
    payment, order_id = _forgotten(swaps, unpriced_usd=Decimal(10), expected_usd=Decimal(40))
    with unguarded(HostPayment):
        HostPayment.objects.filter(pk=payment.pk).update(priced_units=None, unpriced_usd=Decimal(20))
    readopt_sent(actor=ALICE, reason="restored")

    with pytest.raises(RefusedError, match=r"takes ether worth .* for 20 USD that were never valued"):
        attach_order(payment=fresh(payment), order_id=order_id, actor=ALICE, reason="restored")

    assert f"exchange {order_id} is paid, and was not attached" in fresh(payment).review_reason
    assert look(payment).status == "requested"


def test_f69_an_order_that_expired_unpaid_is_attached_to_nothing(swaps: Swaps) -> None:
    payment, _ = _forgotten(swaps)
    readopt_sent(actor=ALICE, reason="restored")
    unpaid = order_of(look(swaps.request(30), may_sign=False)).provider_order_id or ""
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.filter(provider_order_id=unpaid).update(provider_order_id="moved")

    for word in ("expired", "failed", "odd"):
        swaps.world.exchange.force(unpaid, word)
        with pytest.raises(RefusedError, match="nobody has paid it"):
            attach_order(payment=fresh(payment), order_id=unpaid, actor=ALICE, reason="restored")


def test_f69_an_order_that_somebody_else_paid_is_attached_to_nothing(swaps: Swaps) -> None:
    payment, _ = _forgotten(swaps)
    readopt_sent(actor=ALICE, reason="restored")
    other = order_of(look(swaps.request(30), may_sign=False))
    order_id = other.provider_order_id or ""
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.filter(pk=other.pk).update(
            provider_order_id="moved", payin_address="0x" + "0" * 38 + "B2"
        )
    swaps.world.exchange.force(order_id, "finished")

    with pytest.raises(RefusedError, match=r"the chain shows no transaction of .* that paid it"):
        attach_order(payment=fresh(payment), order_id=order_id, actor=ALICE, reason="restored")


def test_f69_no_order_that_was_paid_is_given_up_for_another_one(swaps: Swaps) -> None:
    payment, order_id = _forgotten(swaps)
    payment = look(payment)
    readopt_sent(actor=ALICE, reason="restored")
    swaps.world.exchange.force(order_of(payment).provider_order_id or "", "exchanging")

    with pytest.raises(RefusedError, match=r"The payment has order .* already, and that one has a deposit"):
        attach_order(payment=payment, order_id=order_id, actor=ALICE, reason="restored")

    assert not ExchangeOrder.objects.filter(provider_order_id=order_id).exists()


def test_f28_an_order_whose_answer_was_lost_and_that_was_paid_is_not_made_again(swaps: Swaps) -> None:
    lose_answer(swaps.world)
    payment = swaps.request()
    swaps.world.step_all(may_sign=False)
    (row,) = swaps.books()
    swaps.world.exchange.force(row["id"], "finished")

    payment = swaps.world.drive_to_review(payment)

    assert f"--attach {row['id']} --payment {payment.pk}" in payment.review_reason
    assert (payment.status, ExchangeOrder.objects.get().is_current) == ("requested", True)
    services.retry_payment(payment=payment, actor=ALICE, reason="go on")
    assert f"--attach {row['id']}" in swaps.world.drive_to_review(payment).review_reason
    assert len(swaps.books()) == 1


def _forgotten(swaps: Swaps, **columns: Any) -> tuple[HostPayment, str]:
    """A payment whose order and transaction the books do not know any more, and the order's id."""
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    payment = swaps.deposited(30, **columns)
    swaps.seen_by_provider(payment)
    order_id = order_of(payment).provider_order_id or ""
    restore_from_before_the_order(payment)
    return HostPayment.objects.select_related("wallet").get(pk=payment.pk), order_id
