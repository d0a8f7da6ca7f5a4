"""Books from before the order: what the exchange has is given back to its payment, and then the chain proves the rest."""

from __future__ import annotations

import pytest
from django.db import connection

from config.invariants import examine
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, Wallet
from hostpay.services import halting
from hostpay.services.reconciling import attach_order, readopt_sent
from tests.hostpay.chain import ACTOR, ALICE, look
from tests.hostpay.reconciling.books import line_of, reconciled, settle_books
from tests.lib.swaps import Swaps, order_of
from tests.lib.unguarded import unguarded

pytestmark = pytest.mark.django_db(transaction=True)


def restore_from_before_the_order(payment: HostPayment) -> None:
    """The books as a backup has them: the payment is requested, and nothing was ordered yet."""
    nonce = NonceSlot.objects.get(payment=payment).nonce
    with connection.cursor() as cursor:
        for statement in (
            # A restore asks no trigger.
            "SET session_replication_role = replica",
            "DELETE FROM hostpay_transactionstatuschange c USING hostpay_transaction t, hostpay_nonceslot s"
            " WHERE c.subject_id = t.id AND t.slot_id = s.id AND s.payment_id = %(payment)s",
            "DELETE FROM hostpay_transaction t USING hostpay_nonceslot s WHERE t.slot_id = s.id AND s.payment_id = %(payment)s",
            "DELETE FROM hostpay_nonceslot WHERE payment_id = %(payment)s",
            "DELETE FROM hostpay_receipt r USING hostpay_exchangeorder o"
            " WHERE r.order_id = o.id AND o.payment_id = %(payment)s",
            "DELETE FROM hostpay_exchangeorderstatuschange c USING hostpay_exchangeorder o"
            " WHERE c.subject_id = o.id AND o.payment_id = %(payment)s",
            "DELETE FROM hostpay_exchangeorder WHERE payment_id = %(payment)s",
            "DELETE FROM hostpay_hostpaymentstatuschange WHERE subject_id = %(payment)s AND to_status <> 'requested'",
            "UPDATE hostpay_hostpayment SET status = 'requested', next_action_at = now(), received_units = NULL,"
            " delivered_at = NULL WHERE id = %(payment)s",
            "UPDATE hostpay_wallet SET next_nonce = %(nonce)s",
            "SET session_replication_role = DEFAULT",
        ):
            cursor.execute(statement, {"payment": payment.pk, "nonce": nonce})


@pytest.fixture
def forgotten(swaps: Swaps) -> tuple[HostPayment, str]:
    """A payment whose order and transaction the backup does not know, and the order's id."""
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    payment = swaps.deposited(30)
    order_id = order_of(payment).provider_order_id or ""
    restore_from_before_the_order(payment)
    return HostPayment.objects.select_related("wallet").get(pk=payment.pk), order_id


def test_f69_a_payment_whose_order_was_forgotten_too_comes_to_its_end_and_is_paid_once(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    sent = swaps.world.sent_transactions()

    # By itself it is ordered anew, and not paid: the chain is ahead of the books.
    payment = look(payment)
    assert payment.status == "ordered"
    assert "used elsewhere" in Wallet.objects.get().halted_reason
    done = readopt_sent(actor=ALICE, reason="restored")
    assert (done.adopted, done.is_open) == ([], False)
    orphan = line_of(reconciled("provider"), f"order {order_id}")
    assert (orphan.verdict, f"--attach {order_id}" in orphan.next_step) == ("alarm", True)

    attach_order(payment=payment, order_id=order_id, actor=ALICE, reason="the only one of 0.015 ETH")

    payment.refresh_from_db()
    assert "was attached, and is paid" in payment.review_reason
    assert look(payment).status == "ordered"
    assert swaps.world.sent_transactions() == sent
    done = readopt_sent(actor=ALICE, reason="restored")
    assert ([each.slot.payment for each in done.adopted], done.is_open) == ([payment], True)
    payment = swaps.world.drive_to(payment, "settled")
    assert payment.received_units
    assert swaps.world.sent_transactions() == sent
    assert list(payment.orders.order_by("is_current").values_list("status", flat=True)) == ["abandoned", "finished"]
    assert [str(finding) for finding in examine() if not finding.holds] == []
    assert reconciled("provider").result == "agrees"


def test_f69_a_halt_lifted_too_soon_pays_an_attached_order_no_second_time(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    sent = swaps.world.sent_transactions()
    readopt_sent(actor=ALICE, reason="restored")
    attach_order(payment=payment, order_id=order_id, actor=ALICE, reason="the only one of 0.015 ETH")

    with pytest.raises(RefusedError, match=f"which the books do not know, paid order {order_id}"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")
    # As if he had done it before he attached it.
    halting.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")
    payment.refresh_from_db()
    services.retry_payment(payment=payment, actor=ALICE, reason="go on")
    payment = look(payment)

    assert payment.status == "ordered"
    assert "nothing was paid to it by us; nothing was signed" in payment.review_reason
    assert swaps.world.sent_transactions() == sent


def test_f69_attaching_halts_a_wallet_that_is_not_halted(swaps: Swaps, forgotten: tuple[HostPayment, str]) -> None:
    payment, order_id = forgotten
    sent = swaps.world.sent_transactions()
    assert Wallet.objects.get().halted_at is None

    attach_order(payment=payment, order_id=order_id, actor=ALICE, reason="the only one of 0.015 ETH")

    assert f"order {order_id} was attached to payment {payment.pk}" in Wallet.objects.get().halted_reason
    assert look(payment).status == "ordered"
    done = readopt_sent(actor=ALICE, reason="restored")
    assert ([each.slot.payment for each in done.adopted], done.is_open) == ([payment], True)
    assert swaps.world.sent_transactions() == sent


def test_an_order_of_another_amount_or_that_nobody_paid_is_refused(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    readopt_sent(actor=ALICE, reason="restored")
    other = swaps.request(31)
    unpaid = order_of(look(other, may_sign=False)).provider_order_id or ""
    third = swaps.request(32)
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.filter(provider_order_id=unpaid).update(provider_order_id="moved")

    with pytest.raises(RefusedError, match=r"was not made for payment .* amount is 0\.015"):
        attach_order(payment=third, order_id=order_id, actor=ALICE, reason="restored")
    with pytest.raises(RefusedError, match="nobody has paid it"):
        attach_order(payment=payment, order_id=unpaid, actor=ALICE, reason="restored")
    with pytest.raises(RefusedError, match="not_found"):
        attach_order(payment=payment, order_id="0123456789abcd", actor=ALICE, reason="restored")


def test_only_a_person_with_a_reason_attaches_and_only_what_the_books_do_not_know(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    known = ExchangeOrder.objects.get()
    for actor, reason in ((ACTOR, "restored"), (ALICE, " ")):
        with pytest.raises(RefusedError, match="a person and a reason"):
            attach_order(payment=payment, order_id=order_id, actor=actor, reason=reason)
    with pytest.raises(RefusedError, match="is in the books"):
        attach_order(payment=payment, order_id=known.provider_order_id or "", actor=ALICE, reason="restored")
    with pytest.raises(RefusedError, match="was signed for, or has ended"):
        attach_order(payment=known.payment, order_id=order_id, actor=ALICE, reason="restored")
