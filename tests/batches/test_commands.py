"""The same services from a shell: what is printed, and the exit status."""

from __future__ import annotations

import io
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from batches.models import BatchConversion, BatchStatus, Decision, ThresholdCheck
from batches.services import check_threshold
from hostpay.models import Heartbeat, HostPayment, PaymentStatus, Switch
from hostpay.services import pause
from payouts.models import Accumulation, AccumulationStatus
from tests import factories
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)


def run(name: str, *arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, **options)
    return out.getvalue()


def made_batch() -> BatchConversion:
    factories.policy(20)
    factories.accumulations(10, 15)
    batch = check_threshold(actor=ACTOR).batch
    assert batch is not None
    return batch


def test_check_threshold_tells_the_batch_it_made() -> None:
    policy = factories.policy(20)
    factories.accumulations(10, 15)

    text = run("check_threshold")

    batch = BatchConversion.objects.get()
    assert text == (
        f"batch created: 2 payments of $25.00, threshold $20.00 (policy version {policy.version})\nbatch {batch.pk}\n"
    )
    assert batch.created_by.startswith("command:")


def test_check_threshold_is_content_below_the_threshold() -> None:
    factories.policy(20)
    factories.accumulation(15)

    text = run("check_threshold")

    assert text.startswith("below the threshold: 1 payments of $15.00, threshold $20.00")
    assert "  $15.00 are $5.00 below the threshold of $20.00\n" in text
    assert not BatchConversion.objects.exists()


def test_check_threshold_exits_with_3_when_something_blocks() -> None:
    factories.policy(20)
    factories.accumulation(25)
    pause(switch=Switch.BATCHES, actor=ACTOR, reason="maintenance")

    with pytest.raises(CommandError, match="blocked") as stopped:
        run("check_threshold")

    assert stopped.value.returncode == 3
    assert ThresholdCheck.objects.get().decision == Decision.BLOCKED
    assert not BatchConversion.objects.exists()


def test_check_threshold_rehearses() -> None:
    factories.policy(20)
    factories.accumulation(25)

    text = run("check_threshold", "--dry-run")

    assert text.startswith("dry run: a batch would be made: 1 payments of $25.00")
    assert not BatchConversion.objects.exists()


def test_check_threshold_explains_and_records_nothing() -> None:
    factories.policy(20)
    factories.accumulation(15)

    text = run("check_threshold", "--explain")

    assert "yes new batches are not paused: nothing is paused\n" in text
    assert "NO  the threshold is reached: $15.00 are $5.00 below the threshold of $20.00\n" in text
    assert not ThresholdCheck.objects.exists()


def test_check_threshold_exits_with_1_when_forced_without_a_reason() -> None:
    factories.accumulation(5)

    with pytest.raises(CommandError, match="needs a reason") as stopped:
        run("check_threshold", "--force")

    assert stopped.value.returncode == 1
    assert not ThresholdCheck.objects.exists()


def test_check_threshold_takes_one_mode_at_a_time() -> None:
    with pytest.raises(CommandError, match="not allowed with"):
        run("check_threshold", "--dry-run", "--force")


def test_create_batch_makes_one_below_the_threshold() -> None:
    factories.policy(20)
    factories.accumulation(5)

    text = run("create_batch", "--reason", "end of the quarter")

    batch = BatchConversion.objects.get()
    assert f"batch {batch.pk}" in text
    assert batch.total_usd == Decimal(5)
    assert batch.status_changes.earliest("pk").reason == "forced: end of the quarter"


def test_create_batch_exits_with_3_when_nothing_is_pending() -> None:
    with pytest.raises(CommandError) as stopped:
        run("create_batch", "--reason", "now")

    assert stopped.value.returncode == 3
    assert not BatchConversion.objects.exists()


def test_release_batch_gives_the_members_back() -> None:
    batch = made_batch()

    text = run("release_batch", str(batch.pk), "--reason", "the provider is down")

    assert text == f"Batch {batch.pk} is cancelled; 2 payments are pending again.\n"
    assert {row.status for row in Accumulation.objects.all()} == {AccumulationStatus.PENDING}


def test_release_batch_says_why_it_refuses() -> None:
    batch = made_batch()
    payment = HostPayment.objects.get()
    for step in (PaymentStatus.ORDERED, PaymentStatus.SIGNED):
        payment.move(step, actor=ACTOR, reason="for a test")

    with pytest.raises(CommandError, match="signed bytes exist"):
        run("release_batch", str(batch.pk), "--reason", "too late")

    batch.refresh_from_db()
    assert batch.status == BatchStatus.SWAPPING


def test_retry_batch_makes_the_payment_due() -> None:
    batch = made_batch()
    HostPayment.objects.update(waiting_reason="wallet too low", waiting_since=batch.created_at)

    text = run("retry_batch", str(batch.pk), "--reason", "topped up")

    payment = HostPayment.objects.get()
    assert text == f"Host payment {payment.pk} of batch {batch.pk} is due now.\n"
    assert payment.waiting_reason == ""


@pytest.mark.parametrize("name", ["retry_batch", "release_batch"])
def test_an_unknown_batch_is_named(name: str) -> None:
    unknown = uuid.uuid4()

    with pytest.raises(CommandError, match=f"There is no batch {unknown}"):
        run(name, str(unknown), "--reason", "x")


def test_explain_tells_a_batch_with_its_timeline() -> None:
    batch = made_batch()

    text = run("explain", str(batch.pk))

    assert text.startswith(f"batch {batch.pk}, swapping\n")
    assert "yes the threshold was reached: 2 payments of $25.00" in text
    assert "batch created -> swapping: host payment requested" in text


def test_explain_tells_a_host_payment() -> None:
    made_batch()
    payment = HostPayment.objects.get()

    assert run("explain", str(payment.pk)).startswith(f"host payment {payment}, requested\n")


def test_explain_tells_a_payment_that_waits_and_why() -> None:
    factories.policy(20)
    waiting = factories.accumulation(5)

    for asked in (waiting.payment_id, str(waiting.pk)):
        text = run("explain", asked)
        assert text.startswith(f"payment tests/{waiting.payment_id}, accumulation {waiting.pk}, pending\n")
        assert "NO  in a batch: it waits for the next batch" in text
        assert "$5.00 are $15.00 below the threshold of $20.00" in text


def test_explain_tells_why_a_payment_is_held() -> None:
    held = factories.accumulation(5, status=AccumulationStatus.HELD, hold_reason="paid in BTC")

    assert "NO  not held: paid in BTC" in run("explain", held.payment_id)


def test_explain_tells_a_claimed_payment_by_its_batch() -> None:
    batch = made_batch()

    text = run("explain", Accumulation.objects.earliest("pk").payment_id)

    assert f"yes in a batch: batch {batch.pk}" in text
    assert "NO  converted: its money is under way" in text


def test_explain_tells_the_threshold() -> None:
    Heartbeat.objects.all().delete()

    assert run("explain", "threshold").startswith("the next threshold check\n")


@pytest.mark.parametrize("asked", ["nobody", "00000000-0000-4000-8000-000000000000", "9" * 24])
def test_explain_says_when_nothing_has_the_id(asked: str) -> None:
    with pytest.raises(CommandError, match="Nothing here has the id"):
        run("explain", asked)
