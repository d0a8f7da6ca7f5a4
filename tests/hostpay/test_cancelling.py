"""A payment on the wire, taken back by spending its nonce on nothing: what was mined says how it ended."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone
from pytest_django import Settings

from batches.models import BatchConversion
from batches.services import check_threshold
from config.lib import audit
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import Approval, HostPayment, SignerTask, Switch, Transaction, Wallet
from payouts.models import Accumulation
from tests import factories
from tests.hostpay.chain import (
    ACTOR,
    ALICE,
    BOB,
    VALUE_WEI,
    is_pending,
    let_time_pass,
    look,
    no_blocks,
    notes,
    on_the_wire,
    ordered,
    use_key_elsewhere,
    variants,
)
from tests.lib.concurrency import crew
from tests.lib.unguarded import unguarded
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def approved(payment: HostPayment) -> Approval:
    proposal = services.propose_cancel(payment=payment, actor=ALICE, reason="the exchange is gone")
    return services.approve(approval=proposal, actor=BOB, reason="seen it too")


def raw_of(variant: Transaction) -> str:
    return f"0x{bytes(variant.raw).hex()}"


def test_f51_a_cancel_that_is_mined_first_keeps_the_value_here(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (original,) = variants(payment)
        sent = world.sent_transactions()
        payin_before = world.anvil.node.balance_wei(original.to_address)
        approved(payment)

        payment = look(payment)

        original, cancel = variants(payment)
        assert (payment.status, payment.signer_task) == ("broadcast", "")
        assert (cancel.kind, cancel.to_address, cancel.value_units, cancel.slot_id) == (
            "cancel",
            world.wallet_address,
            0,
            original.slot_id,
        )
        assert int(cancel.max_fee_per_gas_wei) * 8 > int(original.max_fee_per_gas_wei) * 9
        assert is_pending(world, cancel.tx_hash)
        assert Approval.objects.get().executed_at is not None
        world.anvil.mine()
        payment = look(payment)
        assert payment.status == "broadcast", "what is mined is not final"
        assert [v.status for v in variants(payment)] == ["broadcast", "mined"]
        world.anvil.mine()
        payment = look(payment)

    assert payment.status == "cancelled"
    assert payment.delivered_at is not None
    assert [v.status for v in variants(payment)] == ["dropped", "final"]
    assert [(order.status, order.is_current) for order in payment.orders.all()] == [("expired", True)]
    assert payment.failure_reason.startswith(f"cancelled on chain by {cancel.tx_hash}")
    assert world.sent_transactions() == sent + 1
    assert world.anvil.node.balance_wei(original.to_address) == payin_before
    # The wallet is free, and its line of nonces goes on.
    after = world.drive_to_final(ordered(world))
    assert after.nonce_slot.nonce == payment.nonce_slot.nonce + 1


def test_f51_a_payment_mined_before_the_signer_came_is_paid_and_says_so(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        world.anvil.mine()

        payment = look(payment)

        assert (payment.status, payment.signer_task) == ("mined", "")
        assert notes(payment)[-1] == "the cancel was approved, and came too late: the payment was mined first"
        assert len(variants(payment)) == 1
        assert Approval.objects.get().executed_at is None
    assert world.drive_to(payment, "settled").received_units is not None


def test_f51_what_is_mined_while_the_signer_is_down_is_confirmed_though_a_cancel_is_asked_for(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (only,) = variants(payment)
        approved(payment)
        world.anvil.rpc("anvil_dropTransaction", only.tx_hash)

        payment = look(payment, may_sign=False)

        assert (payment.status, payment.signer_task) == ("broadcast", "cancel")
        assert not is_pending(world, only.tx_hash), "what two people want gone was sent again"
        world.anvil.rpc("eth_sendRawTransaction", raw_of(only))
        world.anvil.mine()
        payment = look(payment, may_sign=False)
        assert (payment.status, payment.signer_task) == ("mined", "")
        assert notes(payment)[-1] == "the cancel was approved, and came too late: the payment was mined first"
        world.anvil.mine(3)
        assert look(payment, may_sign=False).status in {"final", "settled"}


def test_f51_bytes_that_never_left_are_not_sent_once_a_cancel_is_approved(world: World) -> None:
    with no_blocks(world.anvil):
        payment = ordered(world)
        services.sign(payment_id=payment.pk, actor=ACTOR)
        payment.refresh_from_db()
        (only,) = variants(payment)
        assert (payment.status, only.broadcasts) == ("signed", 0)
        approved(payment)

        payment = look(payment, may_sign=False)

        assert (payment.status, payment.signer_task) == ("signed", "cancel")
        assert variants(payment)[0].broadcasts == 0
        payment = look(payment)
        assert [v.kind for v in variants(payment)] == ["payment", "cancel"]
        assert not is_pending(world, only.tx_hash)


def test_f48_a_nonce_used_elsewhere_is_seen_while_the_signer_has_a_cancel_to_sign(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        world.anvil.rpc("anvil_dropAllTransactions")
        use_key_elsewhere(world)
        world.anvil.mine()

        payment = look(payment, may_sign=False)

        assert (payment.status, payment.signer_task) == ("broadcast", "cancel")
        assert "the key was used elsewhere" in payment.review_reason
        assert Wallet.objects.get().halted_at is not None
        # A person is asked, and the signer keeps its turn.
        assert payment.next_action_at is not None
        assert payment.next_action_at <= timezone.now()


def test_f51_a_payment_mined_though_its_cancel_was_sent_is_paid_and_says_so(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        payment = look(payment)
        original, cancel = variants(payment)
        # Another node still has the original, and its block wins.
        world.anvil.rpc("anvil_dropTransaction", cancel.tx_hash)
        world.anvil.rpc("eth_sendRawTransaction", raw_of(original))
        world.anvil.mine()

        payment = look(payment)

        assert payment.status == "mined"
        assert notes(payment)[-1] == "the cancel was signed, and lost: the payment was mined first"
    payment = world.drive_to(payment, "settled")
    assert [v.status for v in variants(payment)] == ["final", "dropped"]
    assert int(payment.send_units) == VALUE_WEI


def test_f55_a_reorganisation_can_turn_a_cancel_into_a_payment(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        payment = look(payment)
        original, cancel = variants(payment)
        world.anvil.mine()
        look(payment)
        assert [v.status for v in variants(payment)] == ["broadcast", "mined"]
        world.anvil.rpc("anvil_reorg", 1, [[raw_of(original), 0]])

        payment = look(payment)

        assert payment.status == "mined"
        assert [v.status for v in variants(payment)] == ["mined", "broadcast"]
        assert cancel.tx_hash != original.tx_hash
    assert world.drive_to(payment, "settled").review_reason == ""


def test_f55_a_cancel_that_lost_its_block_is_sent_again(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        look(payment)
        _, cancel = variants(payment)
        world.anvil.mine()
        look(payment)
        world.anvil.rpc("anvil_reorg", 1, [])

        payment = look(payment)

        assert payment.status == "broadcast"
        assert [v.status for v in variants(payment)] == ["broadcast", "broadcast"]
        assert is_pending(world, cancel.tx_hash)
        world.anvil.mine(2)
        assert look(payment).status == "cancelled"


def test_f49_a_stuck_cancel_is_raised_as_a_cancel(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        look(payment)
        let_time_pass(payment)

        payment = look(payment)

        assert [(v.kind, v.value_units) for v in variants(payment)] == [
            ("payment", VALUE_WEI),
            ("cancel", 0),
            ("cancel", 0),
        ]
        world.anvil.mine(2)
        assert look(payment).status == "cancelled"
    assert [v.status for v in variants(payment)] == ["dropped", "dropped", "final"]


def test_f51_the_batch_of_a_cancelled_payment_gives_its_members_back(world: World) -> None:
    factories.policy("20")
    factories.accumulations("19.40", "9.70")
    world.anvil.mine(5)
    check_threshold(actor=factories.ACTOR)
    with no_blocks(world.anvil):
        payment = look(HostPayment.objects.get())
        assert payment.status == "broadcast"
        approved(payment)
        look(payment)
        world.anvil.mine(2)

        payment = look(payment)

    assert (payment.status, payment.delivered_at is not None) == ("cancelled", True)
    assert BatchConversion.objects.get().status == "failed"
    assert set(Accumulation.objects.values_list("status", flat=True)) == {"pending"}
    assert not Accumulation.objects.filter(batch_conversion__isnull=False).exists()


def test_i14_the_signer_believes_no_task_without_an_approval(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        HostPayment.objects.update(signer_task=SignerTask.CANCEL)

        payment = look(payment)

        assert "no approval by two people covers it" in payment.review_reason
        assert (payment.signer_task, len(variants(payment))) == ("", 1)
        world.anvil.mine()
        assert look(payment).status == "mined"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"expires_at": timezone.now() - timedelta(hours=2)},
        {"payload_sha256": "0" * 64},
        {"proposed_by": "command:bob"},
        {"executed_at": timezone.now()},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_i14_the_signer_reads_the_approval_again(world: World, spoilt: dict[str, object]) -> None:
    """It ran out meanwhile, was rewritten, is one person's under two names, or was used."""
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        with unguarded(Approval):
            Approval.objects.update(**spoilt)

        payment = look(payment)

        assert "nothing was signed" in payment.review_reason
        assert (payment.signer_task, len(variants(payment))) == ("", 1)


def test_i15_a_cancel_waits_while_signing_is_paused(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        services.pause(switch=Switch.SIGNING, actor=ALICE, reason="a drill")

        payment = look(payment)

        assert payment.waiting_reason == "signing is paused: a drill"
        assert (payment.signer_task, len(variants(payment))) == ("cancel", 1)
        services.resume(switch=Switch.SIGNING, actor=ALICE)
        assert [v.kind for v in variants(look(payment))] == ["payment", "cancel"]


def test_f54_a_cancel_waits_above_the_ceiling_and_the_payment_is_watched(world: World, settings: Settings) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        settings.MAX_FEE_PER_GAS_WEI = int(variants(payment)[0].max_fee_per_gas_wei)

        payment = look(payment)

        assert payment.waiting_reason.startswith("the cancel waits: gas costs up to")
        assert payment.signer_task == "cancel"
        world.anvil.mine()
        assert look(payment).status == "mined"


def test_f51_bytes_that_never_left_are_cancelled_the_same_way(world: World) -> None:
    payment = ordered(world)
    services.sign(payment_id=payment.pk, actor=ACTOR)
    payment.refresh_from_db()
    approved(payment)
    world.anvil.mine(2)

    world.drive(lambda: HostPayment.objects.get().status == "cancelled")

    assert [(v.kind, v.status, v.broadcasts) for v in variants(payment)] == [
        ("payment", "dropped", 0),
        ("cancel", "final", 1),
    ]
    assert Wallet.objects.get().next_nonce == payment.nonce_slot.nonce + 1


def test_a_payment_is_cancelled_only_once(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        approved(payment)
        payment = look(payment)

        with pytest.raises(RefusedError, match="A cancel of the payment is signed already"):
            services.propose_cancel(payment=payment, actor=BOB, reason="to be sure")


def test_f71_two_people_approve_at_once_and_one_of_them_does(world: World) -> None:
    start = threading.Barrier(2)

    def approve(proposal: Approval, name: str) -> str:
        start.wait(10)
        try:
            services.approve(approval=proposal, actor=audit.admin(name), reason="seen it too")
        except RefusedError as error:
            return error.why
        return "approved"

    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        proposal = services.propose_cancel(payment=payment, actor=ALICE, reason="the exchange is gone")
        with crew(2) as workers:
            asked = [workers.start(partial(approve, proposal, name)) for name in ("bob", "carol")]
            said = sorted(future.result() for future in asked)

        assert said[1] == "approved"
        assert said[0].startswith("It was approved by admin:")
        assert len([note for note in notes(payment) if note.startswith("approved to")]) == 1
        assert [v.kind for v in variants(look(payment))] == ["payment", "cancel"]
