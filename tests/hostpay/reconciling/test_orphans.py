"""Orders at the exchange that the books do not know: what our own key paid is taken on by nobody, and gets a row."""

from __future__ import annotations

from decimal import Decimal

import pytest

from config.invariants import examine
from config.lib.errors import RefusedError
from config.lib.money import ETH, USDT
from hostpay import gateways, services
from hostpay.models import AcceptedDifference, ExchangeOrder, HostPayment, NonceSlot, Wallet
from hostpay.providers.addresses import checksummed
from hostpay.providers.changenow import OrderRequest
from hostpay.providers.ethereum import UnsignedTransfer
from hostpay.services import halting
from hostpay.services.reconciling import attach_alone, attach_order, readopt_sent, sign_off
from tests.hostpay.chain import ACTOR, ALICE, BOB, GWEI, look
from tests.hostpay.reconciling.books import line_of, reconciled, settle_books
from tests.hostpay.reconciling.test_attaching import restore_from_before_the_order
from tests.hostpay.reconciling.test_exchanges import deposit, orphan, until_status
from tests.lib.swaps import Swaps, fresh, order_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def forgotten(swaps: Swaps) -> tuple[HostPayment, str]:
    """A payment whose order, paid and seen by the exchange, the books have forgotten; and the order's id."""
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    payment = swaps.deposited(30)
    order_id = order_of(payment).provider_order_id or ""
    restore_from_before_the_order(payment)
    return HostPayment.objects.select_related("wallet").get(pk=payment.pk), order_id


def test_f69_an_orphan_that_our_key_paid_is_signed_off_by_nobody_and_says_what_is_next(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten

    run = reconciled("provider")

    told = line_of(run, f"order {order_id}")
    (sent,) = {row["payin_hash"] for row in swaps.books() if row["id"] == order_id}
    assert (told.verdict, told.is_acceptable) == ("alarm", False)
    assert told.theirs.endswith(f"our own key paid it by {sent}, which the books do not know")
    for words in (
        "would be paid a second time",
        "Nobody can sign this off",
        f"--attach {order_id} --payment",
        "--new-payment",
        "reconcile --chain --adopt",
    ):
        assert words in told.next_step
    with pytest.raises(RefusedError, match=rf"It can be mended.*order {order_id}.*Attach it to the payment"):
        sign_off(run=run, actor=ALICE, reason="it is nobody's")
    assert not AcceptedDifference.objects.filter(row=f"order {order_id}").exists()

    attach_order(payment=payment, order_id=order_id, actor=ALICE, reason="the only one of 0.015 ETH")
    assert readopt_sent(actor=ALICE, reason="restored").is_open
    swaps.world.drive_to(payment, "settled")
    assert reconciled("provider").result == "agrees"


def test_f69_a_false_sign_off_from_before_opens_no_way_to_lift_the_halt(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    sent = swaps.world.sent_transactions()
    look(payment)
    # Taken on by versions that let one: the nonce, and the order.
    sign_off(run=reconciled("chain"), actor=ALICE, reason="it is nobody's")
    told = line_of(reconciled("provider"), f"order {order_id}")
    AcceptedDifference.objects.create(
        key=told.key,
        row=told.row,
        ours=told.ours,
        theirs=told.theirs,
        reconciliation=AcceptedDifference.objects.latest("pk").reconciliation,
    )

    with pytest.raises(RefusedError, match=rf"Our own key paid order {order_id} by 0x\w+, and the books know neither"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it is nobody's")

    assert Wallet.objects.get().halted_at is not None
    assert line_of(reconciled("provider"), f"order {order_id}").verdict == "alarm"
    assert look(payment).status == "ordered"
    assert swaps.world.sent_transactions() == sent


def test_f69_our_key_is_found_by_the_chain_where_the_exchange_names_no_transaction(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    look(payment)
    swaps.answer_by_id("payinHash", None)

    told = line_of(reconciled("provider"), f"order {order_id}")

    assert (told.verdict, told.is_acceptable) == ("alarm", False)
    assert "by a transaction it does not name; our own key paid it by 0x" in told.theirs
    with pytest.raises(RefusedError, match=f"Our own key paid order {order_id}"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it is nobody's")


def test_an_orphan_that_somebody_else_paid_is_a_persons_to_take_on(swaps: Swaps) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    placed = orphan(swaps)
    deposit(swaps, placed.payin_address)
    until_status(swaps, placed.order_id, "finished")
    run = reconciled("provider")
    told = line_of(run, f"order {placed.order_id}")
    assert (told.verdict, told.is_acceptable) == ("alarm", True)
    assert "by none of our transactions that the books do not know" in told.next_step
    services.halt_wallet(wallet=Wallet.objects.get(), actor=ALICE, reason="looked at")
    with pytest.raises(RefusedError, match="Ask the exchange whose money it is"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="looked at")

    sign_off(run=run, actor=ALICE, reason="a customer took the wrong address")
    services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="looked at")

    assert reconciled("provider").result == "agrees"


def test_f69_what_was_sent_for_a_purpose_that_is_gone_gets_a_payment_of_its_own_and_is_paid_once(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    lost, order_id = forgotten
    sent = swaps.world.sent_transactions()
    look(lost)
    with pytest.raises(RefusedError, match=f"may have been made for payment {lost.pk}, which is ordered and of that"):
        attach_alone(order_id=order_id, actor=ALICE, reason="nobody knows")
    assert HostPayment.objects.count() == 2
    # Its batch is gone; here the payment is closed by hand.
    services.close_unsent(payment=fresh(lost), actor=ALICE, reason="its members are held")

    order = attach_alone(order_id=order_id, actor=ALICE, reason="its members are held")

    payment = order.payment
    assert (payment.context, payment.reference, payment.status) == ("instant", f"order {order_id}", "ordered")
    assert int(payment.amount_units) == int(lost.amount_units)
    done = readopt_sent(actor=ALICE, reason="restored")
    assert ([each.slot.payment for each in done.adopted], done.is_open) == ([payment], True)
    payment = swaps.world.drive_to(payment, "settled")
    assert payment.received_units
    assert (swaps.world.sent_transactions(), NonceSlot.objects.filter(payment=lost).exists()) == (sent, False)
    assert [str(finding) for finding in examine() if not finding.holds] == []
    assert reconciled("provider").result == reconciled("chain").result == "agrees"


def test_f69_a_payment_of_its_own_is_of_what_the_chain_shows_where_the_exchange_names_no_transaction(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    lost, order_id = forgotten
    services.close_unsent(payment=lost, actor=ALICE, reason="its members are held")
    swaps.answer_by_id("payinHash", None)

    order = attach_alone(order_id=order_id, actor=ALICE, reason="its members are held")

    assert int(order.payment.amount_units) == int(lost.amount_units)
    assert readopt_sent(actor=ALICE, reason="restored").is_open


def test_f69_nothing_stands_of_a_payment_of_its_own_that_was_refused(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    lost, order_id = forgotten
    services.close_unsent(payment=lost, actor=ALICE, reason="its members are held")
    before = HostPayment.objects.count()
    placed = orphan(swaps)
    deposit(swaps, placed.payin_address)
    until_status(swaps, placed.order_id, "finished")

    for asked, actor, words in (
        (order_id, ACTOR, "a person and a reason"),
        (order_of(HostPayment.objects.earliest("created_at")).provider_order_id or "", ALICE, "is in the books"),
        (placed.order_id, ALICE, r"the chain shows no transaction of .* that paid it"),
        (orphan(swaps).order_id, ALICE, "nobody has paid it"),
    ):
        with pytest.raises(RefusedError, match=words):
            attach_alone(order_id=asked, actor=actor, reason="its members are held")

    assert (HostPayment.objects.count(), Wallet.objects.get().halted_at) == (before, None)


def test_f69_a_nonce_that_was_signed_off_too_soon_is_taken_back_with_its_order(
    swaps: Swaps, forgotten: tuple[HostPayment, str]
) -> None:
    payment, order_id = forgotten
    sent = swaps.world.sent_transactions()
    sign_off(run=reconciled("chain"), actor=ALICE, reason="my own sweep")
    look(payment)
    # Nobody saw the order: with a key that may not list, say.
    halting.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="my own sweep")

    attach_order(payment=fresh(payment), order_id=order_id, actor=BOB, reason="it was ours after all")

    assert Wallet.objects.get().halted_at is not None
    done = readopt_sent(actor=BOB, reason="it was ours after all")
    assert ([each.slot.payment for each in done.adopted], done.is_open) == ([payment], True)
    swaps.world.drive_to(payment, "settled")
    assert swaps.world.sent_transactions() == sent


def test_f69_a_deposit_at_an_order_of_a_live_payment_is_taken_on_only_when_that_has_ended(
    swaps: Swaps,
) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    payment = swaps.ordered()
    order = order_of(payment)
    deposit(swaps, order.payin_address or "", int(order.send_units))
    until_status(swaps, order.provider_order_id or "", "finished")
    row = f"order {order.provider_order_id}"
    assert not line_of(reconciled("provider"), row).is_acceptable

    services.close_unsent(payment=payment, actor=ALICE, reason="somebody else paid it")

    assert line_of(reconciled("provider"), row).is_acceptable
    assert ExchangeOrder.objects.get(pk=order.pk).status == "abandoned"


def test_f69_inc61_what_our_key_paid_on_terms_that_are_not_ours_gets_a_payment_and_lets_the_halt_be_lifted(
    swaps: Swaps,
) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    order_id = paid_by_a_predecessor(swaps)
    waiting = look(swaps.ordered(44))
    assert Wallet.objects.get().halted_at is not None
    with pytest.raises(RefusedError, match=rf"--attach {order_id} --new-payment"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="the system before this one")

    order = attach_alone(order_id=order_id, actor=ALICE, reason="the system before this one")

    refund_to = f"refund address is {STRANGER}, not {swaps.world.wallet_address}"
    assert order.refund_address == STRANGER
    assert refund_to in fresh(order.payment).review_reason
    assert order.payment.status_changes.filter(reason__contains=refund_to).exists()
    sent = swaps.world.sent_transactions()
    done = readopt_sent(actor=ALICE, reason="the system before this one")
    assert ([each.slot.payment for each in done.adopted], done.is_open) == ([order.payment], True)
    assert swaps.world.sent_transactions() == sent
    assert swaps.world.drive_to(order.payment, "settled").received_units
    swaps.world.drive_to(waiting, "settled")
    assert swaps.world.sent_transactions() == sent + 1
    assert [str(finding) for finding in examine() if not finding.holds] == []
    assert reconciled("provider").result == reconciled("chain").result == "agrees"


@pytest.mark.parametrize("told", [{"refundAddress": ""}, {"refundAddress": None}, {"toCurrency": "btc"}])
def test_f69_inc61_terms_that_are_not_ours_stand_in_the_review_of_a_payment_of_its_own(
    swaps: Swaps, told: dict[str, str | None]
) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    order_id = paid_by_a_predecessor(swaps)
    for field, value in told.items():
        swaps.answer_by_id(field, value)

    order = attach_alone(order_id=order_id, actor=ALICE, reason="the system before this one")

    (field,) = told
    words = "refund address is not given" if field == "refundAddress" else "to is "
    assert words in fresh(order.payment).review_reason
    assert (order.expected_units is None) == (field == "toCurrency")
    assert readopt_sent(actor=ALICE, reason="the system before this one").is_open


@pytest.mark.parametrize("field", ["payinAddress", "expectedAmountFrom"])
def test_f69_inc61_a_payment_of_its_own_is_of_the_order_that_our_key_paid_and_of_no_other(
    swaps: Swaps, field: str
) -> None:
    swaps.world.drive_to(swaps.deposited(20), "settled")
    settle_books(swaps.world)
    order_id = paid_by_a_predecessor(swaps)
    before = HostPayment.objects.count()
    swaps.answer_by_id(field, STRANGER if field == "payinAddress" else 0.5)

    with pytest.raises(RefusedError, match=r"that paid it|amount is"):
        attach_alone(order_id=order_id, actor=ALICE, reason="the system before this one")

    assert HostPayment.objects.count() == before


STRANGER = checksummed("0x" + "12" * 20, field="stranger")


def paid_by_a_predecessor(swaps: Swaps) -> str:
    """An order of our account, paid by our key, whose refund would go elsewhere; its id."""
    wallet, anvil = swaps.world.wallet_address, swaps.world.anvil
    placed = gateways.exchange().create_exchange(
        OrderRequest(
            from_asset=ETH,
            to_asset=USDT,
            from_amount=Decimal("0.015"),
            payout_address=wallet,
            refund_address=STRANGER,
            tag="",
        )
    )
    signed = gateways.signer().sign(
        UnsignedTransfer(
            chain_id=31337,
            nonce=swaps.world.sent_transactions(),
            to=placed.payin_address,
            value_wei=15 * 10**15,
            gas_limit=21_000,
            max_fee_per_gas_wei=100 * GWEI,
            max_priority_fee_per_gas_wei=GWEI,
        )
    )
    anvil.rpc("eth_sendRawTransaction", f"0x{signed.raw.hex()}")
    until_status(swaps, placed.order_id, "finished")
    anvil.mine(5)
    return placed.order_id
