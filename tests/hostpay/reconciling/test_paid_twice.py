"""What stands between books that know too little and a second payment: each guard on its own, the others opened by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from config.lib.errors import RefusedError
from config.reconciliation import reconcile
from hostpay import gateways, services
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, Scope, Wallet
from hostpay.services import halting
from hostpay.services.reconciling import attach_order, attaching, line, readopt_sent, sign_off
from hostpay.services.reconciling.runs import lines_of
from tests.hostpay.chain import ALICE, look, ordered, use_key_elsewhere
from tests.hostpay.reconciling.books import line_of, reconciled, settle_books
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

    # Nor is the payment closed by hand meanwhile.
    with pytest.raises(RefusedError, match=f"paid order .* of payment {payment.pk}: its money has left"):
        services.close_unsent(payment=payment, actor=ALICE, reason="it stands still")
    with pytest.raises(RefusedError, match=f"which the books do not know, paid order .* of payment {payment.pk}"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")

    assert Wallet.objects.get().halted_at is not None


def test_f69_a_halt_is_not_lifted_while_a_paid_order_belongs_to_nobody(swaps: Swaps) -> None:
    payment, order_id = _forgotten(swaps)
    look(payment)

    with pytest.raises(RefusedError, match=f"Our own key paid order {order_id} by 0x") as refused:
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
    order_id = order_of(payment).provider_order_id or ""
    restore_from_before_the_order(payment)
    return HostPayment.objects.select_related("wallet").get(pk=payment.pk), order_id


def test_f69_books_that_have_signed_nothing_find_what_paid_their_order_however_much_came_after(
    swaps: Swaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_key_elsewhere(swaps.world)
    payment = swaps.ordered(30)
    _forget_all_signatures(payment, None)
    look(payment)
    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it was my own before")
    payment = swaps.world.drive_to(payment, "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    sent = swaps.world.sent_transactions()
    _forget_all_signatures(payment, nonce)
    for _ in range(3):
        use_key_elsewhere(swaps.world)
    swaps.world.anvil.mine(3)
    monkeypatch.setattr(line, "MOST_LOOKED_UP", 1)
    payment = look(payment)
    assert "and these books have signed none" in Wallet.objects.get().halted_reason

    with pytest.raises(
        RefusedError, match=r"The wallet has sent more than the books know, and \d+ of it were not looked"
    ):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it was my own before")
    bounded = reconciled("chain")
    (told,) = [each for each in lines_of(bounded) if "not looked up" in each.theirs]
    assert (told.verdict, told.is_acceptable) == ("differs", False)

    # What the wallet sent before the order is nobody's payment, and what came after it is looked up one by one.
    done = readopt_sent(actor=ALICE, reason="restored", is_whole=True)
    assert ([each.slot.nonce for each in done.adopted], done.is_open) == ([nonce], False)
    assert [each.row for each in done.left if each.row.startswith("nonces 0 to ")]
    run = reconcile(scope=Scope.CHAIN, actor=ALICE, is_whole=True)
    sign_off(run=run, actor=ALICE, reason="my own sweeps")
    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="my own sweeps")
    swaps.world.drive_to(payment, "settled")
    assert swaps.world.sent_transactions() == sent + 3


def test_f48_a_long_past_from_before_the_first_order_is_looked_up_no_more_and_told(
    swaps: Swaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        use_key_elsewhere(swaps.world)
    payment = swaps.ordered()
    used = gateways.node().nonce(payment.wallet.address)
    _forget_all_signatures(payment, None)
    monkeypatch.setattr(line, "MOST_LOOKED_UP", 1)
    look(payment)

    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it was my own before")

    assert Wallet.objects.get().next_nonce == used
    told = line_of(reconciled("chain"), f"nonces 0 to {used - 1} of {swaps.world.wallet_address}")
    assert (told.theirs, told.is_acceptable) == ("used before the first payment of our books", True)
    # Signed off once, it is known when the first payment has its nonce, too.
    sign_off(run=reconcile(scope=Scope.CHAIN, actor=ALICE, is_whole=True), actor=ALICE, reason="my own before")
    swaps.world.drive_to(payment, "final", "settled")
    assert NonceSlot.objects.get().nonce == used
    assert line_of(reconciled("chain"), told.row).verdict == "accepted"


@pytest.mark.parametrize("blocks", [1000, 1])
def test_f69_where_the_states_since_the_first_order_are_pruned_its_blocks_are_read_or_a_person_vouches(
    swaps: Swaps, settings: Settings, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    payment = swaps.deposited(30)
    _forget_all_signatures(payment, NonceSlot.objects.get(payment=payment).nonce)
    swaps.world.anvil.mine(300)
    look(payment)
    monkeypatch.setattr(line, "_MOST_BLOCKS_READ", blocks)

    if blocks == 1:
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="I vouch for it")
        assert Wallet.objects.get().halted_at is None
        # And the exchange knows all the same.
        payment = look(payment)
        assert "nothing was signed" in payment.review_reason + payment.waiting_reason
        assert payment.status == "ordered"
        return
    with pytest.raises(RefusedError, match=f"which the books do not know, paid order .* of payment {payment.pk}"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it was my own before")


@pytest.mark.parametrize("is_named", [True, False])
def test_f69_an_order_attached_late_to_books_that_have_signed_nothing_is_adopted(
    swaps: Swaps, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    payment = swaps.deposited(30)
    order_id = order_of(payment).provider_order_id or ""
    restore_from_before_the_order(payment)
    with unguarded(Wallet):
        Wallet.objects.update(next_nonce=None)
    if not is_named:
        swaps.answer_by_id("payinHash", None)
    # As if a day had gone by since it was paid: by the clock alone the order would be younger than its payment.
    monkeypatch.setattr(attaching, "FUNDABLE_FOR", timedelta(hours=-12))
    swaps.world.anvil.mine(3)

    attach_order(payment=fresh(payment), order_id=order_id, actor=ALICE, reason="the only one")

    done = readopt_sent(actor=ALICE, reason="restored")
    assert [each.slot.payment for each in done.adopted] == [payment]


def _forget_all_signatures(payment: HostPayment, nonce: int | None) -> None:
    """Books from before the first payment, whose first order is younger than whatever came before it on chain."""
    if nonce is not None:
        restore_from_before_the_signature(payment, nonce)
    node = gateways.node()
    wallet = payment.wallet.address
    before = node.block_number()
    while nonce is not None and node.nonce(wallet, before) > nonce:
        before -= 1
    # Blocks of this chain share a second.
    moment = node.block(before).timestamp + (1 if nonce is None else 0)
    first = datetime.fromtimestamp(moment, UTC) + line._CLOCKS_APART
    with unguarded(Wallet, ExchangeOrder, HostPayment):
        Wallet.objects.update(next_nonce=None)
        ExchangeOrder.objects.update(created_at=first)
        HostPayment.objects.update(created_at=first)
