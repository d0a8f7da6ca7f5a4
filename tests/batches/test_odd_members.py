"""F24: which members keep a batch out of the band, and that a release holds them alone."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batches.models import BatchConversion
from batches.services import check_threshold, explain_batch, release_batch
from hostpay.models import HostPayment
from payouts.models import Accumulation, AccumulationStatus, VoidOrder
from payouts.services.members import odd_members
from tests import factories
from tests.factories import ACTOR, WEI_PER_USD
from tests.lib.lives import RESUMES
from tests.lib.world import World, make_due

pytestmark = pytest.mark.django_db(transaction=True)


def made() -> BatchConversion:
    """A batch of all that is pending, valued by the exchange at 2000 USDT for one ETH."""
    batch = check_threshold(actor=ACTOR).batch
    assert batch is not None
    payment = HostPayment.objects.get(reference=str(batch.pk))
    HostPayment.objects.filter(pk=payment.pk).update(valued_usd=Decimal(payment.send_units) / WEI_PER_USD)
    return batch


def odd(batch: BatchConversion, *, wei_per_usd: int = WEI_PER_USD) -> list[str]:
    found = odd_members(batch_id=batch.pk, usd=Decimal(1), wei=wei_per_usd, band_bps=1000)
    return [member.payment_id for member in found]


def test_f24_a_release_holds_the_guilty_one_and_the_rest_is_converted() -> None:
    factories.policy(20)
    factories.accumulations(10, 15)
    (poison,) = factories.accumulations(485, net_wei=10**11)
    batch = made()
    rule = {rule.name: rule for rule in explain_batch(batch)}["each payment is worth what it claims"]
    assert rule.detail.startswith(f"payment {poison.payment_id} claims $485.00, its ETH is worth $0.0002.")

    assert release_batch(batch=batch, actor=ACTOR, reason="out of the band") == 2

    poison.refresh_from_db()
    assert (poison.status, poison.hold_reason) == (
        AccumulationStatus.HELD,
        "Its ETH was worth $0.0002 and its claim is $485.00, which kept its batch out of the band.",
    )
    assert batch.status_changes.latest("pk").data["held"] == [poison.payment_id]
    again = made()
    assert (again.member_count, again.total_usd) == (2, Decimal(25))
    assert "each payment is worth what it claims" not in {rule.name for rule in explain_batch(again)}


def test_f10_a_guilty_one_that_is_void_keeps_no_batch_from_its_release() -> None:
    factories.policy(20)
    factories.accumulations(10, 15)
    factories.accumulation(485, net_wei=10**11, source="api", payment_id="poison")
    batch = made()
    # As if the two had come at one moment.
    VoidOrder.objects.create(source="api", payment_id="poison", reason="fraud", requested_by=str(ACTOR))

    release_batch(batch=batch, actor=ACTOR, reason="out of the band")

    assert Accumulation.objects.get(payment_id="poison").status == AccumulationStatus.VOIDED
    assert batch.status_changes.latest("pk").data["held"] == []


def test_too_much_ether_is_as_odd_as_too_little() -> None:
    factories.policy(20)
    factories.accumulations(10, 10)
    (poison,) = factories.accumulations(10, net_wei=100 * WEI_PER_USD)

    assert odd(made()) == [poison.payment_id]


def test_the_fewest_are_named_the_furthest_first() -> None:
    factories.policy(20)
    factories.accumulations(*[10] * 5)
    factories.accumulations(10, net_wei=9 * WEI_PER_USD)
    less, least = (factories.accumulations(usd, net_wei=1)[0] for usd in (50, 60))

    assert odd(made()) == [least.payment_id, less.payment_id]


@pytest.mark.parametrize("wei_per_usd", [WEI_PER_USD * 3 // 4, WEI_PER_USD * 5 // 4])
def test_a_price_that_moved_makes_nobody_guilty(wei_per_usd: int) -> None:
    factories.policy(20)
    factories.accumulations(10, 11, 12)

    assert odd(made(), wei_per_usd=wei_per_usd) == []


def test_within_the_band_nobody_is_judged() -> None:
    factories.policy(20)
    factories.accumulations(100, 100)
    factories.accumulations(1, net_wei=1)

    batch = made()

    assert odd(batch) == []
    assert release_batch(batch=batch, actor=ACTOR, reason="not today") == 3
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.PENDING}


@pytest.mark.parametrize(("brought", "is_guilty"), [(49, True), (51, False)])
def test_more_than_half_are_guilty_only_if_they_are_off_by_a_factor_of_two(brought: int, is_guilty: bool) -> None:
    factories.policy(20)
    alone = factories.accumulations(100, 100, net_wei=brought * WEI_PER_USD)

    assert odd(made()) == [row.payment_id for row in alone if is_guilty]


def test_f24_it_is_the_exchange_that_says_what_a_batch_is_worth(world: World) -> None:
    factories.policy(20)
    factories.accumulations(10, 15)
    (poison,) = factories.accumulations(485, net_wei=10**11)
    batch = check_threshold(actor=ACTOR).batch
    assert batch is not None
    payment = HostPayment.objects.get()

    make_due()
    RESUMES["the sweeper"](payment.pk)

    payment.refresh_from_db()
    assert "bps apart, 1000 allowed" in payment.review_reason
    assert payment.valued_usd is not None
    assert release_batch(batch=batch, actor=ACTOR, reason="out of the band") == 2
    assert Accumulation.objects.held().get() == poison
