"""How much may leave, and that whoever signs is bound by it: per payment, per hour, per day, and with one provider."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from batches.services.limits import read_limits
from config.lib.explain import Rule
from hostpay import services
from hostpay.models import HostPayment, NonceSlot, PaymentStatus, Transaction
from hostpay.services.limits import DAY, HOUR, in_flight_wei, why_over_limit
from hostpay.services.steps import Review, Wait
from tests.hostpay import rows
from tests.hostpay.chain import ALICE, look, ordered, variants
from tests.lib.unguarded import unguarded
from tests.lib.world import World

FINNEY = 10**15
on_chain = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tight(settings: Settings) -> Settings:
    """10 finney a payment, 25 an hour, 40 a day, 30 with one provider."""
    settings.MAX_SEND_ETH = Decimal("0.010")
    settings.MAX_SEND_ETH_PER_HOUR = Decimal("0.025")
    settings.MAX_SEND_ETH_PER_DAY = Decimal("0.040")
    settings.MAX_ETH_IN_FLIGHT = Decimal("0.030")
    return settings


def signed(finney: int, *, ago: timedelta, status: str = "settled", nonce: int, kind: str = "payment") -> HostPayment:
    """A payment whose first signature is so old by the database's clock."""
    columns = {"received_units": 1} if status == "settled" else {}
    payment = rows.payment(reference=f"n{nonce}", amount_units=finney * FINNEY, status=status, **columns)
    rows.order(payment, provider_order_id=f"order{nonce}", payin_address=f"0x{nonce:040x}")
    transaction = rows.transaction(payment, nonce=nonce, value_units=finney * FINNEY, kind=kind)
    with unguarded(Transaction):
        Transaction.objects.filter(pk=transaction.pk).update(created_at=Now() - ago)
    return payment


def asked(finney: int) -> Review | Wait | None:
    wanted = rows.payment(reference=f"wanted-{finney}", amount_units=finney * FINNEY)
    return why_over_limit(payment=wanted, provider="changenow", value_wei=finney * FINNEY)


@pytest.mark.django_db
def test_exactly_the_limit_may_leave_and_a_wei_more_is_for_a_person(tight: Settings) -> None:
    payment = rows.payment()

    assert why_over_limit(payment=payment, provider="changenow", value_wei=10 * FINNEY) is None
    refused = why_over_limit(payment=payment, provider="changenow", value_wei=10 * FINNEY + 1)

    assert refused == Review(
        reason="0.010000000000000001 ETH are more than MAX_SEND_ETH allows in one payment, 0.01 ETH; nothing was signed"
    )


@pytest.mark.django_db
def test_what_was_signed_within_the_hour_counts_and_room_comes_back_by_itself(tight: Settings) -> None:
    signed(10, ago=timedelta(minutes=50), nonce=0)
    signed(9, ago=timedelta(minutes=10), nonce=1)
    signed(10, ago=timedelta(minutes=61), nonce=2)

    assert asked(6) is None
    refused = asked(7)

    assert isinstance(refused, Wait)
    assert refused.reason == ("MAX_SEND_ETH_PER_HOUR: 0.019 ETH used and 0.007 ETH wanted are more than 0.025 ETH")
    # The older one leaves the hour in ten minutes.
    assert 590 <= refused.after_s <= 601


@pytest.mark.django_db
def test_the_day_has_its_own_limit(tight: Settings) -> None:
    for nonce, hours in enumerate((2, 3, 4, 5)):
        signed(9, ago=timedelta(hours=hours), nonce=nonce)
    signed(9, ago=timedelta(hours=24, minutes=1), nonce=9)

    assert asked(4) is None
    refused = asked(5)

    assert isinstance(refused, Wait)
    assert refused.reason.startswith("MAX_SEND_ETH_PER_DAY: 0.036 ETH used and 0.005 ETH wanted")
    # An hour at the longest: the operator may raise the limit meanwhile.
    assert refused.after_s == 3600


@pytest.mark.django_db
def test_the_same_nonce_signed_again_with_higher_fees_counts_once(tight: Settings) -> None:
    payment = signed(10, ago=timedelta(minutes=5), nonce=0)
    rows.transaction(payment, nonce=0, tx_hash="0x" + "f" * 64, kind="replacement", value_units=10 * FINNEY)

    assert asked(9) is None


@pytest.mark.django_db
def test_what_is_with_the_provider_counts_until_it_has_come_back(tight: Settings) -> None:
    long_ago = timedelta(days=2)
    flying = [signed(10, ago=long_ago, status="final", nonce=nonce) for nonce in range(2)]
    signed(10, ago=long_ago, status="mined", nonce=2)
    signed(10, ago=long_ago, status="settled", nonce=3)

    assert in_flight_wei(provider="changenow") == 30 * FINNEY
    assert in_flight_wei(provider="another") == 0
    refused = asked(1)
    assert isinstance(refused, Wait)
    assert refused.reason.startswith("MAX_ETH_IN_FLIGHT: 0.03 ETH used and 0.001 ETH wanted")

    HostPayment.objects.filter(pk=flying[0].pk).update(status=PaymentStatus.SETTLED, received_units=1)

    assert asked(10) is None


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
@pytest.mark.django_db
def test_f68_a_workers_clock_that_jumps_a_day_widens_no_window(tight: Settings, jump: timedelta) -> None:
    signed(10, ago=timedelta(minutes=50), nonce=0)
    signed(10, ago=timedelta(minutes=40), nonce=1)

    with time_machine.travel(timezone.now() + jump, tick=False):
        refused = asked(6)

    assert isinstance(refused, Wait)
    assert refused.reason.startswith("MAX_SEND_ETH_PER_HOUR: 0.02 ETH used and 0.006 ETH wanted")
    assert 0 < refused.after_s <= 601


def test_the_windows_are_an_hour_and_a_day() -> None:
    # By the clock of the database, in UTC: no day of 23 or 25 hours.
    assert (HOUR.total_seconds(), DAY.total_seconds()) == (3600, 86_400)


@on_chain
def test_a_payment_above_the_limit_is_not_signed_and_a_person_is_asked(world: World, tight: Settings) -> None:
    payment = look(ordered(world, 11 * FINNEY))

    assert payment.status == "ordered"
    assert payment.review_reason.startswith("0.011 ETH are more than MAX_SEND_ETH allows in one payment, 0.01 ETH")
    assert not NonceSlot.objects.exists()

    tight.MAX_SEND_ETH = Decimal("0.011")
    services.retry_payment(payment=payment, actor=ALICE, reason="the limit was raised")
    payment = world.drive_to_final(payment)

    assert len(variants(payment)) == 1
    assert payment.review_reason == ""


@on_chain
def test_a_payment_that_would_break_the_hours_limit_waits_and_says_so(world: World, tight: Settings) -> None:
    tight.MAX_SEND_ETH_PER_HOUR = Decimal("0.015")
    first = world.drive_to(ordered(world, 10 * FINNEY), "settled")
    sent = world.sent_transactions()
    second = look(ordered(world, 10 * FINNEY))

    assert second.status == "ordered"
    assert second.waiting_reason == ("MAX_SEND_ETH_PER_HOUR: 0.01 ETH used and 0.01 ETH wanted are more than 0.015 ETH")
    assert second.review_reason == ""
    assert world.sent_transactions() == sent
    told = {rule.name: rule for rule in services.explain_payment(second)}
    assert told["MAX_SEND_ETH"] == Rule(name="MAX_SEND_ETH", ok=True, detail="0.01 ETH wanted, 0.01 ETH allowed")
    assert not told["MAX_SEND_ETH_PER_HOUR"].ok
    assert told["breaker closed"].ok

    # An hour later, by the database's clock.
    with unguarded(Transaction):
        Transaction.objects.filter(slot__payment=first).update(created_at=Now() - timedelta(minutes=61))
    world.drive_to_final(second)

    assert world.sent_transactions() == sent + 1


@on_chain
def test_a_batch_claims_no_more_than_one_payment_may_send(world: World, tight: Settings) -> None:
    found = read_limits()

    assert found is not None
    assert found.max_wei == 10 * FINNEY
