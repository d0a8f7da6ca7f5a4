"""signed → broadcast: the stored bytes, as often as it takes, and what a lost answer means."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from config.lib import clock
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, Transaction, Wallet
from tests.hostpay.chain import (
    ACTOR,
    ALICE,
    GWEI,
    is_pending,
    let_time_pass,
    look,
    no_blocks,
    on_the_wire,
    ordered,
    through,
    use_key_elsewhere,
    variants,
)
from tests.lib.faulty_node import FaultyNode
from tests.lib.unguarded import unguarded
from tests.lib.world import World, make_due

pytestmark = pytest.mark.django_db(transaction=True)


def signed(world: World) -> HostPayment:
    """A payment whose bytes are stored and never left."""
    payment = ordered(world)
    services.sign(payment_id=payment.pk, actor=ACTOR)
    payment.refresh_from_db()
    assert payment.status == "signed"
    return payment


def step(payment: HostPayment) -> HostPayment:
    """The next look of a worker, which takes no further step than it must."""
    make_due()
    services.advance(payment_id=payment.pk, actor=ACTOR)
    return HostPayment.objects.get(pk=payment.pk)


def test_f45_a_lost_answer_is_unknown_and_the_chain_says_that_it_is_out(world: World, settings: Settings) -> None:
    payment = signed(world)
    sent_before = world.sent_transactions()

    with no_blocks(world.anvil), FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.lose_answer("eth_sendRawTransaction")
        payment = step(payment)

        assert payment.status == "signed"
        assert "it may have been done" in payment.unknown_reason
        assert [v.broadcasts for v in variants(payment)] == [1]
        with pytest.raises(RefusedError, match="may still be mined"):
            services.retry_payment(payment=payment, actor=ALICE, reason="let us see")

        payment = step(payment)

        assert (payment.status, payment.unknown_reason) == ("broadcast", "")
        assert node.count("eth_sendRawTransaction") == 1
        world.anvil.mine(2)
        world.drive_to_final(payment)
    assert len(variants(payment)) == 1
    assert world.sent_transactions() == sent_before + 1


def test_f45_a_lost_answer_of_what_is_mined_already_is_found_in_its_block(world: World, settings: Settings) -> None:
    payment = signed(world)
    sent_before = world.sent_transactions()
    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.lose_answer("eth_sendRawTransaction", times=100)

        world.drive_to_final(payment)

        assert node.count("eth_sendRawTransaction") == 1
    assert [(v.status, v.broadcasts) for v in variants(payment)] == [("final", 1)]
    assert world.sent_transactions() == sent_before + 1


def test_f45_a_lost_request_is_unknown_and_the_same_bytes_are_sent_again(world: World, settings: Settings) -> None:
    payment = signed(world)
    sent_before = world.sent_transactions()
    (stored,) = variants(payment)

    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.lose_request("eth_sendRawTransaction", times=3)
        for tries in (1, 2, 3):
            payment = step(payment)

            assert payment.status == "signed"
            assert payment.unknown_reason
            assert world.sent_transactions() == sent_before
            assert [v.broadcasts for v in variants(payment)] == [tries]
        world.drive_to_final(payment)

        sent = {params[0] for method, params in node.asked if method == "eth_sendRawTransaction"}
    assert sent == {f"0x{bytes(stored.raw).hex()}"}
    assert [(v.tx_hash, v.status, v.broadcasts) for v in variants(payment)] == [(stored.tx_hash, "final", 4)]
    assert world.sent_transactions() == sent_before + 1


def test_f45_words_that_tell_nothing_are_unknown(world: World, settings: Settings) -> None:
    payment = signed(world)
    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.say("eth_sendRawTransaction", error={"code": -32000, "message": "internal weather"})

        payment = step(payment)

        assert payment.status == "signed"
        assert "internal weather" in payment.unknown_reason
        assert not payment.needs_review
        world.drive_to_final(payment)
    assert len(variants(payment)) == 1


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ("insufficient funds for gas * price + value", True),
        ("max fee per gas less than block base fee", True),
        ("replacement transaction underpriced", True),
        ("intrinsic gas too low", False),
        ("invalid sender", False),
    ],
)
def test_what_the_node_does_not_take_waits_or_asks_by_its_kind(
    world: World, settings: Settings, words: str, *, waits: bool
) -> None:
    payment = signed(world)
    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.say("eth_sendRawTransaction", error={"code": -32000, "message": words})

        payment = step(payment)

    assert payment.status == "signed"
    assert words in (payment.waiting_reason if waits else payment.review_reason)
    assert payment.needs_review is not waits
    # Whatever was said, the same bytes are sent again and no others are signed.
    world.drive_to_final(payment)
    assert len(variants(payment)) == 1


def test_f44_known_already_is_a_success(world: World) -> None:
    payment = signed(world)
    (stored,) = variants(payment)
    with no_blocks(world.anvil):
        world.anvil.rpc("eth_sendRawTransaction", f"0x{bytes(stored.raw).hex()}")

        payment = step(payment)

        assert (payment.status, payment.review_reason, payment.unknown_reason) == ("broadcast", "", "")
        assert is_pending(world, stored.tx_hash)


def test_f48_a_nonce_that_somebody_else_used_is_never_paid_over(world: World) -> None:
    payment = signed(world)
    use_key_elsewhere(world)
    sent_before = world.sent_transactions()

    payment = step(payment)

    assert payment.status == "broadcast"
    assert "the key was used elsewhere" in payment.review_reason
    assert Wallet.objects.get().halted_reason.startswith(payment.review_reason)
    assert world.sent_transactions() == sent_before
    assert [v.status for v in Transaction.objects.all()] == ["broadcast"]
    with pytest.raises(RefusedError, match="may still be mined"):
        services.retry_payment(payment=payment, actor=ALICE, reason="again")


def test_f48_a_nonce_that_somebody_else_used_before_the_first_sending_does_not_block_the_wallet_for_ever(
    world: World,
) -> None:
    payment = signed(world)
    use_key_elsewhere(world)
    world.anvil.mine(20)

    payment = look(payment)
    payment = look(payment)

    assert payment.status == "failed"
    assert "finally so; the value did not leave by us" in payment.review_reason
    assert [v.status for v in variants(payment)] == ["dropped"]
    assert not HostPayment.objects.on_the_wire().exists()


def test_f33_bytes_that_never_left_are_not_sent_when_the_deposit_is_due(world: World) -> None:
    payment = signed(world)
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.update(valid_until=timezone.now() + timedelta(seconds=30))
    sent_before = world.sent_transactions()

    payment = step(payment)

    assert payment.status == "signed"
    assert "the time for the deposit ran out" in payment.review_reason
    assert world.sent_transactions() == sent_before
    assert [v.broadcasts for v in variants(payment)] == [0]


def test_f33_bytes_for_a_floating_rate_that_never_left_are_not_sent_days_later(world: World) -> None:
    payment = signed(world)
    assert ExchangeOrder.objects.get().valid_until is None
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.update(created_at=timezone.now() - timedelta(days=2))
    sent_before = world.sent_transactions()

    payment = step(payment)

    assert payment.status == "signed"
    assert "the time for the deposit ran out" in payment.review_reason
    assert world.sent_transactions() == sent_before
    assert [v.broadcasts for v in variants(payment)] == [0]


def test_f33_bytes_signed_at_the_last_moment_of_a_floating_rate_are_sent(world: World) -> None:
    payment = signed(world)
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.update(created_at=timezone.now() - timedelta(minutes=10))

    payment = look(payment)

    assert payment.review_reason == ""
    assert [v.broadcasts for v in variants(payment)] == [1]


def test_f49_bytes_that_no_node_takes_are_signed_again_with_higher_fees(world: World) -> None:
    """The fees rose for good before the first broadcast."""
    payment = signed(world)
    let_time_pass(payment)
    world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(15 * GWEI))
    world.anvil.mine()
    sent_before = world.sent_transactions()
    try:
        payment = look(payment)

        first, second = variants(payment)
        assert (first.status, second.status, second.kind) == ("signed", "broadcast", "replacement")
        assert (first.to_address, first.value_units) == (second.to_address, second.value_units)
        assert int(second.max_fee_per_gas_wei) > 15 * GWEI
        world.drive_to_final(payment)
    finally:
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        world.anvil.mine()

    assert [v.status for v in variants(payment)] == ["dropped", "final"]
    assert world.sent_transactions() == sent_before + 1


def test_f33_bytes_that_a_node_lost_are_not_sent_again_when_the_deposit_is_due(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (only,) = variants(payment)
        with unguarded(ExchangeOrder):
            ExchangeOrder.objects.update(valid_until=clock.now() + timedelta(seconds=30))
        world.anvil.rpc("anvil_dropTransaction", only.tx_hash)

        payment = look(payment)

        assert not is_pending(world, only.tx_hash)
        assert "it is lost to the node, and is not sent again; propose to cancel" in payment.review_reason
        assert (payment.status, payment.next_action_at is not None) == ("broadcast", True)
        # It may be in other pools, and a block of theirs still decides.
        world.anvil.rpc("eth_sendRawTransaction", f"0x{bytes(only.raw).hex()}")
        world.anvil.mine()
        assert look(payment).status == "mined"


def test_f45_of_an_order_without_a_limit_lost_bytes_are_sent_again_however_late(world: World) -> None:
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        (only,) = variants(payment)
        with unguarded(ExchangeOrder):
            ExchangeOrder.objects.update(created_at=clock.now() - timedelta(hours=3))
        world.anvil.rpc("anvil_dropTransaction", only.tx_hash)

        assert look(payment).review_reason == ""
        assert is_pending(world, only.tx_hash)
