"""From a notification to an accumulation: what is owed, what is held, what a person must decide."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from config.admin_site.attention import attention
from config.lib.errors import RefusedError
from hostpay.models import Switch
from hostpay.services import pause
from payouts.models import Accumulation, AccumulationStatus, InboundEvent, NowPayment, Outcome, ReviewCause
from payouts.services import (
    advance_payment,
    close_review,
    ingest_payment,
    replay_event,
    replayable_events,
    set_aside,
    take_up_again,
)
from payouts.services.nowpayments.reviewing import open_review
from tests.lib.concurrency import crew, wait_until
from tests.lib.scripted_http import Reply, ScriptedServer
from tests.payouts.nowpayments.sending import ACTOR, body, known, tell
from tests.payouts.sending import client

pytestmark = pytest.mark.django_db(transaction=True)


def only() -> Accumulation:
    return Accumulation.objects.get()


def test_a_finished_payment_is_recorded_with_the_asked_price_and_what_reached_us() -> None:
    owner = client()

    event = tell()

    row = only()
    assert (row.source, row.payment_id, row.client, row.user_id) == ("nowpayments", "5524759814", owner, "user-1")
    assert (row.gross_usd, row.received_wei) == (Decimal(30), 9_900_000_000_000_000)
    assert row.status == AccumulationStatus.PENDING
    assert (event.outcome, event.accumulation, event.error) == (Outcome.RECORDED, row, "")
    assert known().accumulation == row


def test_figures_finer_than_the_books_are_rounded_down_and_the_history_says_so() -> None:
    client()

    tell(price_amount="1.234567891", outcome_amount="0.00041234567890123457")

    assert (only().gross_usd, only().received_wei) == (Decimal("1.23456789"), 412_345_678_901_234)
    assert only().outcome_amount == "0.000412345678901234"
    assert known().outcome_amount == "0.00041234567890123457"
    assert (
        known()
        .status_changes.filter(
            reason="booked, rounded down: price_amount 1.234567891 to 1.23456789,"
            " outcome_amount 0.00041234567890123457 to 0.000412345678901234"
        )
        .exists()
    )


@pytest.mark.parametrize("told", ["0.0100000000000000001", "0.010000000000000000", "0.01"])
def test_one_amount_is_booked_as_one_text_or_as_it_came(told: str) -> None:
    client()

    tell(outcome_amount=told)

    assert only().received_wei == 10**16


def test_less_than_a_wei_is_refused() -> None:
    client()

    tell(parent_payment_id=1, outcome_amount="0.0000000000000000001")

    assert known().review_cause == ReviewCause.REFUSED
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize("status", ["waiting", "confirming", "confirmed", "sending", "failed", "expired", "cancelled"])
def test_no_other_status_records_anything(status: str) -> None:
    client()

    event = tell(payment_status=status)

    assert (event.outcome, known().status) == (Outcome.NOTED, status)
    assert not Accumulation.objects.exists()


def test_f1_the_same_notification_again_changes_nothing() -> None:
    client()
    tell()
    row = only()

    again = tell()

    assert again.outcome == Outcome.REPLAYED
    assert only() == row
    assert known().status_changes.count() == 2  # born, booked


def test_a_late_notification_does_not_move_it_back() -> None:
    client()
    tell()

    late = tell(payment_status="confirming")

    assert (late.outcome, known().status) == (Outcome.LATE, "finished")
    assert known().review_reason == ""


def test_a_client_with_a_negative_id_is_credited() -> None:
    owner = client("-1001234567890")

    tell(order_id="-1001234567890:77:sub-1")

    assert (only().client, only().user_id, only().subscription_id) == (owner, "77", "sub-1")


def test_an_unknown_client_is_kept_and_recorded_once_it_exists() -> None:
    event = tell()

    assert (event.outcome, known().last_error) == (Outcome.REFUSED, event.error)
    assert "No client has the id client-1" in known().review_reason
    assert list(replayable_events()) == [event]
    client()

    accumulation = replay_event(event_id=event.pk, actor=ACTOR)

    event.refresh_from_db()
    assert accumulation == only()
    assert (event.outcome, event.attempts, known().review_reason) == (Outcome.RECORDED, 2, "")


def test_a_replay_that_is_refused_again_says_why() -> None:
    event = tell()

    with pytest.raises(RefusedError, match="No client has the id client-1"):
        replay_event(event_id=event.pk, actor=ACTOR)

    event.refresh_from_db()
    assert event.outcome == Outcome.REFUSED
    assert not Accumulation.objects.exists()


def test_an_order_id_that_names_nobody_is_for_a_person() -> None:
    client()

    event = tell(order_id="PGP-77-1001234567890")

    assert event.outcome == Outcome.REFUSED
    assert "is not CLIENT:USER" in known().review_reason


def test_a_payment_in_part_is_held_and_worth_what_reached_us() -> None:
    client()

    tell(payment_status="partially_paid", actually_paid="0.005", outcome_amount="0.0049")

    row = only()
    assert (row.status, row.hold_reason) == (AccumulationStatus.HELD, "Paid in part: 0.005 of 0.01 ETH.")
    assert (row.gross_usd, row.received_wei) == (Decimal("14.7"), 4_900_000_000_000_000)
    assert (known().valued_usd, known().eth_usd) == (Decimal("14.7"), Decimal(3000))


def test_a_redeposit_is_credited_by_its_outcome_and_not_by_the_price_it_repeats() -> None:
    client()
    tell()

    tell(payment_id=5524759999, parent_payment_id=5524759814, outcome_amount="0.002", actually_paid="0.0021")

    row = Accumulation.objects.get(payment_id="5524759999")
    assert (row.gross_usd, row.received_wei, row.status) == (Decimal(6), 2 * 10**15, AccumulationStatus.PENDING)
    assert known("5524759999").parent_payment_id == "5524759814"


def test_a_parent_known_after_the_asked_price_was_booked_is_for_a_person() -> None:
    client()
    tell()

    tell(parent_payment_id=5524759000)

    assert (only().gross_usd, known().parent_payment_id) == (Decimal(30), "5524759000")
    assert known().review_reason == (
        "It is a later deposit of payment 5524759000, as is known only now."
        " The price of that one was booked, $30.00; what was booked stands."
    )


def test_a_price_in_another_currency_is_valued_by_the_outcome() -> None:
    client()

    tell(price_currency="eur")

    assert only().gross_usd == Decimal("29.7")


def test_finished_but_short_is_held() -> None:
    client()

    tell(actually_paid="0.0097")

    assert only().hold_reason == "Called finished by NOWPayments, but the customer sent 0.0097 of 0.01 ETH."
    assert only().gross_usd == Decimal("29.7")


def test_f24_a_finished_payment_that_brought_next_to_nothing_is_held_and_worth_that() -> None:
    client()

    tell(price_amount="501", actually_paid=None, outcome_amount="0.0000001")

    row = only()
    assert (row.status, row.gross_usd, row.received_wei) == (AccumulationStatus.HELD, Decimal("0.0003"), 10**11)
    assert row.hold_reason == (
        "What reached us is worth $0.0003 at $3,000.00 for one ETH, the price asked was $501.00: more than 1000 bps apart."
    )


def test_f24_a_wrong_asset_that_was_finished_by_itself_is_held() -> None:
    client()

    tell(price_amount="500", pay_amount="0.1667", actually_paid="5", outcome_amount="0.00166")

    assert (only().status, only().gross_usd) == (AccumulationStatus.HELD, Decimal("4.98"))


@pytest.mark.parametrize(
    ("asked", "status", "gross"),
    [("33", "pending", "33"), ("33.00000001", "held", "29.7"), ("27", "pending", "27"), ("26.9", "held", "29.7")],
)
def test_the_band_is_of_the_asked_price_and_includes_its_ends(asked: str, status: str, gross: str) -> None:
    client()

    tell(price_amount=asked)

    assert (only().status, only().gross_usd) == (status, Decimal(gross))


@pytest.mark.parametrize(("asked", "status", "gross"), [("4.9", "pending", "4.9"), ("5.1", "held", "3")])
def test_two_dollars_may_be_missing_of_however_small_a_payment(asked: str, status: str, gross: str) -> None:
    client()

    # Worth 3 USD: of so little a network's fee is much.
    tell(price_amount=asked, outcome_amount="0.001")

    assert (only().status, only().gross_usd) == (status, Decimal(gross))


def test_without_a_price_to_compare_by_it_waits(exchange: ScriptedServer) -> None:
    client()
    exchange.say(Reply(status=503))

    tell()

    assert (known().attempts, known().review_reason) == (1, "")
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize(("currency", "gross"), [("usdttrc20", "30"), ("btc", "30")])
def test_another_asset_is_held(currency: str, gross: str) -> None:
    client()

    tell(outcome_currency=currency, outcome_amount="29.5")

    assert (only().status, only().gross_usd, only().received_wei) == (AccumulationStatus.HELD, Decimal(gross), None)
    assert only().hold_reason == f"Arrived in {currency.upper()}: only ETH is converted in batches."


def test_a_redeposit_of_an_asset_without_a_price_is_for_a_person() -> None:
    client()

    event = tell(parent_payment_id=1, outcome_currency="doge", outcome_amount="100")

    assert event.outcome == Outcome.REFUSED
    assert known().review_reason == "The outcome is 100 doge, which we have no price for."
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize("currency", ["eth", "usdttrc20"])
def test_f9_an_outcome_worth_more_than_the_books_hold_is_for_a_person(currency: str) -> None:
    client()

    event = tell(parent_payment_id=1, outcome_currency=currency, outcome_amount="1000000000000")

    assert event.outcome == Outcome.REFUSED
    assert known().review_reason == f"The outcome of 1000000000000 {currency} is worth more than there is."
    assert not Accumulation.objects.exists()


def test_an_outcome_of_nothing_is_not_told_yet(provider: ScriptedServer) -> None:
    client()
    provider.say_json(body(outcome_amount="0").decode())

    tell(outcome_amount="0")

    assert (known().looks, known().review_reason) == (1, "")
    tell(updated_at=1765249469999)
    assert only().outcome_amount == "0.0099"


def test_what_was_refused_is_tried_with_the_figures_told_later() -> None:
    client()
    tell(outcome_currency="doge", parent_payment_id=1)
    assert known().review_cause == ReviewCause.REFUSED

    tell(parent_payment_id=1, updated_at=1765249469999)

    assert (only().gross_usd, known().review_reason) == (Decimal("29.7"), "")
    assert known().status_changes.filter(reason="review closed: NOWPayments tells more of it").exists()


def test_a_part_that_was_refused_is_tried_again_once_it_is_whole() -> None:
    client()
    tell(payment_status="partially_paid", outcome_currency="doge")

    tell()

    assert (only().gross_usd, only().status, known().review_reason) == (Decimal(30), AccumulationStatus.PENDING, "")


def test_a_figure_that_is_left_out_later_changes_nothing() -> None:
    client()
    tell()

    again = tell(outcome_amount=None, actually_paid=None, updated_at=1765249469999)

    assert (again.outcome, known().outcome_amount, known().actually_paid) == (Outcome.REPLAYED, "0.0099", "0.01")
    assert (only().status, known().review_reason) == (AccumulationStatus.PENDING, "")


def test_what_a_later_telling_leaves_out_stands_beside_what_it_corrects() -> None:
    tell(payment_status="sending")

    tell(payment_status="sending", outcome_amount="0.0098", actually_paid=None, updated_at=1765249469999)

    assert (known().outcome_amount, known().actually_paid) == ("0.0098", "0.01")


def test_a_step_that_breaks_off_says_so_and_is_tried_again() -> None:
    client()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_accumulation ADD CONSTRAINT nothing_of_user_1 CHECK (user_id <> 'user-1')")
    try:
        with pytest.raises(IntegrityError, match="nothing_of_user_1"):
            tell()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE payouts_accumulation DROP CONSTRAINT nothing_of_user_1")

    assert (known().last_error, known().attempts) == ("It broke off; the log has the reason.", 1)
    NowPayment.objects.update(next_action_at=timezone.now())
    advance_payment(payment_pk=known().pk, actor=ACTOR)
    assert (only().gross_usd, known().last_error) == (Decimal(30), "")


def test_money_that_is_not_booked_for_long_is_shown_to_people(exchange: ScriptedServer) -> None:
    client()
    exchange.say(Reply(status=503))
    tell()
    assert attention().items == []

    NowPayment.objects.update(status_changed_at=timezone.now() - timedelta(hours=1))

    (item,) = attention().items
    assert item.kind == "NOWPayments"
    assert "Payment 5524759814 at NOWPayments is finished and not booked yet, and is tried again: " in item.sentence
    assert "HTTP 503" in item.sentence


def test_a_price_that_cannot_be_asked_for_waits_and_is_tried_again(exchange: ScriptedServer) -> None:
    client()
    exchange.say(Reply(status=503))

    event = tell(price_currency="eur")

    assert (event.outcome, known().attempts, known().review_reason) == (Outcome.NOTED, 1, "")
    assert known().next_action_at is not None
    assert not Accumulation.objects.exists()


def test_while_the_intake_is_paused_it_waits() -> None:
    client()
    pause(switch=Switch.INTAKE, actor=ACTOR, reason="for a test")

    event = tell()

    assert (event.outcome, known().attempts) == (Outcome.NOTED, 1)
    assert not Accumulation.objects.exists()


def test_f15_a_refund_before_its_payment_leaves_nothing_to_record() -> None:
    client()
    tell(payment_status="refunded")

    late = tell()

    assert (late.outcome, known().status, known().next_action_at) == (Outcome.LATE, "refunded", None)
    assert not Accumulation.objects.exists()


def test_a_refund_holds_what_is_pending() -> None:
    client()
    tell()

    tell(payment_status="refunded")

    assert (only().status, only().hold_reason) == (AccumulationStatus.HELD, "NOWPayments refunded the payment.")
    assert known().review_reason == ""


def test_a_refund_after_the_conversion_is_for_a_person() -> None:
    client()
    tell(payment_status="partially_paid")
    status_before = only().status

    tell(payment_status="refunded")

    assert only().status == status_before == AccumulationStatus.HELD
    assert known().review_reason == "NOWPayments refunded it while its accumulation is held."
    assert only().status_changes.filter(reason="NOWPayments refunded the payment").exists()


@pytest.mark.parametrize("changed", [{"price_amount": "300"}, {"order_id": "client-2:user-1"}, {"pay_currency": "btc"}])
def test_another_content_of_the_same_payment_is_for_a_person(changed: dict[str, Any]) -> None:
    client()
    tell(payment_status="confirming")

    event = tell(**changed)

    assert event.outcome == Outcome.CONFLICT
    assert "tells of it differently" in known().review_reason
    assert not Accumulation.objects.exists()


def test_nothing_is_booked_during_a_review_and_it_goes_on_after_it(provider: ScriptedServer) -> None:
    client()
    provider.say_json(body().decode())
    tell(payment_status="confirming")
    tell(payment_status="confirming", price_amount="300")
    tell()
    assert not Accumulation.objects.exists()

    close_review(payment=known(), actor=ACTOR, reason="the first price is right")
    advance_payment(payment_pk=known().pk, actor=ACTOR)

    assert only().gross_usd == Decimal(30)


def refused_then_told_in_two_ways() -> InboundEvent:
    """Refused for want of a client, who exists by now; and told of with another price meanwhile. The refused event."""
    refused = tell()
    tell(order_id="client-2:user-1", price_amount="3")
    client()
    return refused


def test_a_replay_does_not_decide_what_a_person_must() -> None:
    event = refused_then_told_in_two_ways()

    with pytest.raises(RefusedError, match=r"which no retry ends: No client.* NOWPayments tells of it"):
        replay_event(event_id=event.pk, actor=ACTOR)

    assert not Accumulation.objects.exists()
    assert known().review_cause == ReviewCause.CONFLICT
    assert list(replayable_events()) == [event]
    close_review(payment=known(), actor=ACTOR, reason="the first is right, says the shop")
    advance_payment(payment_pk=known().pk, actor=ACTOR)
    assert (only().gross_usd, known().review_reason) == (Decimal(30), "")


def test_asking_again_does_not_decide_it_either(provider: ScriptedServer) -> None:
    refused_then_told_in_two_ways()
    provider.say_json(body().decode())

    with pytest.raises(RefusedError, match="which no retry ends"):
        ingest_payment(payment_id="5524759814", actor=ACTOR)

    assert not Accumulation.objects.exists()


def test_a_payment_can_be_set_aside_and_nothing_is_booked_for_it(provider: ScriptedServer) -> None:
    event = refused_then_told_in_two_ways()
    provider.say_json(body().decode())

    set_aside(payment=known(), actor=ACTOR, reason="paid out by hand")

    assert (known().review_reason, known().next_action_at, list(replayable_events())) == ("", None, [])
    tell()
    tell(order_id="client-2:user-1", price_amount="3")
    for retry in (
        lambda: replay_event(event_id=event.pk, actor=ACTOR),
        lambda: ingest_payment(payment_id="5524759814", actor=ACTOR),
    ):
        with pytest.raises(RefusedError, match="was set aside: nothing is booked for it"):
            retry()
    advance_payment(payment_pk=known().pk, actor=ACTOR)
    assert not Accumulation.objects.exists()
    assert known().review_reason == ""


def test_what_was_set_aside_can_be_taken_up_again() -> None:
    client()
    tell(order_id="nobody")
    set_aside(payment=known(), actor=ACTOR, reason="whose is it?")
    said = known().status_changes.values_list("data", flat=True).last()
    assert said == {"it said": "The order id 'nobody' is not CLIENT:USER or CLIENT:USER:SUBSCRIPTION."}

    take_up_again(payment=known(), actor=ACTOR, reason="they found out")
    advance_payment(payment_pk=known().pk, actor=ACTOR)

    assert known().review_cause == ReviewCause.REFUSED
    with pytest.raises(RefusedError, match="was not set aside"):
        take_up_again(payment=known(), actor=ACTOR, reason="once more")


def test_money_that_comes_after_a_payment_was_set_aside_is_told() -> None:
    client()
    tell(payment_status="waiting")
    set_aside(payment=known(), actor=ACTOR, reason="the order was cancelled")

    tell()

    assert known().review_reason == (
        "It was set aside, and since then NOWPayments calls it finished, with an outcome of 0.0099 eth."
    )
    close_review(payment=known(), actor=ACTOR, reason="sent back by hand")
    advance_payment(payment_pk=known().pk, actor=ACTOR)
    assert (known().review_reason, Accumulation.objects.count()) == ("", 0)


def test_one_that_is_set_aside_while_it_is_asked_about_is_in_no_review_for_want_of_the_answer(
    provider: ScriptedServer,
) -> None:
    tell(payment_status="waiting")
    NowPayment.objects.update(next_action_at=timezone.now())
    answers = Event()
    provider.say(Reply(status=403, until=answers))
    with crew(1) as workers:
        looked = workers.start(lambda: advance_payment(payment_pk=known().pk, actor=ACTOR))
        wait_until(lambda: bool(provider.asked))
        set_aside(payment=known(), actor=ACTOR, reason="the order was cancelled")
        answers.set()
        looked.result()

    assert (known().review_reason, known().next_action_at) == ("", None)


@pytest.mark.parametrize("cause", [ReviewCause.UNANSWERED, ReviewCause.STALE])
def test_who_set_it_aside_need_not_decide_for_want_of_anything(cause: ReviewCause) -> None:
    tell(payment_status="waiting")
    set_aside(payment=known(), actor=ACTOR, reason="the order was cancelled")

    open_review(payment=known(), actor=ACTOR, cause=cause, reason="for a test")

    assert (known().review_reason, known().review_cause) == ("", "")
    assert not known().status_changes.filter(reason__contains="needs a person").exists()


def test_what_is_told_of_one_that_was_set_aside_in_review_is_taken_in() -> None:
    """As earlier versions left it: set aside, and in review for want of an answer."""
    client()
    tell(payment_status="waiting")
    open_review(payment=known(), actor=ACTOR, cause=ReviewCause.UNANSWERED, reason="HTTP 403")
    NowPayment.objects.update(set_aside_at=timezone.now(), next_action_at=None)

    event = tell()

    assert (event.outcome, event.error, known().status) == (Outcome.NOTED, "", "finished")
    assert known().review_cause == ReviewCause.NEWS
    assert "since then NOWPayments calls it finished, with an outcome of 0.0099 eth." in known().review_reason
    assert not Accumulation.objects.exists()


def test_what_is_booked_is_not_set_aside() -> None:
    client()
    tell()

    with pytest.raises(RefusedError, match="is booked as accumulation"):
        set_aside(payment=known(), actor=ACTOR, reason="a mistake")
    with pytest.raises(RefusedError, match="needs a reason"):
        set_aside(payment=known(), actor=ACTOR, reason=" ")


def test_a_review_has_the_gravest_of_its_causes() -> None:
    for cause in (ReviewCause.STALE, ReviewCause.CONFLICT, ReviewCause.REFUSED):
        tell(payment_status="waiting")
        open_review(payment=known(), actor=ACTOR, cause=cause, reason=f"because of {cause}")

    assert known().review_cause == ReviewCause.CONFLICT
    assert known().review_reason == "because of stale because of conflict because of refused"


def test_figures_that_change_after_the_booking_change_nothing_and_are_told() -> None:
    client()
    tell()

    tell(outcome_amount="0.0098", updated_at=1765249469999)

    assert only().outcome_amount == "0.0099"
    assert known().review_reason == (
        "NOWPayments changed its figures at 2025-12-09 03:04:29.999000 UTC, after they were booked:"
        " outcome_amount was 0.0099, is 0.0098; what was booked stands."
    )


def test_finished_after_a_part_was_booked_is_for_a_person() -> None:
    client()
    tell(payment_status="partially_paid", actually_paid="0.005", outcome_amount="0.0049")

    tell()

    assert only().outcome_amount == "0.0049"
    assert only().status == AccumulationStatus.HELD
    assert "with other figures: 0.0099 eth" in known().review_reason


def test_a_word_we_do_not_know_is_for_a_person() -> None:
    client()

    tell(payment_status="teleported")

    assert known().review_reason == "NOWPayments calls it 'teleported', a word we do not know."
    assert known().next_action_at is not None


def test_a_withdrawal_is_noted_and_books_nothing() -> None:
    event = tell(b'{"id":"5000000713","status":"FINISHED","amount":"1"}')

    assert (event.outcome, event.event_id) == (Outcome.NOTED, "5000000713")
    assert "a withdrawal, or a move in custody" in event.error
    assert not Accumulation.objects.exists()


def test_what_cannot_be_read_is_refused_and_can_be_replayed() -> None:
    event = tell(b"signed nonsense")

    assert event.outcome == Outcome.REFUSED
    with pytest.raises(RefusedError, match="not JSON"):
        replay_event(event_id=event.pk, actor=ACTOR)
    assert InboundEvent.objects.get().outcome == Outcome.REFUSED
