"""Books from a backup of any moment of a payment's life: whatever an operator does then, its money leaves once.

Generated, as the crash matrix: one life says which moments there are. At each of them the rows are copied; the life goes on to
its end; the old rows are put back, and a running system and its operator go on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from batches.models import BatchConversion
from batches.services import check_threshold, release_batch
from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from config.reconciliation import reconcile
from config.simulation.boundaries import Boundaries
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, Scope, Wallet
from hostpay.services.reconciling import attach_order, readopt_sent, sign_off
from tests import factories
from tests.factories import ACTOR
from tests.hostpay.chain import ALICE
from tests.lib.backups import Backup
from tests.lib.lives import RESUMES, Life
from tests.lib.world import World, make_due

pytestmark = pytest.mark.slow

_PARTS = 2
_ROUNDS = 4


def by_itself(world: World) -> None:
    """What a running system does for a while: checks, looks, signs."""
    for _ in range(_ROUNDS):
        check_threshold(actor=ACTOR)
        make_due()
        for payment in HostPayment.objects.filter(delivered_at__isnull=True, review_reason=""):
            RESUMES["the sweeper"](payment.pk)
        world.anvil.mine()


def by_the_runbook(world: World) -> None:
    """Adopt; attach what the books have forgotten to the payment that fits; adopt again."""
    by_itself(world)
    _adopt()
    for order_id in _paid_at_the_exchange(world):
        for payment in HostPayment.objects.filter(delivered_at__isnull=True):
            with _told():
                attach_order(payment=payment, order_id=order_id, actor=ALICE, reason="restored")
    _adopt()
    by_itself(world)


def by_a_hasty_operator(world: World) -> None:
    """Lift what is halted, retry what stands, without having looked; and again."""
    by_itself(world)
    for _ in range(2):
        _lift()
        for payment in HostPayment.objects.filter(delivered_at__isnull=True):
            with _told():
                services.retry_payment(payment=payment, actor=ALICE, reason="go on")
        by_itself(world)


def by_who_releases(world: World) -> None:
    """Give the members back, so that another batch is made of them, and lift what halts it; then the runbook after all."""
    by_itself(world)
    for batch in BatchConversion.objects.filter(status__in=("created", "swapping")):
        with _told():
            release_batch(batch=batch, actor=ALICE, reason="it stands still")
    by_a_hasty_operator(world)
    by_the_runbook(world)


def by_who_signs_off(world: World) -> None:
    """Take on every difference, give the members back, take on what differs then, and lift; then the runbook after all."""
    by_itself(world)
    for _ in range(2):
        _sign_off()
        _lift()
        for batch in BatchConversion.objects.filter(status__in=("created", "swapping")):
            with _told():
                release_batch(batch=batch, actor=ALICE, reason="it stands still")
    by_a_hasty_operator(world)
    by_the_runbook(world)
    _sign_off()
    by_a_hasty_operator(world)


OPERATORS: dict[str, Callable[[World], None]] = {
    "the runbook": by_the_runbook,
    "haste": by_a_hasty_operator,
    "a release": by_who_releases,
    "a signature": by_who_signs_off,
}


@pytest.fixture
def moments(world: World) -> list[str]:
    """After each commit of a life, and before its first."""
    factories.policy("20")
    life, boundaries = Life(world), Boundaries()
    assert boundaries.survive(life.run)
    commits = [place for place in boundaries.places if place.startswith("after commit")]
    assert len(commits) >= 10, boundaries.places
    return [boundaries.places[0], *commits]


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("operator", OPERATORS)
def test_f69_from_a_backup_of_any_moment_the_money_of_a_purpose_leaves_once(
    moments: list[str], world: World, operator: str, part: int
) -> None:
    sent: dict[str, int] = {}
    ends: dict[str, str] = {}

    for moment in moments[part::_PARTS]:
        life = Life(world)
        if Boundaries(die_at=moment).survive(life.run):
            continue
        backup = Backup()
        life.drive(RESUMES["the sweeper"])
        assert (paid := life.payment()) is not None
        assert paid.delivered_at is not None, (moment, paid.review_reason)
        truth = Backup()

        backup.restore()
        OPERATORS[operator](world)

        sent[moment] = world.sent_transactions() - life.sent_before
        now = life.payment()
        ends[moment] = "not requested" if now is None else f"{now.status} {now.review_reason}"
        truth.restore()
        backup.drop()
        truth.drop()

    assert {moment: number for moment, number in sent.items() if number != 1} == {}, ends
    assert len(sent) >= len(moments[part::_PARTS]) - 2
    if operator == "the runbook":
        unfinished = {moment: end for moment, end in ends.items() if not end.startswith(("settled", "final"))}
        assert unfinished == {}


def _lift() -> None:
    with _told():
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it will be fine")


def _sign_off() -> None:
    for scope in (Scope.CHAIN, Scope.PROVIDER):
        run = reconcile(scope=scope, actor=ALICE)
        with _told():
            sign_off(run=run, actor=ALICE, reason="it is in order")


def _adopt() -> None:
    with _told():
        readopt_sent(actor=ALICE, reason="restored")


def _paid_at_the_exchange(world: World) -> list[str]:
    """Orders with a deposit that the books do not know as placed."""
    placed = ExchangeOrder.objects.exclude(status="ordering").values_list("provider_order_id", flat=True)
    return [row["id"] for row in world.exchange.exchanges() if row["payin_hash"] and row["id"] not in set(placed)]


@contextmanager
def _told() -> Iterator[None]:
    """A refusal is told, and the operator goes on to the next thing."""
    with suppress(RefusedError, StaleRowError):
        yield
