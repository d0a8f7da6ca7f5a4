"""A batch is paid, the books come from a backup, and somebody gives its members back: they are paid once all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction
from pytest_django import Settings

from batches.models import BatchConversion
from batches.services import check_threshold, release_batch
from batches.services.settling import give_back
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, Wallet
from hostpay.services import halting
from hostpay.services.reconciling import attach_order, readopt_sent, sign_off
from payouts.models import Accumulation, AccumulationStatus
from payouts.services import hold_accumulation
from tests import factories
from tests.hostpay.chain import ALICE, BOB, look, ordered, through
from tests.hostpay.reconciling.books import line_of, reconciled, settle_books
from tests.hostpay.reconciling.test_attaching import restore_from_before_the_order
from tests.hostpay.reconciling.test_exchanges import deposit, until_status
from tests.hostpay.test_outages import restore_from_before_the_signature
from tests.lib.swaps import Swaps, fresh, order_of
from tests.lib.unguarded import unguarded

pytestmark = pytest.mark.django_db(transaction=True)


def paid_batch(swaps: Swaps) -> tuple[HostPayment, str]:
    """A batch whose ETH is at the exchange, and its order's id."""
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    factories.policy("20")
    factories.accumulations("20", "10")
    check_threshold(actor=factories.ACTOR)
    payment = swaps.world.drive_to_final(HostPayment.objects.get(context="batch"))
    swaps.seen_by_provider(payment)
    return payment, order_of(payment).provider_order_id or ""


def forgotten_order(swaps: Swaps, payment: HostPayment, order_id: str) -> None:
    """Books from before the order; the wallet halts, and the order is attached."""
    restore_from_before_the_order(payment)
    look(fresh(payment))
    attach_order(payment=of_batch(), order_id=order_id, actor=BOB, reason="the only one of that amount")


def signed_off_too_soon(swaps: Swaps, payment: HostPayment, order_id: str) -> None:
    """As before, with the nonce taken for a sweep of one's own before anybody knew of the order."""
    restore_from_before_the_order(payment)
    sign_off(run=reconciled("chain"), actor=ALICE, reason="my own sweep")
    look(fresh(payment))
    halting.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="my own sweep")
    attach_order(payment=of_batch(), order_id=order_id, actor=BOB, reason="it was ours after all")


def known_order(swaps: Swaps, payment: HostPayment, order_id: str) -> None:
    """Books from before the signature: they have always known the order."""
    restore_from_before_the_signature(payment, NonceSlot.objects.get(payment=payment).nonce)
    look(fresh(payment))


RESTORES: tuple[Callable[[Swaps, HostPayment, str], None], ...] = (signed_off_too_soon, forgotten_order, known_order)


def of_batch() -> HostPayment:
    return HostPayment.objects.select_related("wallet").filter(context="batch").earliest("created_at")


def goes_on(swaps: Swaps) -> None:
    """What a running system does with what it has, whatever that is."""
    check_threshold(actor=factories.ACTOR)
    for _ in range(6):
        swaps.step()


def lift() -> None:
    services.lift_halt(wallet=Wallet.objects.get(), actor=BOB, reason="all is done")


@pytest.mark.parametrize("restore", RESTORES)
def test_f69_a_batch_whose_order_our_key_has_paid_is_not_released_and_is_paid_once(
    swaps: Swaps, restore: Callable[[Swaps, HostPayment, str], None]
) -> None:
    payment, order_id = paid_batch(swaps)
    sent = swaps.world.sent_transactions()
    restore(swaps, payment, order_id)

    with pytest.raises(RefusedError, match=f"paid order {order_id} of payment {payment.pk}") as refused:
        release_batch(batch=BatchConversion.objects.get(), actor=BOB, reason="it stands still")
    assert "reconcile --chain --adopt" in refused.value.next_step
    with pytest.raises(RefusedError, match="It can be mended"):
        sign_off(run=reconciled("chain"), actor=BOB, reason="that payment has ended")
    with pytest.raises(RefusedError, match=f"which the books do not know, paid order {order_id}"):
        lift()
    goes_on(swaps)

    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.SWAPPING}
    assert swaps.world.sent_transactions() == sent
    done = readopt_sent(actor=BOB, reason="restored")
    assert ([each.slot.payment_id for each in done.adopted], done.is_open) == ([payment.pk], True)
    swaps.world.drive_to(payment, "settled")
    goes_on(swaps)
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.COMPLETED}
    assert swaps.world.sent_transactions() == sent


@pytest.mark.parametrize("restore", RESTORES)
def test_f69_members_that_were_given_back_all_the_same_are_paid_no_second_time(
    swaps: Swaps, restore: Callable[[Swaps, HostPayment, str], None]
) -> None:
    payment, order_id = paid_batch(swaps)
    sent = swaps.world.sent_transactions()
    restore(swaps, payment, order_id)
    release_unasked(payment)

    goes_on(swaps)
    with pytest.raises(RefusedError, match=f"which the books do not know, paid order {order_id}") as refused:
        lift()
    assert "hold its members" in refused.value.next_step
    for scope in ("chain", "provider"):
        with pytest.raises(RefusedError, match=r"It can be mended.*hold its members"):
            sign_off(run=reconciled(scope), actor=BOB, reason="that payment has ended")
    with pytest.raises(RefusedError, match="which the books do not know, paid order"):
        lift()
    goes_on(swaps)

    assert Wallet.objects.get().halted_at is not None
    assert swaps.world.sent_transactions() == sent


def test_f69_what_was_paid_and_given_back_is_taken_on_by_two_people_and_then_the_wallet_goes_on(swaps: Swaps) -> None:
    payment, order_id = paid_batch(swaps)
    sent = swaps.world.sent_transactions()
    known_order(swaps, payment, order_id)
    with pytest.raises(RefusedError, match=r"proves itself.*--adopt"):
        services.propose_take_on(payment=fresh(payment), actor=ALICE, reason="it stands still")
    release_unasked(payment)
    for member in Accumulation.objects.all():
        hold_accumulation(accumulation=member, actor=ALICE, reason="they were paid; the exchange has it")

    proposal = services.propose_take_on(payment=fresh(payment), actor=ALICE, reason="its members are held")
    with pytest.raises(RefusedError, match="another person must decide"):
        services.approve(approval=proposal, actor=ALICE, reason="its members are held")
    with pytest.raises(RefusedError, match="It can be mended"):
        sign_off(run=reconciled("chain"), actor=ALICE, reason="its members are held")
    services.approve(approval=proposal, actor=BOB, reason="seen")
    with pytest.raises(RefusedError, match="which the books do not know, paid order"):
        lift()
    for scope in ("chain", "provider"):
        run = reconciled(scope)
        if run.result == "differs":
            sign_off(run=run, actor=ALICE, reason="its members are held")
    lift()
    goes_on(swaps)

    assert Wallet.objects.get().halted_at is None
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.HELD}
    assert swaps.world.sent_transactions() == sent
    swaps.world.drive_to(swaps.request(25), "settled")
    assert swaps.world.sent_transactions() == sent + 1


def test_f69_an_order_that_our_key_paid_with_another_amount_is_taken_on_by_two_people_and_halts_nothing_for_ever(
    swaps: Swaps,
) -> None:
    payment, order_id = paid_batch(swaps)
    sent = swaps.world.sent_transactions()
    known_order(swaps, payment, order_id)
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.filter(payment=payment).update(send_units=payment.amount_units + 1)
    assert readopt_sent(actor=ALICE, reason="restored").adopted == []
    with pytest.raises(RefusedError, match="paid order"):
        release_batch(batch=BatchConversion.objects.get(), actor=BOB, reason="it came back by hand")

    proposal = services.propose_take_on(payment=fresh(payment), actor=ALICE, reason="it came back by hand")
    services.approve(approval=proposal, actor=BOB, reason="seen")

    assert release_batch(batch=BatchConversion.objects.get(), actor=BOB, reason="it came back by hand") == 2
    sign_off(run=reconciled("chain"), actor=ALICE, reason="it came back by hand")
    lift()
    assert Wallet.objects.get().halted_at is None
    assert swaps.world.sent_transactions() == sent


def test_nothing_is_taken_on_where_our_key_paid_nothing(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    payment = ordered(swaps.world)

    with pytest.raises(RefusedError, match="Our key has sent nothing to an order of this payment"):
        services.propose_take_on(payment=payment, actor=ALICE, reason="it stands still")
    with pytest.raises(RefusedError, match="It has no order that could have been paid"):
        services.propose_take_on(payment=swaps.request(25), actor=ALICE, reason="it stands still")


def release_unasked(payment: HostPayment) -> None:
    """As versions did it that asked nobody, or who asked while neither chain nor exchange had seen the transaction."""
    row, batch = fresh(payment), BatchConversion.objects.get()
    unasked = services.Unpaid(orders=frozenset(row.orders.values_list("pk", flat=True)))
    with transaction.atomic():
        services.close_unpaid(payment=row, unpaid=unasked, actor=ALICE, reason="it stands still")
        give_back(batch.locked(), actor=ALICE, reason="it stands still")
        batch.move("cancelled", actor=ALICE, reason="it stands still", failure_reason="it stands still")


def test_f69_the_chain_alone_forbids_a_release_while_the_exchange_has_seen_nothing(swaps: Swaps) -> None:
    payment, order_id = paid_batch(swaps)
    restore_from_before_the_signature(payment, NonceSlot.objects.get(payment=payment).nonce)
    swaps.world.exchange.force(order_id, "waiting")
    for field in ("payinHash", "amountFrom"):
        swaps.answer_by_id(field, None)

    with pytest.raises(RefusedError, match=f"which the books do not know, paid order {order_id}"):
        release_batch(batch=BatchConversion.objects.get(), actor=BOB, reason="it stands still")


@pytest.mark.parametrize("silent", ["chain", "exchange"])
def test_a_release_is_refused_while_nobody_says_whether_its_order_was_paid(
    swaps: Swaps, settings: Settings, silent: str
) -> None:
    factories.policy("20")
    factories.accumulations("20", "10")
    check_threshold(actor=factories.ACTOR)
    payment = swaps.world.drive_to(HostPayment.objects.get(), "ordered", may_sign=False)
    order_id = order_of(payment).provider_order_id or ""
    if silent == "exchange":
        swaps.world.exchange.fault("5xx", "/v2/exchange/by-id", match={"times": None})

    node = settings.ETH_RPC_URLS[0] if silent == "exchange" else "http://127.0.0.1:9"
    with (
        through(node, settings),
        pytest.raises(RefusedError, match=f"could not be asked whether {order_id} was paid"),
    ):
        release_batch(batch=BatchConversion.objects.get(), actor=BOB, reason="it stands still")

    assert fresh(payment).status == "ordered"
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.SWAPPING}


def test_a_batch_that_nobody_paid_is_released_while_the_wallet_is_halted_over_something_else(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    factories.policy("20")
    factories.accumulations("20", "10")
    check_threshold(actor=factories.ACTOR)
    payment = swaps.world.drive_to(HostPayment.objects.get(context="batch"), "ordered", may_sign=False)
    services.halt_wallet(wallet=Wallet.objects.get(), actor=ALICE, reason="looked at")

    assert release_batch(batch=BatchConversion.objects.get(), actor=BOB, reason="the rate is bad") == 2

    assert (fresh(payment).status, payment.orders.get().status) == ("cancelled", "abandoned")


def test_a_deposit_of_somebody_else_holds_no_members(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    payment = ordered(swaps.world)
    order = order_of(payment)
    deposit(swaps, order.payin_address or "", int(order.send_units))
    until_status(swaps, order.provider_order_id or "", "finished")

    services.close_unsent(payment=fresh(payment), actor=ALICE, reason="somebody else paid it")

    told = line_of(reconciled("provider"), f"order {order.provider_order_id}")
    assert (told.verdict, told.is_acceptable) == ("alarm", True)
