"""ordered → signed: at most one signature for a nonce, and none that should not be."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import settings as how_often
from hypothesis import strategies as some
from pytest_django import Settings

from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from config.lib.money import ETH, from_units, to_units
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, NonceSlot, Transaction, Wallet
from hostpay.providers.ethereum import FeeQuote, UnsignableError, UnsignedTransfer
from hostpay.providers.signer import KeystoreSigner
from hostpay.services import signing
from hostpay.services.fees import Fees, market_fees, raised_fees, too_dear
from hostpay.services.steps import Review, Said, write_down
from tests.hostpay.chain import (
    ACTOR,
    ALICE,
    GWEI,
    VALUE_WEI,
    balance_of,
    crash_at,
    height,
    look,
    no_blocks,
    ordered,
    through,
    use_key_elsewhere,
    variants,
)
from tests.lib.concurrency import crew
from tests.lib.faulty_node import FaultyNode
from tests.lib.unguarded import unguarded
from tests.lib.world import World, make_due

on_database = pytest.mark.django_db(transaction=True)


@on_database
def test_f44_a_crash_before_the_signature_is_committed_leaves_nothing(world: World) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()

    with crash_at('INSERT INTO "hostpay_transactionstatuschange"'):
        services.sign(payment_id=payment.pk, actor=ACTOR)

    assert not Transaction.objects.exists()
    assert not NonceSlot.objects.exists()
    assert HostPayment.objects.get().status == "ordered"
    assert world.sent_transactions() == sent_before

    world.drive_to_final(payment)

    assert world.sent_transactions() == sent_before + 1
    assert [variant.status for variant in variants(payment)] == ["final"]


@on_database
def test_f44_what_was_signed_before_a_crash_is_sent_as_it_was_signed(world: World) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()

    services.sign(payment_id=payment.pk, actor=ACTOR)

    (signed,) = variants(payment)
    assert (signed.status, signed.broadcasts) == ("signed", 0)
    assert world.sent_transactions() == sent_before

    world.drive_to_final(payment)

    (final,) = variants(payment)
    assert (final.tx_hash, bytes(final.raw), final.broadcasts) == (signed.tx_hash, bytes(signed.raw), 1)
    assert world.sent_transactions() == sent_before + 1


@on_database
def test_f44_a_crash_after_the_broadcast_leads_to_no_second_payment(world: World) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()
    services.sign(payment_id=payment.pk, actor=ACTOR)

    with crash_at('UPDATE "hostpay_transaction" SET "status"'):
        services.advance(payment_id=payment.pk, actor=ACTOR)

    assert HostPayment.objects.get().status == "signed"
    world.anvil.mine()
    assert world.sent_transactions() == sent_before + 1

    world.drive_to_final(payment)

    (only,) = variants(payment)
    # The node was not even asked to take it again: it says that it has it.
    assert (only.status, only.broadcasts) == ("final", 1)
    assert world.sent_transactions() == sent_before + 1


@on_database
def test_f47_two_signers_race_for_one_payment_and_one_signs(world: World) -> None:
    payment = ordered(world)
    start = threading.Barrier(2)

    def sign(mine: HostPayment) -> Said | str:
        start.wait(10)
        try:
            return signing.sign(payment=mine, actor=ACTOR)
        except StaleRowError:
            return "stale"

    with crew(2) as workers:
        rows = [HostPayment.objects.select_related("wallet").get(pk=payment.pk) for _ in range(2)]
        said = [future.result() for future in [workers.start(partial(sign, row)) for row in rows]]

    assert sorted(map(repr, said)) == ["'stale'", "Proceed()"]
    assert Transaction.objects.count() == NonceSlot.objects.count() == 1


@on_database
def test_f47_two_payments_race_for_one_wallet_and_the_second_waits(world: World) -> None:
    payments = [ordered(world), ordered(world)]
    start = threading.Barrier(2)

    def sign(pk: Any) -> Said:
        mine = HostPayment.objects.select_related("wallet").get(pk=pk)
        start.wait(10)
        return signing.sign(payment=mine, actor=ACTOR)

    with crew(2) as workers:
        said = [f.result() for f in [workers.start(partial(sign, each.pk)) for each in payments]]

    assert [type(each).__name__ for each in sorted(said, key=repr)] == ["Proceed", "Wait"]
    assert "the wallet is busy with instant" in repr(said)
    assert Transaction.objects.count() == 1
    assert sorted(HostPayment.objects.values_list("status", flat=True)) == ["ordered", "signed"]

    world.drive(lambda: HostPayment.objects.filter(status__in=("final", "settled")).count() == 2)

    nonces = list(NonceSlot.objects.order_by("nonce").values_list("nonce", flat=True))
    assert nonces[1] == nonces[0] + 1


@on_database
def test_f48_a_nonce_used_elsewhere_halts_the_wallet_and_asks_a_person(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    second = ordered(world)
    use_key_elsewhere(world)
    world.anvil.mine()
    sent_before = world.sent_transactions()

    second = look(second)

    wallet = Wallet.objects.get()
    assert second.status == "ordered"
    assert "key was used elsewhere" in second.review_reason
    assert wallet.halted_at is not None
    assert wallet.halted_reason == second.review_reason
    third = look(ordered(world))
    assert third.waiting_reason == f"the wallet is halted: {wallet.halted_reason}"
    assert Transaction.objects.count() == 1
    assert world.sent_transactions() == sent_before

    services.lift_halt(wallet=wallet, actor=ALICE, reason="it was the treasurer")
    services.retry_payment(payment=second, actor=ALICE, reason="the wallet is ours again")
    world.drive(lambda: HostPayment.objects.filter(status="settled").count() == 3)

    assert world.sent_transactions() == sent_before + 2


@on_database
def test_f48_a_foreign_transaction_in_the_pool_halts_the_wallet_before_it_is_mined(world: World) -> None:
    world.drive_to(ordered(world), "settled")
    payment = ordered(world)
    with no_blocks(world.anvil):
        use_key_elsewhere(world)

        payment = look(payment)

        assert "key was used elsewhere" in payment.review_reason
        assert Transaction.objects.count() == 1
        with pytest.raises(RefusedError, match="1 transactions of the wallet wait in the node's pool"):
            services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="let us try")
    assert Wallet.objects.get().halted_at is not None


@on_database
def test_f48_a_nonce_below_ours_sends_the_missing_bytes_again_and_skips_nothing(world: World) -> None:
    first = world.drive_to_final(ordered(world))
    (paid,) = variants(first)
    second = ordered(world)
    world.anvil.rpc("anvil_reorg", height(world) - int(paid.block_number or 0) + 1, [])
    sent_without = world.sent_transactions()

    with no_blocks(world.anvil):
        second = look(second)

        assert second.status == "ordered"
        assert "one of ours is missing and was sent again" in second.waiting_reason
        assert Transaction.objects.count() == 1
        world.anvil.mine(2)
    # What was final was taken back: nothing more is signed before a person has looked.
    world.drive(lambda: bool(services.open_breakers()))
    (opened,) = services.open_breakers()
    assert opened.cause == "chain"
    assert len(variants(second)) == 0
    services.close_breaker(breaker=opened, actor=ALICE, reason="the same bytes are in the chain again")
    second = world.drive_to_final(second)

    assert world.sent_transactions() == sent_without + 2
    assert [v.slot.nonce for v in (*variants(first), *variants(second))] == [paid.slot.nonce, paid.slot.nonce + 1]


@on_database
def test_f52_a_receiver_that_refuses_the_money_is_seen_before_signing(world: World) -> None:
    payment = ordered(world)
    payin_address = payment.orders.get().payin_address
    world.anvil.rpc("anvil_setCode", payin_address, "0x60006000fd")

    payment = look(payment)

    assert payment.status == "ordered"
    assert "revert" in payment.review_reason
    assert not Transaction.objects.exists()


@on_database
def test_f52_gas_for_a_contract_is_estimated_with_room(world: World) -> None:
    payment = ordered(world)
    # Stores a word, which a plain transfer's 21000 would not pay for.
    world.anvil.rpc("anvil_setCode", payment.orders.get().payin_address, "0x6001600055")

    payment = world.drive_to_final(payment)

    (variant,) = variants(payment)
    assert (variant.gas_used or 0) > 40_000
    assert variant.gas_limit >= (variant.gas_used or 0) * 5 // 4


@on_database
def test_f53_too_little_in_the_wallet_is_waited_out_and_goes_on_by_itself(world: World) -> None:
    payment = ordered(world)

    with balance_of(world, 2 * 10**15):
        payment = look(payment)

        assert payment.waiting_reason.startswith("insufficient funds: the wallet has 0.002 ETH and needs 0.010")
        assert not payment.needs_review
    with balance_of(world, VALUE_WEI + 1000):
        payment = look(payment)

        assert "insufficient funds" in payment.waiting_reason.lower()
        assert payment.next_action_at is not None
    assert not Transaction.objects.exists()

    payment = world.drive_to_final(payment)

    assert payment.waiting_reason == ""


@on_database
def test_f53_a_balance_that_drops_between_check_and_send_is_waited_out(world: World) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()
    services.sign(payment_id=payment.pk, actor=ACTOR)

    with balance_of(world, 10**15):
        payment = look(payment)

        assert (payment.status, payment.review_reason) == ("signed", "")
        assert "insufficient funds" in payment.waiting_reason.lower()
    payment = world.drive_to_final(payment)

    assert len(variants(payment)) == 1
    assert world.sent_transactions() == sent_before + 1


@on_database
def test_f54_fees_fifty_times_as_high_are_waited_out(world: World) -> None:
    payment = ordered(world)
    world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(150 * GWEI))
    world.anvil.mine()
    try:
        payment = look(payment)

        assert payment.waiting_reason.endswith("wei, the cap is 200000000000")
        assert (payment.status, payment.review_reason) == ("ordered", "")
        assert not Transaction.objects.exists()
    finally:
        world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        world.anvil.mine()

    assert world.drive_to_final(payment).waiting_reason == ""


@on_database
def test_f54_gas_that_costs_too_much_of_the_value_is_waited_out(world: World, settings: Settings) -> None:
    settings.MAX_FEE_TO_VALUE_BPS = 1
    payment = look(ordered(world, 3 * 10**15))

    assert payment.waiting_reason.endswith("the cap is 1 bps of the value")
    assert not Transaction.objects.exists()

    settings.MAX_FEE_TO_VALUE_BPS = 10_000
    world.drive_to_final(payment)


@on_database
@pytest.mark.parametrize(
    "answer",
    [
        {"result": None},
        {"result": {"baseFeePerGas": ["0x0", "0x0"], "reward": [["0x0"]]}},
        {"result": {"baseFeePerGas": ["0x1", hex(10**30)], "reward": [["0x1"]]}},
        {"result": {"baseFeePerGas": [None, None], "reward": [[None]]}},
    ],
    ids=["null", "zero", "absurd", "nothing in it"],
)
def test_f54_a_fee_that_makes_no_sense_is_never_signed(
    world: World, settings: Settings, answer: dict[str, Any]
) -> None:
    payment = ordered(world)
    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.say("eth_feeHistory", times=100, **answer)

        payment = look(payment)

    assert (payment.status, payment.review_reason) == ("ordered", "")
    assert payment.waiting_reason
    assert not Transaction.objects.exists()
    world.drive_to_final(payment)


@given(wei=some.integers(min_value=0, max_value=10**30))
def test_f58_a_value_is_the_same_wei_in_decimals_and_back(wei: int) -> None:
    assert to_units(from_units(wei, ETH), ETH) == wei


@how_often(max_examples=40)
@given(wei=some.integers(min_value=0, max_value=10**30))
def test_f58_the_signed_bytes_carry_exactly_the_value(wei: int) -> None:
    signer = KeystoreSigner(Account.from_key(b"\x01" * 32))
    unsigned = transfer(value_wei=wei)

    raw = signer.sign(unsigned).raw

    assert TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["value"] == wei


@pytest.mark.parametrize("value", [1.0, 0.5, -1, 2**256, True, "1", None])
def test_f58_what_is_no_whole_number_of_wei_cannot_be_signed(value: Any) -> None:
    with pytest.raises(UnsignableError, match="value_wei"):
        transfer(value_wei=value)


@given(
    max_fee=some.integers(min_value=1, max_value=10**14),
    share=some.integers(min_value=0, max_value=100),
    base=some.integers(min_value=1, max_value=10**13),
    tip=some.integers(min_value=0, max_value=10**12),
)
def test_f49_raised_fees_are_an_eighth_higher_and_at_least_the_market(
    max_fee: int, share: int, base: int, tip: int
) -> None:
    before = Fees(max_fee_per_gas_wei=max_fee, max_priority_fee_per_gas_wei=max_fee * share // 100)
    market = market_fees(FeeQuote(base_fee_wei=base, priority_fee_wei=tip))

    raised = raised_fees(before, market)

    for name in ("max_fee_per_gas_wei", "max_priority_fee_per_gas_wei"):
        assert getattr(raised, name) * 8 > getattr(before, name) * 9
        assert getattr(raised, name) >= getattr(market, name)
    assert raised.max_priority_fee_per_gas_wei <= raised.max_fee_per_gas_wei


@given(value_wei=some.integers(min_value=1, max_value=10**30))
def test_f54_the_ceiling_on_the_share_of_the_value_is_exact(value_wei: int) -> None:
    """1000 bps: a tenth of the value to the wei."""
    for gas_limit, is_dear in ((value_wei // 10, False), (value_wei // 10 + 1, True)):
        fees = Fees(max_fee_per_gas_wei=1, max_priority_fee_per_gas_wei=0)
        assert bool(too_dear(fees, gas_limit=gas_limit, value_wei=value_wei)) is is_dear


def transfer(*, value_wei: Any) -> UnsignedTransfer:
    return UnsignedTransfer(
        chain_id=1,
        nonce=0,
        to="0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        value_wei=value_wei,
        gas_limit=21_000,
        max_fee_per_gas_wei=2,
        max_priority_fee_per_gas_wei=1,
    )


@on_database
def test_a_signer_that_outlasts_its_lease_signs_nothing_that_another_put_into_review(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = ordered(world)
    asked = signing._ask_chain

    def meanwhile(*args: Any) -> Any:
        HostPayment.objects.update(review_reason="has changed", review_since=timezone.now(), next_action_at=None)
        return asked(*args)

    monkeypatch.setattr(signing, "_ask_chain", meanwhile)

    make_due()
    services.sign(payment_id=payment.pk, actor=ACTOR)

    row = HostPayment.objects.get()
    assert (row.status, row.review_reason, row.next_action_at) == ("ordered", "has changed", None)
    assert not Transaction.objects.exists()


@on_database
def test_an_order_that_grew_old_while_the_node_was_asked_is_not_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = ordered(world)
    asked = signing._ask_chain

    def meanwhile(*args: Any) -> Any:
        with unguarded(ExchangeOrder):
            ExchangeOrder.objects.update(created_at=timezone.now() - timedelta(minutes=11))
        return asked(*args)

    monkeypatch.setattr(signing, "_ask_chain", meanwhile)

    make_due()
    services.sign(payment_id=payment.pk, actor=ACTOR)

    assert HostPayment.objects.get().status == "ordered"
    assert not Transaction.objects.exists()


@on_database
def test_what_was_signed_while_another_put_it_into_review_is_watched_on(world: World) -> None:
    payment = ordered(world)
    seen_before = HostPayment.objects.get()
    services.sign(payment_id=payment.pk, actor=ACTOR)
    lease = timezone.now() + timedelta(minutes=1)
    HostPayment.objects.update(next_action_at=lease)

    write_down(seen_before, Review(reason="has changed"), lease=lease, actor=ACTOR)

    row = HostPayment.objects.get()
    assert (row.status, row.review_reason) == ("signed", "has changed")
    assert row.next_action_at is not None
    assert row.next_action_at < lease
