"""Books from a backup: what left the wallet meanwhile is found on chain, proven, and taken back into them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from config.invariants import examine
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, Receipt, Transaction, Wallet
from hostpay.services import halting
from hostpay.services.reconciling import readopt_sent, sign_off
from tests.hostpay.chain import ACTOR, ALICE, crash_at, look, ordered, requested, through, use_key_elsewhere, variants
from tests.hostpay.reconciling.books import line_of, reconciled, settle_books
from tests.hostpay.test_outages import restore_from_before_the_signature
from tests.lib.faulty_node import FaultyNode
from tests.lib.unguarded import unguarded
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def forgotten(world: World) -> tuple[HostPayment, int]:
    """A payment that left, of which the books only know that it is ordered; and its nonce."""
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payment = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)
    return payment, nonce


def as_broadcast(payment: HostPayment) -> None:
    """The books as a backup has them that was made while the payment's transaction was in the pool."""
    # It may have settled by now, if the exchange was quick.
    with unguarded(Receipt, Transaction, ExchangeOrder, HostPayment):
        Receipt.objects.filter(order__payment=payment).delete()
        Transaction.objects.filter(slot__payment=payment).update(
            status="broadcast", block_number=None, block_hash="", gas_used=None, effective_gas_price_wei=None
        )
        ExchangeOrder.objects.filter(payment=payment).update(status="open")
        HostPayment.objects.filter(pk=payment.pk).update(
            status="broadcast", received_units=None, delivered_at=None, next_action_at=timezone.now()
        )


def test_f69_a_payment_that_the_backup_forgot_is_adopted_and_goes_on_to_its_end(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payment = world.drive_to(ordered(world), "final", "settled")
    (before,) = variants(payment)
    sent = world.sent_transactions()
    restore_from_before_the_signature(payment, before.slot.nonce)

    # The gate is closed: another payment finds the chain ahead of the books.
    other = look(requested())
    assert "used elsewhere" in Wallet.objects.get().halted_reason
    assert other.status == "ordered"

    # The report says what there is to do, and does nothing.
    run = reconciled("chain")
    told = line_of(run, f"nonce {before.slot.nonce} of {world.wallet_address}")
    assert (run.result, told.verdict) == ("differs", "differs")
    assert str(payment.pk) in told.ours
    assert before.tx_hash in told.theirs
    assert "--adopt" in told.next_step
    assert not NonceSlot.objects.filter(payment=payment).exists()
    assert Wallet.objects.get().halted_reason

    done = readopt_sent(actor=ALICE, reason="restored from the backup of 14:00")

    (adopted,) = done.adopted
    assert (adopted.tx_hash, bytes(adopted.raw), adopted.slot.nonce) == (
        before.tx_hash,
        bytes(before.raw),
        before.slot.nonce,
    )
    assert adopted.status == "final"
    assert done.is_open
    assert done.left == []
    assert not Wallet.objects.get().halted_reason

    # Both go on by themselves, and one of them sends: the other was paid before the backup was restored.
    payment = world.drive_to(payment, "settled")
    other = world.drive_to(other, "settled")
    assert world.sent_transactions() == sent + 1
    assert payment.received_units
    assert reconciled("chain").result == "agrees"
    assert [str(finding) for finding in examine() if not finding.holds] == []


def test_f69_two_forgotten_payments_are_adopted_in_their_order(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payments = [world.drive_to(ordered(world), "final", "settled") for _ in range(2)]
    nonces = [NonceSlot.objects.get(payment=payment).nonce for payment in payments]
    for payment in payments:
        restore_from_before_the_signature(payment, nonces[0])

    done = readopt_sent(actor=ALICE, reason="restored")

    assert [each.slot.nonce for each in done.adopted] == nonces
    assert [each.slot.payment for each in done.adopted] == payments
    assert done.is_open
    assert Wallet.objects.get().next_nonce == nonces[1] + 1


def test_f69_a_payment_in_review_after_a_halt_lifted_too_soon_is_adopted_all_the_same(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payment = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)
    payment = look(payment)
    assert "nothing was signed" in payment.review_reason

    done = readopt_sent(actor=ALICE, reason="restored")

    assert len(done.adopted) == 1
    payment.refresh_from_db()
    assert (payment.status, payment.review_reason) == ("final", "")
    assert world.drive_to(payment, "settled").received_units


def test_f69_a_foreign_transaction_keeps_the_wallet_halted_beside_what_is_adopted(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payment = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)
    foreign = use_key_elsewhere(world)
    world.anvil.mine(3)

    done = readopt_sent(actor=ALICE, reason="restored")

    assert [each.slot.nonce for each in done.adopted] == [nonce]
    assert not done.is_open
    assert any(foreign in line.theirs for line in done.left)
    halted = Wallet.objects.get().halted_reason
    assert f"nonce {nonce + 1} of {world.wallet_address}" in halted
    assert look(requested()).status == "ordered"

    # Known, and signed off by a person, it keeps nobody: the halt is that person's to lift.
    run = reconciled("chain")
    assert (run.result, line_of(run, f"nonce {nonce + 1} of {world.wallet_address}").verdict) == ("differs", "alarm")
    sign_off(run=run, actor=ALICE, reason="it was my own sweep")
    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it was my own sweep")
    assert reconciled("chain").result == "agrees"


def test_f69_a_transaction_of_another_value_is_not_adopted(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payment = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.filter(payment=payment).update(send_units=payment.amount_units + 1)

    done = readopt_sent(actor=ALICE, reason="restored")

    assert done.adopted == []
    assert not done.is_open
    assert not NonceSlot.objects.filter(payment=payment).exists()
    (alarm,) = [line for line in done.left if line.verdict == "alarm"]
    assert "it paid order" in alarm.ours
    assert "release nothing" in alarm.next_step


def test_f69_a_node_cannot_show_as_ours_what_our_key_did_not_sign(world: World, settings: Settings) -> None:
    signed = variants(world.drive_to(ordered(world), "settled"))[0].tx_hash
    settle_books(world)
    payment = ordered(world)
    order = payment.orders.get(is_current=True)
    foreign = use_key_elsewhere(world)
    world.anvil.mine(3)
    number = world.anvil.rpc("eth_getTransactionReceipt", foreign)["blockNumber"]
    block = world.anvil.rpc("eth_getBlockByNumber", number, True)
    (shown,) = block["transactions"]
    # Once with no signature at all, as the test chain lets anybody send, and once with a valid one of something else.
    other = world.anvil.rpc("eth_getTransactionByHash", signed)
    signatures: list[dict[str, str]] = [{}, {name: other[name] for name in ("r", "s", "v", "yParity")}]

    for signature in signatures:
        forged = {**shown, **signature, "to": order.payin_address, "value": hex(int(order.send_units))}
        with FaultyNode(world.anvil.rpc_url) as door, through(door.url, settings):
            door.say("eth_getBlockByNumber", result={**block, "transactions": [forged]})
            done = readopt_sent(actor=ALICE, reason="restored")

        assert (done.adopted, done.is_open) == ([], False)
        assert not NonceSlot.objects.filter(payment=payment).exists()
        assert [line.verdict for line in done.left if line.row.startswith("nonce")] == ["alarm"]


def test_only_a_person_with_a_reason_adopts(world: World) -> None:
    with pytest.raises(RefusedError, match="Only a person"):
        readopt_sent(actor=ACTOR, reason="restored")
    with pytest.raises(RefusedError, match="needs a reason"):
        readopt_sent(actor=ALICE, reason=" ")


def test_with_nothing_to_adopt_a_halt_is_left_to_the_person_who_lifts_it(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    services.halt_wallet(wallet=Wallet.objects.get(), actor=ALICE, reason="the key was seen elsewhere")

    done = readopt_sent(actor=ALICE, reason="restored")

    assert (done.adopted, done.left, done.is_open) == ([], [], False)
    assert Wallet.objects.get().halted_reason == "the key was seen elsewhere"


def test_f69_nobody_takes_on_what_proves_itself_as_ours(world: World) -> None:
    payment, _ = forgotten(world)
    run = reconciled("chain")

    with pytest.raises(RefusedError, match=r"It can be mended.*--adopt"):
        sign_off(run=run, actor=ALICE, reason="never seen it")

    assert reconciled("chain").result == "differs"
    done = readopt_sent(actor=ALICE, reason="it was ours")
    assert [each.slot.payment for each in done.adopted] == [payment]
    assert done.is_open


def test_f69_nobody_takes_on_what_paid_an_order_of_a_payment_that_could_be_paid_again(world: World) -> None:
    payment, nonce = forgotten(world)
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.filter(payment=payment).update(send_units=payment.amount_units + 1)
    run = reconciled("chain")

    with pytest.raises(RefusedError, match=rf"It can be mended.*nonce {nonce} of"):
        sign_off(run=run, actor=ALICE, reason="never seen it")


def test_f69_an_adoption_that_was_stopped_before_the_gate_opens_it_at_the_next_call(world: World) -> None:
    payment, _ = forgotten(world)
    with crash_at('"next_nonce" = %s, "halted_reason"'):
        readopt_sent(actor=ALICE, reason="restored")
    assert HostPayment.objects.get(pk=payment.pk).status == "final"
    assert Wallet.objects.get().halted_reason

    done = readopt_sent(actor=ALICE, reason="restored, once more")

    assert (done.adopted, done.left, done.waiting, done.is_open) == ([], [], [], True)


def test_f69_a_halt_over_something_else_is_not_lifted_by_adopting(world: World) -> None:
    payment, _ = forgotten(world)
    services.halt_wallet(wallet=Wallet.objects.get(), actor=ALICE, reason="the treasurer asked for it")

    done = readopt_sent(actor=ALICE, reason="restored")

    assert [each.slot.payment for each in done.adopted] == [payment]
    assert (done.left, done.is_open) == ([], False)
    assert "the treasurer asked for it" in done.waiting[0]
    assert Wallet.objects.get().halted_reason == "the treasurer asked for it"


def test_f48_a_halt_is_not_lifted_over_a_transaction_that_nobody_has_looked_at(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    wallet = Wallet.objects.get()
    services.halt_wallet(wallet=wallet, actor=ALICE, reason="the chain knows more than the books")
    use_key_elsewhere(world)

    with pytest.raises(RefusedError, match="are accounted for; by now the chain has used"):
        halting.lift_halt(wallet=wallet, actor=ALICE, reason="all known", accounted=wallet.next_nonce)

    wallet.refresh_from_db()
    assert wallet.halted_at is not None


def test_i5_the_line_of_nonces_does_not_jump_a_gap_by_adopting(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    first = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=first).nonce
    use_key_elsewhere(world)
    second = ordered(world)
    look(second)
    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="my own sweep")
    services.retry_payment(payment=HostPayment.objects.get(pk=second.pk), actor=ALICE, reason="my own sweep")
    second = world.drive_to(second, "final", "settled")
    for payment in (first, second):
        restore_from_before_the_signature(payment, nonce)

    done = readopt_sent(actor=ALICE, reason="restored")

    assert [each.slot.nonce for each in done.adopted] == [nonce, nonce + 2]
    assert (Wallet.objects.get().next_nonce, done.is_open) == (nonce + 1, False)


def test_f69_what_comes_after_a_payment_that_is_still_followed_says_what_it_waits_for(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    followed = world.drive_to(ordered(world), "final", "settled")
    payment = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)
    as_broadcast(followed)

    done = readopt_sent(actor=ALICE, reason="restored")

    assert (done.adopted, done.is_open) == ([], False)
    (why,) = done.waiting
    assert f"payment {followed.pk} is broadcast and comes before it: start the default worker" in why

    for _ in range(3):
        followed = look(followed, may_sign=False)
    assert followed.status in {"final", "settled"}, (followed.status, followed.review_reason, followed.waiting_reason)
    done = readopt_sent(actor=ALICE, reason="restored")
    assert [each.slot.payment for each in done.adopted] == [payment]
    assert done.is_open


def test_a_node_that_lags_is_no_reason_to_halt(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    Wallet.objects.update(next_nonce=F("next_nonce") + 1)

    done = readopt_sent(actor=ALICE, reason="restored")

    assert [line.row for line in done.left] == [f"next nonce of wallet {world.wallet_address}"]
    assert (done.is_open, Wallet.objects.get().halted_reason) == (True, "")


def test_f69_a_payment_that_a_backup_has_as_never_sent_is_found_on_chain_however_late(world: World) -> None:
    payment = world.drive_to(ordered(world), "final", "settled")
    world.anvil.mine(3)
    sent = world.sent_transactions()
    as_broadcast(payment)
    # The backup was made between signature and first send, and restored an hour later.
    with unguarded(Transaction, ExchangeOrder, HostPayment):
        an_hour_ago = timezone.now() - timedelta(hours=1)
        Transaction.objects.update(status="signed", broadcasts=0, broadcast_at=None, created_at=an_hour_ago)
        ExchangeOrder.objects.update(created_at=an_hour_ago)
        HostPayment.objects.update(status="signed")

    payment = world.drive_to(HostPayment.objects.get(), "settled")

    assert payment.review_reason == ""
    assert world.sent_transactions() == sent
