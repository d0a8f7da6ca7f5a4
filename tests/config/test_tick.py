"""`manage.py tick`: what beat and its workers do, in one process and without a broker."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from config.schedule import SCHEDULE
from hostpay import gateways
from hostpay.models import Heartbeat, HostPayment, PaymentStatus
from tests import factories
from tests.lib.settled import settled_batch
from tests.lib.swaps import Swaps
from tests.lib.world import World


def _tick(*options: str) -> str:
    out = StringIO()
    call_command("tick", *options, stdout=out)
    return out.getvalue()


def test_f46_it_does_all_that_beat_does_without_a_broker(world: World, broker_down: None) -> None:
    factories.policy("20")
    factories.accumulations("58.20")

    said = _tick()

    assert "threshold check: batch created" in said
    assert HostPayment.objects.get().status == PaymentStatus.BROADCAST
    beats = Heartbeat.objects.filter(succeeded_at__isnull=False, failed_at__isnull=True)
    assert {beat.name for beat in beats} == {entry.task.rpartition(".")[2] for entry in SCHEDULE}


def test_it_does_only_what_it_is_told_to(world: World) -> None:
    factories.policy("20")
    factories.accumulations("58.20")

    _tick("--only", "check_threshold")

    assert HostPayment.objects.get().status == PaymentStatus.REQUESTED
    assert [beat.name for beat in Heartbeat.objects.all()] == ["check_threshold"]


def test_one_payments_fault_does_not_keep_the_others_and_is_told(world: World) -> None:
    swaps = Swaps(world=world)
    broken, sound = swaps.request(), swaps.request()
    # Nothing of ours can put this there, and nothing of ours expects it.
    HostPayment.objects.filter(pk=broken.pk).update(status=PaymentStatus.FINAL)

    with pytest.raises(CommandError, match=rf"1 failed: payment {broken.pk} \(\w+: "):
        _tick("--only", "sweep_payments")

    sound.refresh_from_db()
    assert sound.status == PaymentStatus.BROADCAST
    assert Heartbeat.objects.get(pk="sweep_payments").failed_at is None


def test_a_node_that_is_away_is_a_failure_that_leaves_the_rest_done(world: World, settings: Settings) -> None:
    settled_batch()
    settings.ETH_RPC_URLS = ["http://127.0.0.1:9"]
    gateways.node.cache_clear()

    with pytest.raises(CommandError, match=r"2 failed: check the invariants on chain .*; reconcile "):
        _tick()

    assert set(Heartbeat.objects.filter(failed_at__isnull=False).values_list("name", flat=True)) == {
        "check_chain_invariants",
        "reconcile",
    }
    assert Heartbeat.objects.filter(succeeded_at__isnull=False).count() == len(SCHEDULE) - 2
