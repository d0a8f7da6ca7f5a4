"""The reconciler: payments whose notifications never came, asked for until they end."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from config.lib.errors import RefusedError
from payouts.models import Accumulation, AccumulationStatus, InboundEvent, NowPayment, Outcome, ReviewCause
from payouts.services import advance_payment, close_review, due_payments, ingest_payment, waiting_notifications
from payouts.services.nowpayments.reviewing import open_review
from payouts.tasks import advance_now_payment, process_notification
from tests.lib.scripted_http import Reply, ScriptedServer
from tests.payouts.nowpayments.conftest import PRICE
from tests.payouts.nowpayments.sending import ACTOR, body, known, tell
from tests.payouts.sending import client

pytestmark = pytest.mark.django_db(transaction=True)


def let_time_pass() -> None:
    NowPayment.objects.filter(next_action_at__isnull=False).update(next_action_at=timezone.now())


def look() -> NowPayment:
    """One look of the worker, as if its time had come."""
    let_time_pass()
    advance_payment(payment_pk=known().pk, actor=ACTOR)
    return known()


def wait_of(payment: NowPayment) -> timedelta:
    assert payment.next_action_at is not None
    return payment.next_action_at - timezone.now()


def answer(**changes: object) -> str:
    return body(updated_at="2026-01-01T00:00:00.000Z", **changes).decode()


def test_a_payment_that_never_finished_is_asked_for_and_recorded(provider: ScriptedServer) -> None:
    client()
    tell(payment_status="confirming")
    provider.say_json(answer())

    payment = look()

    assert (payment.status, payment.accumulation) == ("finished", Accumulation.objects.get())
    assert [asked.path for asked in provider.asked] == ["/v1/payment/5524759814"]
    assert provider.asked[0].headers["x-api-key"] == "sandbox-only-nowpayments-key"
    kept = InboundEvent.objects.get(outcome=Outcome.RECORDED)
    assert kept.headers == {"asked": "GET /v1/payment/{id}"}


def test_an_answer_that_says_nothing_new_is_not_kept_and_the_waits_grow(provider: ScriptedServer) -> None:
    tell(payment_status="waiting")
    provider.say_json(answer(payment_status="waiting"))

    waits = [round(wait_of(look()) / timedelta(minutes=15)) for _ in range(8)]

    assert waits == [1, 2, 4, 8, 16, 32, 32, 32]
    assert InboundEvent.objects.count() == 1


def test_nobody_asks_before_its_time(provider: ScriptedServer) -> None:
    tell(payment_status="waiting")

    advance_payment(payment_pk=known().pk, actor=ACTOR)

    assert provider.asked == []
    assert known().pk not in due_payments(now=timezone.now(), limit=10)


def test_a_provider_that_is_away_is_asked_again(provider: ScriptedServer) -> None:
    tell(payment_status="waiting")
    provider.say(Reply(status=503))

    payment = look()

    assert (payment.attempts, payment.review_reason) == (1, "")
    assert "HTTP 503" in payment.last_error
    assert "sandbox-only-nowpayments-key" not in payment.last_error
    assert wait_of(payment) < timedelta(minutes=1)


def test_a_payment_the_provider_does_not_know_is_for_a_person(provider: ScriptedServer) -> None:
    tell(payment_status="waiting")
    provider.say_json('{"statusCode":404,"code":"NOT_FOUND","message":"Payment not found"}', status=404)

    assert look().review_reason == "payment 5524759814 of nowpayments: there is none"


KEY_IS_WRONG = Reply(status=403, body=b'{"statusCode":403,"code":"INVALID_API_KEY","message":"Invalid api key"}')


def test_what_was_not_answered_is_no_question_any_more_when_it_is(provider: ScriptedServer) -> None:
    client()
    for status, booked in (("waiting", 0), ("finished", 1)):
        tell(payment_status=status)
        provider.say(KEY_IS_WRONG, Reply(body=answer(payment_status=status).encode()))

        assert "HTTP 403 INVALID_API_KEY" in look().review_reason

        assert (look().review_reason, Accumulation.objects.count()) == ("", booked)
        assert known().status_changes.filter(reason="review closed: NOWPayments answers again").count() == 1 + booked
        assert wait_of(known()) > timedelta(minutes=10)


@pytest.mark.parametrize("cause", [ReviewCause.UNANSWERED, ReviewCause.STALE, ReviewCause.REFUSED])
def test_a_payment_that_nothing_was_heard_of_is_booked_when_it_is_notified(cause: ReviewCause) -> None:
    client()
    tell(payment_status="waiting")
    open_review(payment=known(), actor=ACTOR, cause=cause, reason="for a test")

    tell()

    assert (known().accumulation, known().review_reason) == (Accumulation.objects.get(), "")


@pytest.mark.parametrize("cause", [ReviewCause.UNKNOWN_WORD, ReviewCause.NEWS, ReviewCause.CONFLICT])
def test_what_a_person_must_decide_no_notification_ends(cause: ReviewCause, provider: ScriptedServer) -> None:
    client()
    tell(payment_status="waiting")
    open_review(payment=known(), actor=ACTOR, cause=cause, reason="for a test")
    provider.say_json(answer())

    tell()
    look()

    assert (known().status, known().review_reason) == ("finished", "for a test")
    assert not Accumulation.objects.exists()


def test_money_waits_for_a_price_that_was_refused_and_is_booked_when_it_is_told(exchange: ScriptedServer) -> None:
    client()
    exchange.say(
        Reply(status=400, body=b'{"error":"pair_is_inactive","message":"Pair is inactive"}'), Reply(body=PRICE.encode())
    )

    tell()
    assert known().review_cause == ReviewCause.UNANSWERED
    assert not Accumulation.objects.exists()

    assert (look().review_reason, Accumulation.objects.get().gross_usd) == ("", Decimal(30))


def test_an_answer_about_another_payment_changes_nothing(provider: ScriptedServer) -> None:
    client()
    tell(payment_status="waiting")
    provider.say_json(answer(payment_id="1"))

    payment = look()

    assert payment.status == "waiting"
    assert "the answer is about 1" in payment.review_reason
    assert not Accumulation.objects.exists()


def test_a_refund_that_only_answers_tell_is_found(provider: ScriptedServer) -> None:
    client()
    tell()
    provider.say_json(answer(payment_status="refunded"))

    payment = look()

    assert payment.status == "refunded"
    assert Accumulation.objects.get().status == AccumulationStatus.HELD
    assert payment.next_action_at is None


def test_what_is_booked_is_looked_at_three_times_more(provider: ScriptedServer) -> None:
    client()
    tell()
    provider.say_json(answer())
    assert round(wait_of(known()) / timedelta(days=1)) == 1

    assert [round(wait_of(look()) / timedelta(days=1)) for _ in range(2)] == [6, 23]
    assert look().next_action_at is None
    assert Accumulation.objects.count() == 1


def test_a_later_deposit_that_an_answer_about_the_first_lists_is_asked_for(provider: ScriptedServer) -> None:
    client()
    tell(payment_extra_ids=None)
    provider.say(
        Reply(body=answer(payment_extra_ids=[5524759999]).encode()),
        Reply(body=answer(payment_id="5524759999", parent_payment_id=None, outcome_amount="0.002").encode()),
    )

    look()
    later = known("5524759999")
    assert (later.parent_payment_id, later.accumulation) == ("5524759814", None)
    advance_payment(payment_pk=later.pk, actor=ACTOR)

    assert [asked.path for asked in provider.asked] == ["/v1/payment/5524759814", "/v1/payment/5524759999"]
    assert Accumulation.objects.get(payment_id="5524759999").gross_usd == Decimal(6)


def test_a_later_deposit_booked_before_the_first_lists_it_is_told_of(provider: ScriptedServer) -> None:
    client()
    tell(payment_id=5524759999, payment_extra_ids=None)

    tell(payment_extra_ids=[5524759999, 5524759814])

    assert known("5524759999").parent_payment_id == "5524759814"
    assert known("5524759999").review_reason.startswith("It is a later deposit of payment 5524759814")
    assert NowPayment.objects.count() == 2


def test_what_a_later_deposit_lists_are_no_deposits_of_its_own() -> None:
    client()

    tell(parent_payment_id=5524759000, payment_extra_ids=[5524759814, 5524759815])

    assert list(NowPayment.objects.values_list("payment_id", flat=True)) == ["5524759814"]


def test_one_that_is_listed_by_two_payments_is_for_a_person() -> None:
    tell(payment_status="waiting", payment_extra_ids=[7])

    tell(payment_id=6, payment_status="waiting", payment_extra_ids=[7])

    assert known("7").parent_payment_id == "5524759814"
    assert known("7").review_reason == "NOWPayments names two parents of it, 5524759814 and 6."
    # Said once: what a person has decided is not asked again, however often the list comes.
    close_review(payment=known("7"), actor=ACTOR, reason="it is of the first one")
    tell(payment_id=6, payment_status="confirming", payment_extra_ids=[7])
    assert known("7").review_reason == ""


def test_finished_without_an_outcome_is_not_yet(provider: ScriptedServer) -> None:
    client()
    provider.say_json(answer(outcome_amount=None))

    event = tell(outcome_amount=None)

    assert (event.outcome, known().review_reason) == (Outcome.NOTED, "")
    assert not Accumulation.objects.exists()
    provider.say_json(answer())
    assert look().accumulation == Accumulation.objects.get()


def test_one_without_an_outcome_for_long_is_for_a_person(provider: ScriptedServer) -> None:
    client()
    provider.say_json(answer(outcome_amount=None))
    tell(outcome_amount=None)

    for _ in range(8):
        look()

    assert known().review_reason == "NOWPayments calls payment 5524759814 finished without an outcome."


@pytest.mark.parametrize("nothing", ["0", "0.00", None])
def test_one_without_an_outcome_for_long_is_asked_for_each_day_until_it_is_told(
    nothing: str | None, provider: ScriptedServer
) -> None:
    client()
    provider.say_json(answer(outcome_amount=nothing))
    tell(outcome_amount=nothing)
    for _ in range(6):
        look()
    asked, since, told = len(provider.asked), known().review_since, known().status_changes.count()
    assert (known().review_cause, asked) == (ReviewCause.UNANSWERED, 6)

    assert [round(wait_of(look()) / timedelta(days=1)) for _ in range(4)] == [1, 1, 1, 1]

    assert len(provider.asked) == asked + 4
    assert (known().review_since, known().status_changes.count()) == (since, told)
    assert not Accumulation.objects.exists()
    provider.say_json(answer())
    assert (look().review_reason, Accumulation.objects.get().outcome_amount) == ("", "0.0099")


def test_one_that_is_unfinished_for_a_month_is_for_a_person(provider: ScriptedServer) -> None:
    tell(payment_status="waiting")
    provider.say_json(answer(payment_status="waiting"))
    NowPayment.objects.update(created_at=timezone.now() - timedelta(days=31))

    payment = look()

    assert payment.review_reason == "It has been waiting for more than 30 days."
    assert round(wait_of(payment) / timedelta(days=1)) == 1


def test_a_lost_notification_is_ingested_by_its_number(provider: ScriptedServer) -> None:
    client()
    provider.say_json(answer())

    payment = ingest_payment(payment_id="5524759814", actor=ACTOR)

    assert payment.accumulation == Accumulation.objects.get()
    assert InboundEvent.objects.get().outcome == Outcome.RECORDED


def test_what_only_an_answer_told_is_worth_its_outcome(provider: ScriptedServer) -> None:
    client()
    provider.say_json(answer())

    payment = ingest_payment(payment_id="5524759814", actor=ACTOR)

    assert (payment.accumulation, Accumulation.objects.get().gross_usd) == (Accumulation.objects.get(), Decimal("29.7"))
    tell()
    assert (known().is_parent_told, known().review_cause) == (True, ReviewCause.NEWS)
    assert "booked at its outcome, $29.70; its price is owed, $30.00" in known().review_reason
    assert Accumulation.objects.get().gross_usd == Decimal("29.7")


def test_what_was_refused_for_want_of_its_notification_is_booked_when_that_comes(provider: ScriptedServer) -> None:
    client()
    provider.say_json(answer(outcome_currency="xmr"))
    ingest_payment(payment_id="5524759814", actor=ACTOR)
    assert (known().review_cause, Accumulation.objects.count()) == (ReviewCause.REFUSED, 0)

    tell(outcome_currency="xmr")

    # Another asset than ETH is held, and owed its price.
    assert (known().review_reason, Accumulation.objects.get().gross_usd) == ("", Decimal(30))


def test_ingesting_what_is_recorded_changes_nothing(provider: ScriptedServer) -> None:
    client()
    tell()
    provider.say_json(body().decode())

    payment = ingest_payment(payment_id="5524759814", actor=ACTOR)

    assert payment.accumulation == Accumulation.objects.get()
    assert sorted(InboundEvent.objects.values_list("outcome", flat=True)) == ["recorded", "replayed"]


def test_ingesting_again_after_the_client_was_made_records_it(provider: ScriptedServer) -> None:
    provider.say_json(answer())
    assert "No client has the id" in ingest_payment(payment_id="5524759814", actor=ACTOR).review_reason
    client()

    payment = ingest_payment(payment_id="5524759814", actor=ACTOR)

    assert (payment.review_reason, payment.accumulation) == ("", Accumulation.objects.get())


def test_the_command_says_what_became_of_each(provider: ScriptedServer) -> None:
    client()
    provider.say(
        Reply(body=answer().encode()),
        Reply(body=answer(payment_id="2", payment_status="waiting").encode()),
        Reply(status=404),
    )
    out, err = StringIO(), StringIO()

    with pytest.raises(CommandError, match="1 of 3 payments were not recorded"):
        call_command("ingest_payment", "5524759814", "2", "3", stdout=out, stderr=err)

    assert out.getvalue() == (
        f"payment 5524759814: finished, accumulation {Accumulation.objects.get().pk}.\n"
        "payment 2: waiting; nothing to record.\n"
    )
    assert err.getvalue() == "payment 3: payment 3 of nowpayments: there is none\n"


def test_the_tasks_record_a_stored_notification_once() -> None:
    client()
    event = InboundEvent.objects.create(source="nowpayments", event_id="5524759814", body=body(), verdict="valid")

    process_notification(event.pk)
    process_notification(event.pk)
    advance_now_payment(known().pk)

    assert Accumulation.objects.count() == 1
    assert waiting_notifications(limit=10) == []


def test_a_review_is_closed_with_a_reason_only() -> None:
    tell()

    with pytest.raises(RefusedError, match="needs a reason"):
        close_review(payment=known(), actor=ACTOR, reason=" ")

    assert known().review_reason != ""


def test_a_tick_takes_up_what_no_message_told_of() -> None:
    client()
    event = InboundEvent.objects.create(source="nowpayments", event_id="5524759814", body=body(), verdict="valid")
    InboundEvent.objects.update(received_at=timezone.now() - timedelta(minutes=1))

    call_command("tick", "--only", "sweep_nowpayments", stdout=StringIO())

    event.refresh_from_db()
    assert event.accumulation == Accumulation.objects.get()
