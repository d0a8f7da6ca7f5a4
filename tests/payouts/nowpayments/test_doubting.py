"""What was booked and is in doubt since: no batch takes it before a person has looked."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import Client as Browser

from batches.services import release_batch
from config.lib.adminkit.links import page_of
from config.lib.adminkit.operations import describe_state
from payouts.models import Accumulation, AccumulationStatus, ReviewCause
from payouts.services import close_review, unhold_accumulation
from payouts.services.nowpayments.reviewing import open_review
from tests.factories import policy
from tests.lib.concurrency import crew, wait_until_blocked
from tests.payouts.nowpayments.sending import ACTOR, known, tell
from tests.payouts.sending import client
from tests.web.scene import batch_of

pytestmark = pytest.mark.django_db(transaction=True)

NEWS = {
    "corrected figures": {"outcome_amount": "0.00099", "updated_at": 1765249469999},
    "another price": {"price_amount": "31"},
    "a refund at another price": {"payment_status": "refunded", "price_amount": "31"},
    "a parent known too late": {"parent_payment_id": 5524759000},
    "a word we do not know": {"payment_status": "charged_back"},
}


def hear(**changes: Any) -> None:
    # The factories count clients from 1.
    tell(**{"order_id": "shop:user-1", **changes})


def booked() -> Accumulation:
    return Accumulation.objects.get(payment_id="5524759814")


@pytest.fixture(autouse=True)
def _booked() -> None:
    policy(100)
    client("shop")
    hear()


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
def test_news_about_what_is_pending_holds_it(news: dict[str, Any]) -> None:
    hear(**news)

    assert booked().status == AccumulationStatus.HELD
    assert booked().hold_reason == f"In question at NOWPayments: {known().review_reason}"


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
def test_news_about_what_a_batch_has_holds_it_when_the_batch_gives_it_back(news: dict[str, Any]) -> None:
    batch, _ = batch_of("50")
    hear(**news)
    assert booked().status == AccumulationStatus.SWAPPING

    release_batch(batch=batch, actor=ACTOR, reason="the exchange is gone")

    assert booked().status == AccumulationStatus.HELD
    assert booked().hold_reason.startswith("In question at NOWPayments: ")
    assert Accumulation.objects.get(status=AccumulationStatus.PENDING).source == "tests"


def test_what_was_refunded_while_a_batch_had_it_is_held_when_the_batch_gives_it_back() -> None:
    batch, _ = batch_of("50")
    hear(payment_status="refunded")
    close_review(payment=known(), actor=ACTOR, reason="seen")

    release_batch(batch=batch, actor=ACTOR, reason="the exchange is gone")

    assert (booked().status, booked().hold_reason) == ("held", "NOWPayments refunded the payment.")
    assert [change.to_status for change in booked().status_changes.order_by("pk")][-2:] == ["pending", "held"]


def test_a_person_who_let_it_go_on_is_not_contradicted_by_the_same_news() -> None:
    hear(price_amount="31")
    close_review(payment=known(), actor=ACTOR, reason="the first is right, says the shop")
    assert booked().status == AccumulationStatus.HELD
    hear(price_amount="32")
    unhold_accumulation(accumulation=booked(), actor=ACTOR, reason="so it is")

    hear(price_amount="32")

    assert booked().status == AccumulationStatus.PENDING


def test_each_correction_is_a_question_of_its_own_and_holds() -> None:
    # Back and forth: figures that were told before are news again.
    for turn, outcome in enumerate(("0.0098", "0.0001", "0.0098", "0.0001")):
        if booked().status == AccumulationStatus.HELD:
            # Who lets it go on leaves the review open.
            unhold_accumulation(accumulation=booked(), actor=ACTOR, reason="so it is")
        seen = describe_state(known())

        hear(outcome_amount=outcome, updated_at=1765249469999 + turn)

        assert booked().status == AccumulationStatus.HELD
        # Who closes the review from a page that is older is shown the new figures first.
        assert describe_state(known()) != seen
        assert known().review_reason.endswith(f"is {outcome}; what was booked stands.")


def test_another_release_leaves_alone_what_a_person_let_go_on() -> None:
    hear(payment_status="refunded")
    hear(payment_id=2)
    batch, _ = batch_of("50")
    unhold_accumulation(accumulation=booked(), actor=ACTOR, reason="the shop pays it all the same")

    release_batch(batch=batch, actor=ACTOR, reason="the exchange is gone")

    assert booked().status == AccumulationStatus.PENDING


def test_the_page_of_what_is_held_leads_to_the_question(admin_client: Browser) -> None:
    hear(price_amount="31")

    page = admin_client.get(page_of(booked())).content.decode()

    assert page_of(known()) in page
    assert "In question at NOWPayments" in page


def ask_a_person() -> None:
    open_review(payment=known(), actor=ACTOR, cause=ReviewCause.NEWS, reason="for a test")


def test_a_question_that_is_first_is_seen_by_the_release() -> None:
    batch, _ = batch_of("50")

    with crew(1) as workers:
        with transaction.atomic():
            ask_a_person()
            released = workers.start(lambda: release_batch(batch=batch, actor=ACTOR, reason="for a test"))
            wait_until_blocked()
        released.result()

    assert booked().status == AccumulationStatus.HELD


def test_a_release_that_is_first_is_seen_by_the_question() -> None:
    batch, _ = batch_of("50")

    with crew(1) as workers:
        with transaction.atomic():
            release_batch(batch=batch, actor=ACTOR, reason="for a test")
            asked = workers.start(ask_a_person)
            wait_until_blocked()
        asked.result()

    assert booked().status == AccumulationStatus.HELD


def test_a_question_about_what_is_not_booked_stops_nothing_that_is() -> None:
    open_review(payment=known(), actor=ACTOR, cause=ReviewCause.UNANSWERED, reason="there is none")

    assert booked().status == AccumulationStatus.PENDING
