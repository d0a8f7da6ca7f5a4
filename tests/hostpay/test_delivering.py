"""The end is told once, to whom it concerns: F46 and F64."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from batches.handlers import BatchHandler
from batches.models import BatchConversion
from batches.services import UnknownBatchError, check_threshold
from hostpay import services, tasks
from hostpay.callbacks import Failed, Settled
from hostpay.models import Context, ExchangeOrder, HostPayment, Receipt
from payouts.models import Accumulation
from tests import factories
from tests.hostpay import rows
from tests.lib.swaps import OPERATOR, Swaps, fresh
from tests.lib.unguarded import unguarded
from tests.lib.world import WORKER

pytestmark = pytest.mark.django_db(transaction=True)


def test_f46_what_a_step_did_stands_though_the_next_could_not_be_asked_for(swaps: Swaps, broker_down: None) -> None:
    payment = swaps.request()

    with pytest.raises(OperationalError):
        tasks.advance_payment(str(payment.pk))

    ordered = fresh(payment)
    assert (ordered.status, ordered.last_error, ordered.attempts) == ("ordered", "", 0)
    assert (payment.pk, "ordered") in services.due_payments(now=timezone.now(), limit=10)
    assert len(swaps.books()) == 1

    # The sweep goes on from there, and does nothing a second time.
    payment = swaps.world.drive_to(payment, "settled")
    assert len(swaps.books()) == 1
    assert payment.orders.count() == 1


def test_f64_an_end_of_another_context_is_refused_by_the_handler_of_batches() -> None:
    batch = a_batch()

    for event in (
        Settled(
            payment_id=uuid.uuid4(),
            context=Context.THRESHOLD,
            reference=str(batch.pk),
            received_units=10**6,
            tx_hash="0x00",
        ),
        Failed(payment_id=uuid.uuid4(), context=Context.INSTANT, reference=str(batch.pk), reason="no"),
    ):
        told = BatchHandler().on_settled if isinstance(event, Settled) else BatchHandler().on_failed
        with pytest.raises(UnknownBatchError, match="is of context"):
            told(event)  # type: ignore[arg-type]

    untouched(batch)


def test_f64_the_context_is_a_column_and_not_guessed_from_the_id() -> None:
    batch = a_batch()
    instant = settled(context=Context.INSTANT, reference=str(batch.pk))

    services.advance(payment_id=instant.pk, actor=WORKER)

    assert fresh(instant).delivered_at is not None
    untouched(batch)


def test_f64_a_payment_that_names_no_batch_of_ours_is_for_a_person() -> None:
    batch = a_batch()
    stray = settled(context=Context.BATCH, reference=str(uuid.uuid4()))

    services.advance(payment_id=stray.pk, actor=WORKER)

    row = fresh(stray)
    assert row.review_reason.startswith(f"batch {stray.reference} could not be told: ")
    assert (row.status, row.delivered_at, row.next_action_at) == ("settled", None, None)
    untouched(batch)


def test_f64_a_context_that_nobody_answers_is_for_a_person() -> None:
    orphan = settled(context=Context.THRESHOLD, reference="client-1")

    services.advance(payment_id=orphan.pk, actor=WORKER)

    assert fresh(orphan).review_reason == (
        "threshold client-1 cannot be told: no handler is registered for context threshold"
    )
    assert fresh(orphan).delivered_at is None


def test_what_could_not_be_told_is_told_when_a_person_asks_again() -> None:
    factories.policy("20")
    factories.accumulations("30")
    check_threshold(actor=factories.ACTOR)
    batch, payment = BatchConversion.objects.get(), HostPayment.objects.get()
    with unguarded(HostPayment):
        HostPayment.objects.filter(pk=payment.pk).update(reference=str(uuid.uuid4()))
    settle(payment)
    services.advance(payment_id=payment.pk, actor=WORKER)
    assert fresh(payment).needs_review

    with unguarded(HostPayment):
        HostPayment.objects.filter(pk=payment.pk).update(reference=str(batch.pk))
    services.retry_payment(payment=fresh(payment), actor=OPERATOR, reason="the reference is mended")
    services.advance(payment_id=payment.pk, actor=WORKER)

    assert fresh(payment).delivered_at is not None
    batch.refresh_from_db()
    assert (batch.status, batch.received_units) == ("completed", 29_750_000)


def test_the_end_is_told_once_however_often_it_is_asked_for() -> None:
    factories.policy("20")
    factories.accumulations("30")
    check_threshold(actor=factories.ACTOR)
    payment = HostPayment.objects.get()
    settle(payment)

    for _ in range(3):
        services.advance(payment_id=payment.pk, actor=WORKER)
        HostPayment.objects.filter(pk=payment.pk).update(next_action_at=timezone.now())

    assert payment.status_changes.filter(reason__contains="was told").count() == 1
    assert BatchConversion.objects.get().received_units == 29_750_000


def a_batch() -> BatchConversion:
    factories.policy("20")
    factories.accumulations("30")
    check_threshold(actor=factories.ACTOR)
    # Its own payment is not the one that is told about here.
    HostPayment.objects.update(next_action_at=None, review_reason="put aside by the test", review_since=timezone.now())
    return BatchConversion.objects.get()


def untouched(batch: BatchConversion) -> None:
    batch.refresh_from_db()
    assert (batch.status, batch.received_units) == ("swapping", None)
    assert set(Accumulation.objects.values_list("status", "converted_usdt_amount")) == {("swapping", None)}


def settled(*, context: Context, reference: str) -> HostPayment:
    payment = rows.payment(context=context, reference=reference)
    settle(payment)
    return fresh(payment)


def settle(payment: HostPayment) -> None:
    """As if the exchange had paid, and nobody had been told."""
    order: ExchangeOrder = rows.order(payment, status="finished")
    Receipt.objects.create(
        order=order,
        chain_id=31337,
        tx_hash="0x" + "22" * 32,
        log_index=0,
        block_number=7,
        block_hash="0x" + "33" * 32,
        from_address=rows.PAYIN,
        units=29_750_000,
    )
    HostPayment.objects.filter(pk=payment.pk).update(
        status="settled", received_units=29_750_000, next_action_at=timezone.now()
    )
