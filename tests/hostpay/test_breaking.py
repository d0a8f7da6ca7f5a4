"""The breaker: what opens it, that nothing is signed while it is open, and that only a person closes it."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from config.lib import audit
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import Breaker, BreakerCause, HostPayment, NonceSlot, PaymentStatus, Transaction
from hostpay.services.breaking import open_if_failing
from tests.hostpay import rows
from tests.hostpay.chain import ACTOR, ALICE, look, no_blocks, on_the_wire, ordered, variants
from tests.lib.world import World

on_database = pytest.mark.django_db
on_chain = pytest.mark.django_db(transaction=True)


def opened(cause: BreakerCause = BreakerCause.CHAIN, detail: str = "a block is gone") -> Breaker:
    return services.open_breaker(cause=cause, detail=detail, actor=ACTOR)


def ended(status: PaymentStatus, number: int) -> HostPayment:
    """A payment that was sent, and ended so."""
    payment = rows.payment(reference=f"ended-{number}", status="final")
    columns: dict[str, Any] = {"settled": {"received_units": 1}, "refunded": {"refunded_units": 1}}.get(status, {})
    payment.move(status, actor=ACTOR, reason=f"it {status}", **columns)
    return payment


@on_database
def test_open_for_a_cause_already_it_keeps_its_first_detail() -> None:
    first, second = opened(detail="block 14 is gone"), opened(detail="block 15 is gone")

    assert first == second
    assert [breaker.detail for breaker in services.open_breakers()] == ["block 14 is gone"]


@on_database
def test_it_is_open_once_for_each_cause_and_closed_for_each() -> None:
    chain, invariant = opened(), opened(BreakerCause.INVARIANT, "I3: batch 7")

    services.close_breaker(breaker=chain, actor=ALICE, reason="looked at")

    assert services.open_breakers() == [invariant]
    chain.refresh_from_db()
    assert (chain.closed_by, chain.close_reason) == ("admin:alice", "looked at")
    assert chain.closed_at is not None
    assert chain.closed_at >= chain.opened_at


@pytest.mark.parametrize("actor", [audit.worker("sign"), audit.beat("sweep"), audit.api("key")])
@on_database
def test_only_a_person_closes_it(actor: Actor) -> None:
    breaker = opened()

    with pytest.raises(RefusedError, match="Only a person closes the breaker"):
        services.close_breaker(breaker=breaker, actor=actor, reason="all is well")

    assert services.open_breakers() == [breaker]


@on_database
def test_closing_takes_a_reason_and_works_once() -> None:
    breaker = opened()

    with pytest.raises(RefusedError, match="needs a reason"):
        services.close_breaker(breaker=breaker, actor=ALICE, reason="  ")
    services.close_breaker(breaker=breaker, actor=ALICE, reason="looked at")
    with pytest.raises(RefusedError, match="closed by admin:alice"):
        services.close_breaker(breaker=breaker, actor=audit.admin("bob"), reason="me too")

    with pytest.raises(RefusedError, match="needs a reason"):
        services.open_breaker(cause=BreakerCause.OPERATOR, detail=" ", actor=ALICE)
    assert not services.open_breakers()


@on_database
def test_payments_that_bring_nothing_one_after_the_other_open_it() -> None:
    ended(PaymentStatus.SETTLED, 0)
    ended(PaymentStatus.REFUNDED, 1)
    ended(PaymentStatus.FAILED, 2)

    assert open_if_failing(actor=ACTOR) is None

    ended(PaymentStatus.REFUNDED, 3)
    breaker = open_if_failing(actor=ACTOR)

    assert breaker is not None
    assert breaker.cause == BreakerCause.FAILURES
    assert breaker.detail == (
        "the last 3 payments that were sent brought nothing, the latest of them batch ended-3: it refunded"
    )


@on_database
def test_what_the_person_who_closed_it_has_seen_does_not_open_it_again() -> None:
    for number in range(3):
        ended(PaymentStatus.FAILED, number)
    breaker = open_if_failing(actor=ACTOR)
    assert breaker is not None
    services.close_breaker(breaker=breaker, actor=ALICE, reason="the provider was down")

    assert open_if_failing(actor=ACTOR) is None
    for number in range(3, 5):
        ended(PaymentStatus.FAILED, number)
    assert open_if_failing(actor=ACTOR) is None
    ended(PaymentStatus.FAILED, 5)
    assert open_if_failing(actor=ACTOR) is not None


@on_database
def test_one_that_brought_its_proceeds_starts_the_count_anew_and_unsent_ones_do_not_count() -> None:
    for number, status in enumerate(("failed", "failed", "settled", "failed", "failed")):
        ended(PaymentStatus(status), number)
    unsent = rows.payment(reference="never sent")
    unsent.move(PaymentStatus.FAILED, actor=ACTOR, reason="the provider does not take it")

    assert open_if_failing(actor=ACTOR) is None


@on_chain
def test_while_it_is_open_nothing_is_signed_and_when_it_is_closed_all_goes_on(world: World) -> None:
    payment = ordered(world)
    breaker = opened()
    sent_before = world.sent_transactions()

    payment = look(payment)

    assert payment.status == "ordered"
    assert payment.waiting_reason.startswith("the breaker is open since ")
    assert payment.waiting_reason.endswith("a surprise on chain: a block is gone")
    assert payment.review_reason == ""
    assert not NonceSlot.objects.exists()
    told = {rule.name: rule for rule in services.explain_payment(payment)}
    assert not told["breaker closed"].ok
    assert told["breaker closed"].detail == "a surprise on chain: a block is gone"

    services.close_breaker(breaker=breaker, actor=ALICE, reason="looked at")
    world.drive_to_final(payment)

    assert world.sent_transactions() == sent_before + 1


@on_chain
def test_what_is_signed_already_goes_on_to_its_end_and_is_not_signed_again(world: World, settings: Settings) -> None:
    settings.REPLACE_AFTER_S = 0
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        breaker = opened()

        payment = look(payment)

        assert payment.status == "broadcast"
        assert "the breaker is open" in payment.waiting_reason
        assert payment.signer_task == ""
        assert len(variants(payment)) == 1
        world.anvil.mine(3)
        payment = world.drive_to_final(payment)

    assert len(variants(payment)) == 1
    assert services.open_breakers() == [breaker]


@on_chain
def test_repeated_failures_stop_the_next_signature(world: World) -> None:
    payment = ordered(world)
    for number in range(3):
        ended(PaymentStatus.REFUNDED, number)

    payment = look(payment)

    assert "repeated failures" in payment.waiting_reason
    assert [breaker.cause for breaker in services.open_breakers()] == [BreakerCause.FAILURES]
    assert not Transaction.objects.exists()


@on_database
def test_the_command_tells_opens_and_closes() -> None:
    def said(*words: str) -> str:
        out = StringIO()
        call_command("breaker", *words, stdout=out)
        return out.getvalue()

    assert said("status") == "closed: nothing holds signing back\n"
    assert "open (operator): an operator: gas is mad; by command:" in said("open", "--reason", "gas is mad")
    opened(detail="a block is gone")
    assert "open (operator)" in said("close", "chain", "--reason", "looked at")
    with pytest.raises(CommandError, match="not open for a surprise on chain"):
        said("close", "chain", "--reason", "again")
    assert said("close", "operator", "--reason", "gas is calm") == "closed: nothing holds signing back\n"
    assert set(Breaker.objects.values_list("close_reason", flat=True)) == {"looked at", "gas is calm"}
