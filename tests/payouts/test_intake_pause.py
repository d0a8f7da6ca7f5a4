"""Pausing the intake against payments that are under way, on connections of their own."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from threading import Event

import pytest
from django.db import transaction

from hostpay.models import Pause, Switch
from hostpay.services import PausedError, pause
from payouts.models import Accumulation, InboundEvent
from payouts.services import PaymentFacts, Recorded, record_payment
from tests import factories
from tests.factories import ACTOR
from tests.lib.concurrency import PATIENCE_S, crew, wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)


def recording(payment_id: str, client_id: str) -> Callable[[], Recorded]:
    """Record a payment step by step, as an import does."""
    facts = PaymentFacts(
        source="tests", payment_id=payment_id, client_id=client_id, user_id="7", amount_usd=Decimal("4.85")
    )
    return lambda: record_payment(facts=facts, event=None, actor=ACTOR)


def pause_the_intake() -> Pause:
    return pause(switch=Switch.INTAKE, actor=ACTOR, reason="maintenance")


def lingering(work: Callable[[], object], acted: Event, go_on: Event) -> Callable[[], None]:
    """`work`, in a transaction that commits only after a word."""

    def act_and_linger() -> None:
        with transaction.atomic():
            work()
            acted.set()
            assert go_on.wait(PATIENCE_S)

    return act_and_linger


def test_f26_a_payment_looked_up_before_the_pause_is_not_recorded_after_it() -> None:
    client = factories.client()
    acted, go_on = Event(), Event()

    with crew() as workers:
        pausing = workers.start(lingering(pause_the_intake, acted, go_on))
        assert acted.wait(PATIENCE_S)
        # The look-up sees no pause yet; the insert waits for the one that is being made.
        paying = workers.start(recording("late", client.external_id))
        wait_until_blocked()
        go_on.set()
        pausing.result()
        with pytest.raises(PausedError, match="maintenance"):
            paying.result()

    assert not Accumulation.objects.exists()
    assert not InboundEvent.objects.exists()


def test_f26_a_pause_of_the_intake_waits_for_the_payments_under_way() -> None:
    client = factories.client()
    acted, go_on = Event(), Event()

    def pause_and_count() -> int:
        pause_the_intake()
        return Accumulation.objects.count()

    with crew() as workers:
        paying = workers.start(lingering(recording("early", client.external_id), acted, go_on))
        assert acted.wait(PATIENCE_S)
        pausing = workers.start(pause_and_count)
        wait_until_blocked()
        assert not pausing.done()
        go_on.set()
        paying.result()
        recorded_when_paused = pausing.result()

    assert recorded_when_paused == 1
    assert Accumulation.objects.count() == 1
