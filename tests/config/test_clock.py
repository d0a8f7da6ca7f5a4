"""F68: the database's clock decides what is in force, whatever the clock of the machine that asks says."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser
from django.utils import timezone

from config import doctor
from config.lib import clock
from config.lib.audit import admin
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import Approval, HostPayment, Pause, Switch
from hostpay.services.deciding import WAIT, decision_data, waiting_decision
from hostpay.services.ordering import is_fundable
from tests.hostpay import rows
from tests.lib.unguarded import unguarded

pytestmark = pytest.mark.django_db

ALICE, BOB = admin("alice"), admin("bob")
JUMPS = pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=["ahead", "behind"])


def jumped(jump: timedelta) -> time_machine.travel:
    return time_machine.travel(timezone.now() + jump, tick=False)


def on_the_wire() -> HostPayment:
    payment = rows.payment(status="broadcast")
    rows.order(payment)
    rows.transaction(payment, nonce=7, status="broadcast")
    return payment


@JUMPS
def test_f68_a_pause_is_in_force_for_as_long_as_was_said(jump: timedelta) -> None:
    services.pause(switch=Switch.SIGNING, actor=ALICE, reason="a drill", expires_at=clock.now() + timedelta(minutes=10))

    with jumped(jump):
        assert services.is_paused(Switch.SIGNING) is not None

    with unguarded(Pause):
        Pause.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    with jumped(jump):
        assert services.is_paused(Switch.SIGNING) is None


@JUMPS
def test_f68_a_proposal_runs_out_when_its_hour_is_over_and_not_before(jump: timedelta) -> None:
    payment = on_the_wire()
    with jumped(jump):
        proposal = services.propose_cancel(payment=payment, actor=ALICE, reason="the exchange is gone")
        assert timedelta(minutes=59) < proposal.expires_at - clock.now() <= timedelta(hours=1)
        services.approve(approval=proposal, actor=BOB, reason="seen it too")

    decided = Approval.objects.get()
    assert decided.decided_at is not None
    assert abs(decided.decided_at - clock.now()) < timedelta(minutes=1)


@JUMPS
def test_f68_a_proposal_that_ran_out_is_not_revived_by_a_clock_that_is_behind(jump: timedelta) -> None:
    proposal = services.propose_cancel(payment=on_the_wire(), actor=ALICE, reason="the exchange is gone")
    with unguarded(Approval):
        Approval.objects.update(expires_at=clock.now() - timedelta(seconds=1))

    with jumped(jump), pytest.raises(RefusedError, match="ran out"):
        services.approve(approval=proposal, actor=BOB, reason="late")

    assert Approval.objects.get().decision == ""


@JUMPS
def test_f68_an_order_is_fundable_by_its_age_in_the_database(jump: timedelta) -> None:
    payment = rows.payment(status="ordered")
    young = rows.order(payment, valid_until=clock.now() + timedelta(minutes=10))

    with jumped(jump):
        assert is_fundable(young)

    young.valid_until = clock.now() + timedelta(minutes=1)
    with jumped(jump):
        assert not is_fundable(young)


@JUMPS
def test_f68_a_lease_is_neither_for_ever_nor_over_at_once(jump: timedelta) -> None:
    payment = rows.payment(next_action_at=clock.now() - timedelta(seconds=1))

    with jumped(jump):
        assert services.due_payments(now=clock.now(), limit=10) == [(payment.pk, "requested")]
        payment.move("cancelled", actor=ALICE, reason="as a person wants")

    assert abs(payment.status_changed_at - clock.now()) < timedelta(minutes=1)
    assert abs(HostPayment.objects.get().status_changed_at - clock.now()) < timedelta(minutes=1)


@JUMPS
def test_f68_a_decision_to_wait_is_for_the_time_that_was_said(jump: timedelta) -> None:
    payment = rows.payment(status="final")
    data = decision_data(WAIT, about="something", until=clock.now() + timedelta(hours=1))
    payment.note(actor=ALICE, reason="wait: a little", data=data)

    with jumped(jump):
        assert "admin:alice waits until" in waiting_decision(payment, "something")


@pytest.mark.django_db(transaction=True)
def test_f68_clocks_that_are_apart_are_told() -> None:
    assert clock.apart() < clock.AGREES_WITHIN
    assert next(found for found in doctor.examine() if found.name == "clock").ok

    with jumped(timedelta(days=1, seconds=90)):
        (found,) = (each for each in doctor.examine() if each.name == "clock")
        note = Browser().get("/readyz").json()["notes"]["clock"]

    assert not found.ok
    # Less what the statements took.
    assert re.search(r"clock and the database's are 864\d\d s apart", found.detail)
    assert not note["ok"]
    assert re.fullmatch(r"This machine's clock and the database's are 864\d\d s apart\.", note["detail"])
