"""What operators decide about a payment whose money is at the exchange."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from config.lib.adminkit.links import page_of
from hostpay import services
from hostpay.models import Approval, ExchangeOrder, HostPayment, NonceSlot, PaymentStatus, WriteOff
from tests.hostpay.chain import ALICE
from tests.hostpay.test_giving_up import BACK, lost, paid_by_contract
from tests.hostpay.test_outages import restore_from_before_the_signature
from tests.lib.swaps import Swaps
from tests.lib.unguarded import unguarded
from tests.lib.world import World
from tests.web.scene import Scene
from tests.web.test_operations import ask, confirm, operation_of, payment_of, said


def test_it_puts_a_doubt_aside_for_a_day(scene: Scene, operator: Client) -> None:
    doubt = scene.stuck.review_reason

    answer = confirm(operator, operation_of(scene.stuck, "wait"), reason="they send the rest")

    scene.stuck.refresh_from_db()
    assert "waits for the rest" in said(answer)
    assert (scene.stuck.status, scene.stuck.review_reason) == (PaymentStatus.FINAL, "")
    event = scene.stuck.status_changes.latest("pk")
    assert (event.actor, event.data["decision"], event.data["about"]) == ("admin:anna", "wait", doubt)
    assert scene.stuck.received_units is None


def test_it_notes_that_the_provider_was_asked_and_leaves_the_review_open(scene: Scene, operator: Client) -> None:
    confirm(operator, operation_of(scene.stuck, "escalate"), reason="ticket 4711")

    before = scene.stuck.review_reason
    scene.stuck.refresh_from_db()
    assert scene.stuck.review_reason == before
    assert scene.stuck.status_changes.latest("pk").reason == "escalated: ticket 4711"


def test_what_arrived_is_not_written_off(scene: Scene, operator: Client) -> None:
    answer = operator.get(operation_of(scene.stuck, "propose-write-off"))

    assert answer.status_code == 302
    assert "USDT arrived for it: that is what it can end with." in said(answer)
    assert not Approval.objects.filter(payment=scene.stuck).exists()


def test_who_only_looks_proposes_nothing(scene: Scene, viewer: Client) -> None:
    for name in ("propose-refund", "propose-write-off", "close-review"):
        assert viewer.get(operation_of(scene.stuck, name)).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_a_write_off_says_what_it_costs_and_takes_two_people(world: World, operator: Client, second: Client) -> None:
    payment = lost(Swaps(world=world))
    url = operation_of(payment, "propose-write-off")

    page, _ = ask(operator, url)
    assert "book all 0.015 ETH of the payment as a loss of the house" in page
    confirm(operator, url, typed="15 ETH")
    assert not Approval.objects.exists()
    confirm(operator, url, typed="0.015 ETH", reason="they are bankrupt")

    approval = Approval.objects.get()
    decide = operation_of(approval, "approve")
    page, _ = ask(second, decide)
    assert "all 0.015 ETH at exchange" in page
    assert "which says failed" in page
    confirm(operator, decide, typed="APPROVE")
    assert not WriteOff.objects.exists()
    answer = confirm(second, decide, typed="APPROVE")

    assert "Approved to write off" in said(answer)
    payment.refresh_from_db()
    assert payment.status == PaymentStatus.FAILED
    lost_row = WriteOff.objects.get()
    assert (lost_row.approval.proposed_by, lost_row.approval.decided_by) == ("admin:anna", "admin:ben")
    assert "they are bankrupt" in operator.get(page_of(lost_row)).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_refund_that_people_found_is_read_off_the_chain_and_takes_two(
    world: World, operator: Client, second: Client
) -> None:
    swaps = Swaps(world=world)
    payment = lost(swaps)
    tx_hash = paid_by_contract(swaps, BACK)
    url = operation_of(payment, "propose-refund")

    unread = operator.post(url, {"token": ask(operator, url)[1], "reason": "x", "tx_hash": tx_hash, "amount": "1e-2"})
    assert "must be a string like 12.5" in unread.content.decode()
    answer = confirm(operator, url, tx_hash=tx_hash, amount="0.0146")
    assert "brought 0.0145 ETH to the wallet, not 0.0146 ETH" in said(answer)
    assert not Approval.objects.exists()
    confirm(operator, url, tx_hash=tx_hash, amount="0.0145")

    decide = operation_of(Approval.objects.get(), "approve")
    page, _ = ask(second, decide)
    assert "ends with 0.0145 ETH that came back in" in page
    assert "0.0005 ETH are booked as a loss of the house" in page
    confirm(second, decide, typed="APPROVE")

    payment.refresh_from_db()
    assert (payment.status, payment.refunded_units) == (PaymentStatus.REFUNDED, BACK)


def test_what_came_up_after_the_end_is_closed_with_a_reason(scene: Scene, operator: Client) -> None:
    HostPayment.objects.filter(pk=scene.stuck.pk).update(
        status="failed", delivered_at=timezone.now(), review_reason="it paid after all", next_action_at=None
    )

    page, _ = ask(operator, operation_of(scene.stuck, "close-review"))
    assert "it paid after all" in page
    confirm(operator, operation_of(scene.stuck, "close-review"), reason="booked by hand")

    scene.stuck.refresh_from_db()
    assert scene.stuck.review_reason == ""
    assert scene.stuck.status_changes.latest("pk").reason == "looked into: booked by hand"


def test_there_is_nothing_to_decide_before_the_money_is_there(scene: Scene, operator: Client) -> None:
    payment = payment_of(scene.waiting)

    for name in ("wait", "escalate"):
        answer = operator.get(operation_of(payment, name))
        assert "only while the exchange has the money" in said(answer)

    assert HostPayment.objects.get(pk=payment.pk).status == payment.status


@pytest.mark.django_db(transaction=True)
def test_what_our_key_paid_and_no_book_can_adopt_is_taken_on_by_two_people(
    world: World, operator: Client, second: Client
) -> None:
    swaps = Swaps(world=world)
    payment = swaps.deposited(30)
    restore_from_before_the_signature(payment, NonceSlot.objects.get(payment=payment).nonce)
    payment.refresh_from_db()
    with unguarded(ExchangeOrder):
        # Older it would be from before more blocks than the tests' chain keeps the states of.
        payment.orders.update(created_at=payment.created_at)
    unasked = services.Unpaid(orders=frozenset(payment.orders.values_list("pk", flat=True)))
    services.close_unpaid(payment=payment, unpaid=unasked, actor=ALICE, reason="it stands still")
    url = operation_of(payment, "propose-take-on")

    page, _ = ask(operator, url)
    assert "are paid a second time: hold them before" in page
    confirm(operator, url, reason="its members are held")
    approval = Approval.objects.get()
    decide = operation_of(approval, "approve")
    page, _ = ask(second, decide)
    assert "0.015 ETH that our key sent to its order by 0x" in page
    confirm(operator, decide, typed="APPROVE")
    assert not payment.status_changes.filter(reason__contains="taken on by").exists()
    answer = confirm(second, decide, typed="APPROVE")

    assert "Approved to take on" in said(answer)
    assert "taken on by" in payment.status_changes.latest("pk").reason
