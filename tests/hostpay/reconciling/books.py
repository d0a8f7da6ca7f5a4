"""Hands for the tests of the reconciliation: runs, their lines, and books that start in agreement."""

from __future__ import annotations

from config.lib.differences import Line
from config.reconciliation import reconcile
from hostpay.models import Reconciliation, Scope
from hostpay.services.reconciling import sign_off
from hostpay.services.reconciling.runs import lines_of
from tests.hostpay.chain import ALICE
from tests.lib.world import World


def reconciled(scope: str) -> Reconciliation:
    """One run, stored."""
    return reconcile(scope=Scope(scope), actor=ALICE)


def settle_books(world: World) -> Reconciliation:
    """What the run's chain has seen in other tests is known: from here on every difference is this test's."""
    world.anvil.mine(3)
    run = reconciled("chain")
    if run.result == "differs":
        sign_off(run=run, actor=ALICE, reason="other tests")
    assert run.failures == {}
    return run


def line_of(run: Reconciliation, row: str) -> Line:
    """The one line about the row."""
    (line,) = [line for line in lines_of(run) if line.row == row]
    return line


def open_rows(run: Reconciliation) -> list[str]:
    """The rows that differ."""
    return [line.row for line in lines_of(run) if line.is_open]
