"""What an operator may do to a host payment, and what is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from config.lib.errors import RefusedError
from config.lib.lifecycle import StaleRowError
from hostpay import services
from hostpay.models import ExchangeOrder, HostPayment, PaymentStatus, Receipt
from tests.hostpay import rows
from tests.lib.swaps import OPERATOR, fresh

pytestmark = pytest.mark.django_db

DOUBT = {"review_reason": "23.8 USDT received for 30 USD", "review_since": timezone.now()}


def retry(payment: HostPayment) -> None:
    services.retry_payment(payment=payment, actor=OPERATOR, reason="for a test")


@pytest.mark.parametrize(
    "stuck",
    [
        {"review_reason": "value out of band", "review_since": timezone.now(), "next_action_at": None},
        {
            "waiting_reason": "below the minimum",
            "waiting_since": timezone.now(),
            "attempts": 7,
            "last_error": "HTTP 503",
        },
    ],
)
def test_a_retry_ends_a_wait_or_a_review_and_makes_it_due(stuck: dict[str, Any]) -> None:
    payment = rows.payment(**stuck)

    retry(payment)

    row = fresh(payment)
    assert (row.status, row.waiting_reason, row.review_reason, row.last_error, row.attempts) == (
        "requested",
        "",
        "",
        "",
        0,
    )
    assert row.next_action_at is not None
    assert row.next_action_at <= timezone.now()
    (event,) = row.status_changes.all()
    assert (event.actor, event.reason) == ("admin:olga", "retry: for a test")


@pytest.mark.parametrize("status", [PaymentStatus.SIGNED, PaymentStatus.BROADCAST, PaymentStatus.MINED])
def test_a_retry_is_refused_while_signed_bytes_may_be_mined(status: str) -> None:
    payment = rows.payment(status=status, **DOUBT)

    with pytest.raises(RefusedError, match="its signed bytes may still be mined"):
        retry(payment)

    assert fresh(payment).review_reason == DOUBT["review_reason"]
    assert not payment.status_changes.exists()


def test_a_retry_is_refused_out_of_unknown() -> None:
    payment = rows.payment(unknown_reason="an order may have been made", unknown_since=timezone.now())

    with pytest.raises(RefusedError, match="an order may have been made"):
        retry(payment)

    assert fresh(payment).unknown_reason == "an order may have been made"


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "settled", "received_units": 1, "delivered_at": timezone.now()},
        {"status": "cancelled", "delivered_at": timezone.now()},
        {"status": "failed", **DOUBT},
    ],
)
def test_a_retry_is_refused_when_nothing_is_left_to_do(columns: dict[str, Any]) -> None:
    payment = rows.payment(**columns)

    with pytest.raises(RefusedError, match="there is nothing to retry"):
        retry(payment)


def test_a_retry_tells_again_what_could_not_be_told() -> None:
    payment = rows.payment(status="settled", received_units=1, **{**DOUBT, "next_action_at": None})

    retry(payment)

    assert (fresh(payment).review_reason, fresh(payment).status) == ("", "settled")
    assert fresh(payment).next_action_at is not None


def test_everything_needs_a_reason() -> None:
    payment = rows.payment()
    asked: tuple[Callable[..., None], ...] = (
        services.retry_payment,
        services.close_unsent,
        services.accept_receipt,
        services.wait_for_rest,
        services.escalate,
        services.close_review,
    )

    for decide in asked:
        with pytest.raises(RefusedError, match="needs a reason"):
            decide(payment=payment, actor=OPERATOR, reason="  ")

    assert not payment.status_changes.exists()


@pytest.mark.parametrize("status", [PaymentStatus.REQUESTED, PaymentStatus.ORDERED])
def test_what_was_not_signed_is_closed_with_its_order(status: str) -> None:
    payment = rows.payment(status=status, unknown_reason="an answer was lost", unknown_since=timezone.now())
    order = rows.order(payment, status="ordering", provider_order_id=None, payin_address=None)

    services.close_unsent(payment=payment, actor=OPERATOR, reason="the client withdrew")

    row = fresh(payment)
    assert (row.status, row.failure_reason, row.next_action_at) == ("cancelled", "the client withdrew", None)
    assert row.delivered_at is not None
    assert row.unknown_reason == ""
    order.refresh_from_db()
    assert (order.status, order.is_current) == ("abandoned", False)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"status": "signed"}, "signed bytes exist"),
        ({"status": "broadcast"}, "its transaction is out"),
        ({"status": "mined"}, "its transaction is mined"),
        ({"status": "final"}, "its ETH is at the exchange"),
        ({"status": "settled", "received_units": 1}, "its proceeds are here"),
    ],
)
def test_what_left_is_not_closed(columns: dict[str, Any], why: str) -> None:
    payment = rows.payment(**columns)

    with pytest.raises(RefusedError, match=why):
        services.close_unsent(payment=payment, actor=OPERATOR, reason="never mind")

    assert fresh(payment).status == columns["status"]


def test_a_receipt_is_accepted_by_one_of_two_operators() -> None:
    payment = rows.payment(status="final", **DOUBT)
    credited(payment)
    seen_by_both = fresh(payment)

    services.accept_receipt(payment=payment, actor=OPERATOR, reason="it is what it is")

    assert (fresh(payment).status, fresh(payment).received_units) == ("settled", 23_800_000)
    with pytest.raises(StaleRowError):
        services.accept_receipt(payment=seen_by_both, actor=OPERATOR, reason="it is what it is")


def test_nothing_is_accepted_where_nothing_arrived() -> None:
    payment = rows.payment(status="final", **DOUBT)
    rows.order(payment)

    with pytest.raises(RefusedError, match="Nothing was received"):
        services.accept_receipt(payment=payment, actor=OPERATOR, reason="let us pretend")


def test_waiting_takes_time() -> None:
    payment = rows.payment(status="final", **DOUBT)

    with pytest.raises(RefusedError, match="Waiting takes time"):
        services.wait_for_rest(payment=payment, actor=OPERATOR, reason="soon", wait=timedelta())

    assert fresh(payment).review_reason == DOUBT["review_reason"]


def test_a_decision_names_the_doubt_it_is_about() -> None:
    payment = rows.payment(status="final", **DOUBT)
    rows.order(payment, refund_hash="0x" + "11" * 32)

    services.wait_for_rest(payment=fresh(payment), actor=OPERATOR, reason="they send the rest")

    (event,) = payment.status_changes.all()
    assert event.data | {"until": ""} == {"decision": "wait", "about": DOUBT["review_reason"], "until": ""}
    assert fresh(payment).review_reason == ""


def credited(payment: HostPayment) -> ExchangeOrder:
    order = rows.order(payment)
    Receipt.objects.create(
        order=order,
        chain_id=31337,
        tx_hash="0x" + "22" * 32,
        log_index=0,
        block_number=7,
        block_hash="0x" + "33" * 32,
        from_address=rows.PAYIN,
        units=23_800_000,
    )
    return order
