"""requested → ordered: F28 to F31, F33, and what holds an order back."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from config.lib.errors import RefusedError
from config.lib.money import ETH, USDT
from hostpay import gateways
from hostpay.models import BreakerCause, ExchangeOrder, HostPayment, OrderStatus, Transaction
from hostpay.providers.changenow import OrderRequest
from hostpay.services import AdoptedOrder, nudge, open_breaker, ordering, our_wallet, retry_payment
from hostpay.services.steps import Review
from tests.hostpay.chain import crash_at
from tests.lib.swaps import OPERATOR, WEI_PER_USD, Swaps, fresh, order_of
from tests.lib.unguarded import unguarded
from tests.lib.world import WORKER, World

pytestmark = pytest.mark.django_db(transaction=True)

CREATE = "/v2/exchange"


def lose_answer(world: World, *, after_effect: bool = True) -> None:
    world.exchange.fault("drop_after" if after_effect else "drop_before", CREATE, match={"method": "POST"})


def test_f28_an_order_whose_answer_was_lost_is_found_by_its_tag_and_adopted(swaps: Swaps) -> None:
    lose_answer(swaps.world)
    payment = swaps.request()

    swaps.world.step_all(may_sign=False)

    unknown = fresh(payment)
    assert (unknown.status, unknown.waiting_reason, unknown.review_reason) == ("requested", "", "")
    assert "it may have been done" in unknown.unknown_reason
    assert unknown.unknown_since is not None
    (exchange,) = swaps.books()
    intent = ExchangeOrder.objects.get()
    assert (intent.status, intent.is_current, intent.provider_order_id) == (OrderStatus.ORDERING, True, None)

    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)

    order = ExchangeOrder.objects.get()
    assert (order.pk, order.status, order.provider_order_id) == (intent.pk, OrderStatus.OPEN, exchange["id"])
    assert order.payin_address == exchange["payin_address"]
    assert payment.unknown_reason == ""
    assert len(swaps.books()) == 1


def test_f28_an_order_whose_page_names_no_amount_is_adopted_by_the_amount_in_the_list(swaps: Swaps) -> None:
    lose_answer(swaps.world)
    swaps.answer_by_id("expectedAmountFrom", None)

    payment = swaps.world.drive_to(swaps.request(), "ordered", may_sign=False)

    (exchange,) = swaps.books()
    assert order_of(payment).provider_order_id == exchange["id"]
    assert len(swaps.books()) == 1


def test_f28_nothing_is_signed_for_a_requesters_order_whose_amount_nobody_confirms(swaps: Swaps) -> None:
    adopted = placed_by_requester(Decimal("0.015"))
    swaps.answer_by_id("expectedAmountFrom", None)
    swaps.world.exchange.set(key_is_private=False)
    sent_before = swaps.world.sent_transactions()

    payment = swaps.world.drive_to_review(swaps.request(adopt=adopted))

    assert payment.review_reason == (
        f"exchange {adopted.provider_order_id} is not what was requested: its amount is confirmed by nobody: the provider's page of"
        " it names none, and our key may not ask the list; nothing was signed"
    )
    assert (payment.status, order_of(payment).status) == ("requested", OrderStatus.ORDERING)
    assert not Transaction.objects.filter(slot__payment=payment).exists()
    # Once the provider says it, a person's retry adopts it after all.
    swaps.world.exchange.clear_faults()
    retry_payment(payment=payment, actor=OPERATOR, reason="it names the amount now")
    swaps.world.drive_to(payment, "ordered", may_sign=False)
    assert swaps.world.sent_transactions() == sent_before


@pytest.mark.parametrize("is_named", [True, False])
def test_f28_a_requesters_order_of_another_amount_is_refused_whoever_tells_it(swaps: Swaps, is_named: bool) -> None:
    adopted = placed_by_requester(Decimal("0.016"))
    if not is_named:
        swaps.answer_by_id("expectedAmountFrom", None)

    payment = swaps.world.drive_to_review(swaps.request(adopt=adopted))

    assert "amount is 0.016" in payment.review_reason
    assert "not 0.015" in payment.review_reason
    assert not Transaction.objects.filter(slot__payment=payment).exists()


def test_f28_an_order_with_our_tag_and_another_amount_is_an_orphan(swaps: Swaps) -> None:
    payment = swaps.request()
    lose_answer(swaps.world, after_effect=False)
    swaps.world.step_all(may_sign=False)
    intent = ExchangeOrder.objects.get()
    gateways.exchange().create_exchange(replace(request_of(payment, amount=Decimal("0.5")), tag=str(intent.pk)))

    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)

    assert order_of(payment).pk != intent.pk
    wrong, right = swaps.books()
    assert order_of(payment).provider_order_id == right["id"] != wrong["id"]


@pytest.mark.parametrize("has_tags", [True, False])
def test_f28_where_the_key_may_not_list_another_order_is_made_and_only_that_one_is_ever_paid(
    swaps: Swaps, settings: Settings, has_tags: bool
) -> None:
    settings.CHANGENOW_PARTNER_FIELDS = has_tags
    gateways.exchange.cache_clear()
    swaps.world.exchange.set(key_is_private=False)
    lose_answer(swaps.world)

    payment = swaps.deposited()

    lost, paid = swaps.books()
    abandoned = ExchangeOrder.objects.get(is_current=False)
    assert (abandoned.status, abandoned.provider_order_id) == (OrderStatus.ABANDONED, None)
    assert order_of(payment).provider_order_id == paid["id"]
    assert paid["payin_hash"] is not None
    assert lost["payin_hash"] is None
    assert Transaction.objects.get().to_address == paid["payin_address"]


def test_f28_without_tags_it_is_found_by_amount_and_receiver_and_what_else_fits_is_listed_as_orphan(
    swaps: Swaps, settings: Settings
) -> None:
    settings.CHANGENOW_PARTNER_FIELDS = False
    gateways.exchange.cache_clear()
    payment = swaps.request()
    older = gateways.exchange().create_exchange(request_of(payment))
    gateways.exchange().create_exchange(request_of(payment, amount=Decimal("0.016")))
    time.sleep(0.01)
    lose_answer(swaps.world)

    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)

    newest = swaps.books()[-1]
    order = ExchangeOrder.objects.get()
    assert order.provider_order_id == newest["id"]
    noted = order.status_changes.get(data__has_key="orphans")
    assert noted.data == {"orphans": [older.order_id]}
    assert len(swaps.books()) == 3


def test_f28_an_order_that_was_never_made_is_made_once(swaps: Swaps) -> None:
    lose_answer(swaps.world, after_effect=False)

    payment = swaps.world.drive_to(swaps.request(), "ordered", may_sign=False)

    (exchange,) = swaps.books()
    assert order_of(payment).provider_order_id == exchange["id"]
    assert list(payment.orders.values_list("status", flat=True).order_by("created_at")) == ["abandoned", "open"]


def test_f28_nothing_is_ordered_while_the_provider_does_not_tell_what_it_has(swaps: Swaps) -> None:
    lose_answer(swaps.world)
    swaps.world.exchange.fault("5xx", "/v2/exchanges", match={"times": 2})
    payment = swaps.request()

    swaps.step()
    swaps.step()

    still = fresh(payment)
    assert "cannot be looked up yet" in still.unknown_reason
    assert still.attempts == 2
    assert len(swaps.books()) == 1
    assert ExchangeOrder.objects.count() == 1


def test_f28_there_is_no_retry_out_of_unknown_only_a_look(swaps: Swaps) -> None:
    lose_answer(swaps.world)
    payment = swaps.request()
    swaps.world.step_all(may_sign=False)

    with pytest.raises(RefusedError, match="outcome of a call is unknown") as refused:
        retry_payment(payment=fresh(payment), actor=OPERATOR, reason="hurry")

    assert "ask for a re-check" in refused.value.next_step
    assert fresh(payment).unknown_reason != ""
    assert nudge(payment_id=payment.pk)


def test_f28_two_payments_of_one_amount_do_not_take_each_others_order(swaps: Swaps, settings: Settings) -> None:
    settings.CHANGENOW_PARTNER_FIELDS = False
    gateways.exchange.cache_clear()
    swaps.world.exchange.fault("drop_after", CREATE, match={"method": "POST", "times": 2})
    first, second = swaps.request(), swaps.request()

    swaps.world.drive_to(first, "ordered", may_sign=False)
    swaps.world.drive_to(second, "ordered", may_sign=False)

    ids = {order_of(first).provider_order_id, order_of(second).provider_order_id}
    assert len(ids) == 2
    assert ids == {row["id"] for row in swaps.books()}


@pytest.mark.parametrize("reached_the_provider", [True, False])
def test_f29_a_worker_that_died_around_the_call_leaves_an_intent_that_is_looked_up(
    swaps: Swaps, reached_the_provider: bool
) -> None:
    payment = swaps.request()
    intent = ExchangeOrder.objects.create(
        payment=payment,
        send_units=payment.send_units,
        payout_address=payment.payout_address,
        refund_address=payment.wallet.address,
    )
    if reached_the_provider:
        gateways.exchange().create_exchange(request_of(payment, tag=str(intent.pk)))

    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)

    assert len(swaps.books()) == 1
    assert (order_of(payment).pk == intent.pk) is reached_the_provider
    assert ExchangeOrder.objects.filter(is_current=True).count() == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"fault": "html_200"}, "unreadable"),
        ({"fault": "missing_payin"}, "payinAddress is missing"),
        ({"fault": "wrong_echo", "field": "fromNetwork", "value": "bsc"}, "from network is bsc, asked was eth"),
        ({"fault": "wrong_echo", "field": "toNetwork", "value": "trx"}, "to network is trx, asked was eth"),
        (
            {"fault": "wrong_echo", "field": "payoutAddress", "value": "0x" + "ab" * 20},
            "payout address is 0x" + "ab" * 20,
        ),
        ({"fault": "wrong_echo", "field": "refundAddress", "value": ""}, "refund address is nothing"),
        ({"fault": "wrong_echo", "field": "fromAmount", "raw": "1e-7"}, "amount is 0.0000001, asked was 0.015"),
        ({"fault": "wrong_echo", "field": "fromAmount", "raw": "-0.015"}, "fromAmount is no amount of money"),
        ({"fault": "wrong_echo", "field": "fromAmount", "raw": "0"}, "fromAmount is zero"),
        ({"fault": "wrong_echo", "field": "fromAmount", "raw": "NaN"}, "unreadable"),
        ({"fault": "wrong_echo", "field": "payinExtraId", "value": "7"}, "pay-in memo is 7"),
        ({"fault": "wrong_echo", "field": "payinAddress", "value": "0x1234"}, "pay-in address is 0x1234"),
    ],
)
def test_f30_an_answer_that_is_not_what_was_ordered_is_refused_and_nothing_is_signed(
    swaps: Swaps, fault: dict[str, Any], says: str
) -> None:
    swaps.world.exchange.fault(fault.pop("fault"), CREATE, match={"method": "POST"}, **fault)
    sent_before = swaps.world.sent_transactions()

    payment = swaps.world.drive_to_review(swaps.request())

    assert says in payment.review_reason
    assert (payment.status, payment.next_action_at) == ("requested", None)
    assert ExchangeOrder.objects.get().status == OrderStatus.ABANDONED
    assert not Transaction.objects.exists()
    assert swaps.world.sent_transactions() == sent_before


@pytest.mark.parametrize("fault", ["missing_payin", "html_200"])
def test_f30_a_worker_that_dies_after_a_bad_answer_leaves_the_question_to_a_person(swaps: Swaps, fault: str) -> None:
    swaps.world.exchange.fault(fault, CREATE, match={"method": "POST"})
    payment = swaps.request()

    with crash_at('UPDATE "hostpay_hostpayment" SET "attempts"'):
        swaps.step()

    row = fresh(payment)
    assert (row.status, bool(row.review_reason)) == ("requested", True)
    assert ExchangeOrder.objects.get().status == OrderStatus.ABANDONED
    # Its lease runs out, and nobody orders another one before a person has looked.
    swaps.step()
    swaps.step()
    assert ExchangeOrder.objects.count() == 1


def test_f30_the_next_order_may_be_paid_once_a_person_has_looked(swaps: Swaps) -> None:
    swaps.world.exchange.fault("missing_payin", CREATE, match={"method": "POST"})
    payment = swaps.world.drive_to_review(swaps.request())

    retry_payment(payment=payment, actor=OPERATOR, reason="the provider mended it")
    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)

    assert payment.review_reason == ""
    assert payment.orders.count() == 2


def test_f31_a_payin_address_of_ours_or_of_a_contract_we_know_is_refused(swaps: Swaps) -> None:
    for address in (swaps.world.wallet_address, swaps.world.usdt_contract_address, "0x" + "0" * 40):
        swaps.world.exchange.fault("wrong_echo", CREATE, match={"method": "POST"}, field="payinAddress", value=address)
        payment = swaps.world.drive_to_review(swaps.request())
        assert "pay-in address" in payment.review_reason
        assert "nothing was signed" in payment.review_reason
        assert payment.status == "requested"

    assert not Transaction.objects.exists()


def test_f31_a_payin_address_that_was_used_before_is_refused(swaps: Swaps) -> None:
    used = order_of(swaps.ordered()).payin_address
    swaps.world.exchange.fault("wrong_echo", CREATE, match={"method": "POST"}, field="payinAddress", value=used)

    payment = swaps.world.drive_to_review(swaps.request())

    assert f"pay-in address {used} was used before" in payment.review_reason
    assert ExchangeOrder.objects.get(payment=payment).payin_address is None


def test_it_waits_with_the_figures_below_the_minimum_and_goes_on_by_itself(swaps: Swaps) -> None:
    swaps.world.exchange.set(minimum_usd="40")
    payment = swaps.request(30)

    swaps.step()

    waiting = fresh(payment)
    assert waiting.waiting_reason.startswith("0.015 ETH is below the provider's minimum of 0.02")
    assert waiting.next_action_at is not None
    assert swaps.books() == []
    swaps.world.exchange.set(minimum_usd="5")
    assert swaps.world.drive_to(payment, "ordered", may_sign=False).waiting_reason == ""


def test_what_is_above_the_maximum_does_not_wait_for_ever_but_for_a_person(swaps: Swaps) -> None:
    swaps.world.exchange.set(maximum_usd="20")

    payment = swaps.world.drive_to_review(swaps.request(30))

    assert "0.015 ETH is above the provider's maximum of 0.0" in payment.review_reason
    assert swaps.books() == []
    assert not ExchangeOrder.objects.filter(payment=payment).exists()
    swaps.world.exchange.set(maximum_usd=None)


def test_dollars_too_few_for_an_estimate_of_their_own_have_their_part_in_that_of_the_payment(swaps: Swaps) -> None:
    payment = swaps.request(25, unpriced_usd=Decimal("4.85"), expected_usd=Decimal("29.85"))
    whole = gateways.exchange().estimate(from_asset=USDT, to_asset=ETH, from_amount=Decimal("29.85")).to_amount

    payment = swaps.world.drive_to(payment, "ordered", may_sign=False)

    assert payment.priced_units == floor(Fraction(whole) * 10**18 * Fraction("4.85") / Fraction("29.85"))
    assert order_of(payment).send_units == payment.send_units == 25 * WEI_PER_USD + payment.priced_units


def test_dollars_too_few_alone_are_for_a_person(swaps: Swaps) -> None:
    payment = swaps.world.drive_to_review(swaps.request(0, unpriced_usd=Decimal("4.85"), expected_usd=Decimal("4.85")))

    assert "deposit_too_small" in payment.review_reason
    assert swaps.books() == []


def test_a_minimum_that_rose_since_it_was_asked_is_waited_for(swaps: Swaps) -> None:
    swaps.world.exchange.fault("error", CREATE, match={"method": "POST"}, code="deposit_too_small", message="Out of")

    payment = swaps.request()
    swaps.step()

    assert "deposit_too_small" in fresh(payment).waiting_reason
    assert fresh(payment).review_reason == ""


def test_a_fixed_rate_is_promised_and_its_end_is_kept(swaps: Swaps, settings: Settings) -> None:
    settings.CHANGENOW_FLOW = "fixed-rate"

    order = order_of(swaps.ordered())

    (exchange,) = swaps.books()
    assert (exchange["flow"], exchange["rate_id"] is not None) == ("fixed-rate", True)
    assert order.valid_until is not None
    assert timedelta(minutes=19) < order.valid_until - timezone.now() <= timedelta(minutes=20)


def test_a_fixed_rate_that_pays_less_than_was_promised_is_refused(swaps: Swaps, settings: Settings) -> None:
    settings.CHANGENOW_FLOW = "fixed-rate"
    swaps.world.exchange.fault("wrong_echo", CREATE, match={"method": "POST"}, field="toAmount", raw="29.5")

    payment = swaps.world.drive_to_review(swaps.request())

    assert "promised proceeds is 29.5, asked was 29.75" in payment.review_reason


def test_a_deposit_that_is_wanted_too_soon_is_never_sent_and_not_ordered_in_circles(
    swaps: Swaps, settings: Settings
) -> None:
    settings.CHANGENOW_FLOW = "fixed-rate"
    swaps.world.exchange.set(fixed_rate_deposit_s="110")

    payment = swaps.world.drive_to_review(swaps.request())

    assert "which is too soon" in payment.review_reason
    assert len(swaps.books()) == 1
    assert not Transaction.objects.exists()


def test_a_fixed_rate_that_ran_out_before_the_order_is_asked_for_anew(swaps: Swaps, settings: Settings) -> None:
    settings.CHANGENOW_FLOW = "fixed-rate"
    swaps.world.exchange.set(rate_valid_s="0")
    payment = swaps.request()

    swaps.step()

    assert "another rate is asked for" in fresh(payment).waiting_reason
    assert swaps.books() == []
    swaps.world.exchange.set(rate_valid_s="600")
    swaps.world.drive_to(payment, "ordered", may_sign=False)
    assert len(swaps.books()) == 1


def test_f33_a_rate_that_ran_out_while_the_payment_waited_for_gas_is_quoted_anew(
    swaps: Swaps, settings: Settings
) -> None:
    settings.CHANGENOW_FLOW = "fixed-rate"
    payment = swaps.ordered()
    expired = order_of(payment)
    # Less than two minutes are too few to be signed, sent and mined in.
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.update(valid_until=timezone.now() + timedelta(seconds=119))

    swaps.world.drive_to(payment, "final", "settled")

    assert order_of(payment).pk != expired.pk
    expired.refresh_from_db()
    assert (expired.status, expired.is_current) == (OrderStatus.EXPIRED, False)
    assert not Transaction.objects.filter(to_address=expired.payin_address).exists()


def test_f33_a_new_quote_beyond_the_band_is_for_a_person(swaps: Swaps, settings: Settings) -> None:
    payment = swaps.ordered()
    with unguarded(ExchangeOrder):
        ExchangeOrder.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    swaps.world.exchange.set(price_eth_usd="1700.00")

    swaps.look_until(lambda: fresh(payment).needs_review)

    assert "bps apart, 1000 allowed" in fresh(payment).review_reason
    assert f"worth {fresh(payment).valued_usd:f}".rstrip("0") in fresh(payment).review_reason
    assert fresh(payment).status == "requested"
    assert not Transaction.objects.exists()


def test_an_order_that_waited_is_asked_about_once_more_before_it_is_paid(swaps: Swaps) -> None:
    payment = swaps.ordered()
    aged(payment)
    swaps.answer_by_id("payinAddress", "0x" + "cd" * 20)

    payment = swaps.world.drive_to_review(payment)

    assert "has changed: pay-in address is 0x" + "cd" * 20 in payment.review_reason
    assert payment.status == "ordered"
    assert not Transaction.objects.exists()


def test_an_order_that_expired_at_the_provider_is_made_anew_and_never_paid(swaps: Swaps) -> None:
    payment = swaps.ordered()
    first = order_of(payment)
    swaps.world.exchange.force(first.provider_order_id or "", "expired")
    aged(payment)

    payment = swaps.world.drive_to(payment, "final", "settled")

    first.refresh_from_db()
    assert first.status == OrderStatus.EXPIRED
    assert Transaction.objects.get().to_address == order_of(payment).payin_address != first.payin_address


def aged(payment: HostPayment) -> None:
    """So long ordered that the provider's word is not fresh any more."""
    ExchangeOrder.objects.filter(payment=payment).update(status_changed_at=timezone.now() - timedelta(minutes=2))


def placed_by_requester(amount: Decimal) -> AdoptedOrder:
    """An order of `amount` ETH that pays to our wallet, which somebody else than hostpay placed."""
    ours = HostPayment(payout_address=our_wallet().address, wallet=our_wallet())
    placed = gateways.exchange().create_exchange(request_of(ours, amount=amount))
    return AdoptedOrder(provider_order_id=placed.order_id, payin_address=placed.payin_address)


def request_of(payment: HostPayment, *, amount: Decimal | None = None, tag: str = "") -> OrderRequest:
    return OrderRequest(
        from_asset=ETH,
        to_asset=USDT,
        from_amount=amount or Decimal(payment.send_units) / 10**18,
        payout_address=payment.payout_address,
        refund_address=payment.wallet.address,
        tag=tag,
    )


def test_the_worker_named_in_the_history_is_who_ordered(swaps: Swaps) -> None:
    payment = swaps.ordered()

    (ordered,) = payment.status_changes.filter(to_status="ordered")
    assert ordered.actor == str(WORKER)


def test_no_order_is_made_while_the_breaker_is_open(swaps: Swaps) -> None:
    payment = swaps.request()
    open_breaker(cause=BreakerCause.OPERATOR, detail="stop", actor=OPERATOR)

    swaps.step()

    row = fresh(payment)
    assert (row.status, row.orders.count()) == ("requested", 0)
    assert "the breaker is open" in row.waiting_reason
    assert swaps.books() == []


def test_no_order_is_made_anew_while_the_breaker_is_open(swaps: Swaps) -> None:
    payment = swaps.ordered()
    open_breaker(cause=BreakerCause.OPERATOR, detail="stop", actor=OPERATOR)

    for _ in range(3):
        with unguarded(ExchangeOrder):
            ExchangeOrder.objects.update(created_at=timezone.now() - timedelta(minutes=11))
        swaps.step()

    row = fresh(payment)
    assert (row.status, row.orders.count()) == ("ordered", 1)
    assert "the breaker is open" in row.waiting_reason
    assert len(swaps.books()) == 1


def test_a_refused_order_is_never_given_up_without_its_review(swaps: Swaps) -> None:
    """A worker that has lost its lease, or dies, writes nothing down afterwards."""
    swaps.world.exchange.fault(
        "wrong_echo", CREATE, match={"method": "POST"}, field="payoutAddress", value="0x" + "ab" * 20
    )
    payment = HostPayment.objects.select_related("wallet").get(pk=swaps.request().pk)

    said = ordering.order(payment=payment, actor=WORKER)

    assert isinstance(said, Review)
    assert ExchangeOrder.objects.get().status == OrderStatus.ABANDONED
    row = fresh(payment)
    assert row.review_reason == said.reason
    assert "payout address is" in row.review_reason
