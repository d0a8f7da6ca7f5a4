"""Whatever order notifications come in, however often: the payment ends the same, and is booked once."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from payouts.models import RANK, Accumulation, InboundEvent, NowPayment, Outcome
from payouts.services import advance_payment, process_notification
from tests.lib.concurrency import crew
from tests.payouts.nowpayments.sending import ACTOR, body, known, tell
from tests.payouts.sending import client

WORDS = [word for word in RANK if word != "partially_paid"]


class TestOrdering(TestCase):
    """A class, since Hypothesis gives each example its own transaction only so."""

    def setUp(self) -> None:
        client()

    @settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, 3)), min_size=1, max_size=8))
    def test_f15_the_end_is_the_furthest_word_with_its_latest_figures(self, told: list[tuple[str, int]]) -> None:
        for word, version in told:
            # Of an asset that is held without a price: nobody outside is asked within an example's transaction.
            clock = 1765249461000 + version
            tell(payment_status=word, updated_at=clock, outcome_amount=f"0.0{version}", outcome_currency="btc")

        furthest = max(told, key=lambda each: (RANK[each[0]], each[1]))
        payment = known()
        assert (payment.status, payment.outcome_amount) == (furthest[0], f"0.0{furthest[1]}")
        assert Accumulation.objects.count() <= 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("order", list(itertools.permutations(("waiting", "sending", "finished"))), ids="-".join)
def test_every_order_books_it_once(order: tuple[str, ...]) -> None:
    client()

    for word in (*order, *order):
        tell(payment_status=word)

    assert known().status == "finished"
    assert Accumulation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_f2_sixteen_copies_processed_at_once_make_one_row() -> None:
    client()
    events = InboundEvent.objects.bulk_create(
        [InboundEvent(source="nowpayments", event_id="5524759814", body=body(), verdict="valid") for _ in range(16)]
    )

    def process(event: InboundEvent) -> None:
        pk = process_notification(event_id=event.pk, actor=ACTOR)
        if pk is not None:
            advance_payment(payment_pk=pk, actor=ACTOR)

    with crew(16) as workers:
        started = [workers.start(partial(process, event)) for event in events]
    for each in started:
        each.result()

    assert (NowPayment.objects.filter(payment_id="5524759814").count(), Accumulation.objects.count()) == (1, 1)
    outcomes = sorted(InboundEvent.objects.values_list("outcome", flat=True))
    assert outcomes == [Outcome.RECORDED, *[Outcome.REPLAYED] * 15]
