"""The scheduled check, as a worker runs it."""

from __future__ import annotations

import pytest

from batches.models import BatchConversion, BatchStatus
from batches.tasks import check_threshold
from config.schedule import SCHEDULE
from hostpay.models import Heartbeat, HostPayment
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_makes_a_batch_and_leaves_its_heartbeat() -> None:
    factories.policy(20)
    factories.accumulation(25)

    check_threshold()

    batch = BatchConversion.objects.get()
    assert (batch.status, batch.created_by) == (BatchStatus.SWAPPING, "beat:check the threshold")
    beat = Heartbeat.objects.get(pk="check_threshold")
    assert beat.succeeded_at is not None
    assert beat.failed_at is None


def test_f46_a_batch_stands_though_the_broker_is_down(broker_down: None, caplog: pytest.LogCaptureFixture) -> None:
    factories.policy(20)
    factories.accumulation(25)

    check_threshold()

    assert BatchConversion.objects.get().status == BatchStatus.SWAPPING
    assert HostPayment.objects.get().next_action_at is not None
    assert Heartbeat.objects.get(pk="check_threshold").failed_at is None
    assert "Error calling" in caplog.text


def test_beat_runs_it() -> None:
    (entry,) = [entry for entry in SCHEDULE if entry.task == check_threshold.name]

    assert entry.every_s == 900
