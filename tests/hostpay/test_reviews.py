"""What is asked of people about one payment: no question takes the place of another's, and none is asked twice."""

from __future__ import annotations

import pytest
from django.utils import timezone

from hostpay.models import HostPayment
from hostpay.services.steps import Review, close_answered, open_review, write_down
from tests.hostpay import rows
from tests.hostpay.chain import ACTOR

pytestmark = pytest.mark.django_db

HASH = "0x" + "Ab" * 32


def test_a_question_stands_beside_one_that_nobody_has_answered() -> None:
    payment = rows.payment()
    stale = HostPayment.objects.get()
    open_review(payment, Review(reason="is it ours?"), actor=ACTOR)
    since = payment.review_since

    # Whoever asks may have read the row before somebody else asked.
    open_review(stale, Review(reason="who paid it?"), actor=ACTOR)
    open_review(stale, Review(reason="is it ours?"), actor=ACTOR)

    row = HostPayment.objects.get()
    assert (row.review_reason, row.review_since) == ("is it ours?\nand: who paid it?", since)
    assert asked(row) == ["needs review: is it ours?", "needs review: who paid it?"]


def test_of_many_questions_the_latest_are_shown_and_all_are_in_the_history() -> None:
    payment = rows.payment()

    for number in range(9):
        open_review(payment, Review(reason=f"question {number}"), actor=ACTOR)

    assert HostPayment.objects.get().review_reason.split("\nand: ") == [
        "earlier questions, which stand in its history",
        *(f"question {number}" for number in range(4, 9)),
    ]
    assert len(asked(payment)) == 9


def test_an_answer_ends_the_questions_that_name_its_transaction_and_no_other() -> None:
    payment = rows.payment()
    for question in ("is it ours?", f"what is {HASH}?", "who paid it?"):
        open_review(payment, Review(reason=question), actor=ACTOR)

    close_answered(payment, about=HASH.lower())
    assert HostPayment.objects.get().review_reason == "is it ours?\nand: who paid it?"
    assert HostPayment.objects.get().review_since is not None

    open_review(payment, Review(reason=f"what is {HASH}?"), actor=ACTOR)
    close_answered(payment, about="?")
    row = HostPayment.objects.get()
    assert (row.review_reason, row.review_since) == ("", None)


def test_what_a_step_asks_gives_way_to_what_it_asks_now_and_leaves_what_others_asked_meanwhile() -> None:
    payment = rows.payment(next_action_at=(lease := timezone.now()))
    write_down(payment, Review(reason="10 came, not 12", after_s=0), lease=lease, actor=ACTOR)
    payment = due(payment, lease)
    write_down(payment, Review(reason="11 came, not 12", after_s=0), lease=lease, actor=ACTOR)
    assert HostPayment.objects.get().review_reason == "11 came, not 12"

    seen = due(payment, lease)
    open_review(payment, Review(reason="is it ours?"), actor=ACTOR)
    write_down(seen, Review(reason="refused", after_s=0), lease=lease, actor=ACTOR)

    assert HostPayment.objects.get().review_reason == "11 came, not 12\nand: is it ours?\nand: refused"


def test_a_question_that_a_step_asked_in_its_own_transaction_is_not_taken_away_by_its_answer() -> None:
    payment = rows.payment(next_action_at=(lease := timezone.now()))
    open_review(payment, Review(reason="is it ours?"), actor=ACTOR)
    seen = due(payment, lease)
    open_review(seen, Review(reason="refused"), actor=ACTOR)

    write_down(seen, Review(reason="refused", after_s=0), lease=lease, actor=ACTOR)

    assert HostPayment.objects.get().review_reason == "is it ours?\nand: refused"
    assert asked(payment) == ["needs review: is it ours?", "needs review: refused"]


def test_after_the_end_no_question_takes_the_place_of_another() -> None:
    payment = rows.payment(
        status="failed",
        failure_reason="written off",
        delivered_at=timezone.now(),
        next_action_at=(lease := timezone.now()),
        review_reason="it paid after all",
        review_since=timezone.now(),
    )

    write_down(payment, Review(reason="the exchange does not know it"), lease=lease, actor=ACTOR)

    assert HostPayment.objects.get().review_reason == "it paid after all\nand: the exchange does not know it"


def due(payment: HostPayment, lease: object) -> HostPayment:
    """The row as a worker that has the lease reads it."""
    HostPayment.objects.filter(pk=payment.pk).update(next_action_at=lease)
    return HostPayment.objects.get(pk=payment.pk)


def asked(payment: HostPayment) -> list[str]:
    changes = payment.status_changes.filter(reason__startswith="needs review").order_by("pk")
    return [change.reason for change in changes]
