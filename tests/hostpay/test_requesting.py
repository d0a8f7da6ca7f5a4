"""One purpose, one payment: what is asked for again, and when it may be asked for anew."""

from __future__ import annotations

import time

import pytest
from django.utils import timezone

from config.lib.money import ETH, from_units
from hostpay import services
from hostpay.models import Context, HostPayment
from hostpay.services.handovers import accept_request
from hostpay.services.requesting import ConflictingRequestError
from hostpay.tokens import PaymentRequestClaims
from tests.hostpay import rows
from tests.hostpay.chain import ACTOR, VALUE_WEI, requested

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]


def _again(payment: HostPayment) -> HostPayment:
    return services.request_payment(
        context=Context.INSTANT, reference=payment.reference, amount_units=VALUE_WEI, actor=ACTOR
    )


def test_a_purpose_is_not_paid_anew_before_its_requester_knows_that_the_first_payment_failed() -> None:
    first = requested()
    first.move("failed", actor=ACTOR, reason="the exchange failed unpaid", failure_reason="it failed")

    assert _again(first).pk == first.pk
    assert HostPayment.objects.get().status == "failed"


def test_a_purpose_is_paid_anew_once_its_requester_knows_that_the_first_payment_failed() -> None:
    first = requested()
    first.move("failed", actor=ACTOR, reason="the exchange failed unpaid", failure_reason="it failed")
    HostPayment.objects.update(delivered_at=timezone.now(), next_action_at=None)

    second = _again(first)

    assert second.pk != first.pk
    assert HostPayment.objects.live().get() == second


def test_a_token_makes_no_second_payment_while_the_end_of_the_first_is_untold() -> None:
    first = rows.payment(reference="batch-7", status="failed", failure_reason="it failed")
    claims = PaymentRequestClaims(
        context="batch",
        batch_conversion_id="batch-7",
        cn_api_id="another0order0",
        from_currency="eth",
        from_network="eth",
        from_amount=from_units(int(first.amount_units), ETH),
        payin_address=rows.PAYIN,
        timestamp=int(time.time()),
        nonce="a-token-of-its-own",
    )

    with pytest.raises(ConflictingRequestError):
        accept_request(claims=claims, actor=ACTOR)

    assert HostPayment.objects.get() == first
    assert not first.orders.exists()
