"""What holds money back, before an operator: the breaker, a halted wallet, and what takes two people."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from config.stack.ports import free_port
from hostpay import gateways, services
from hostpay.models import Approval, Breaker, HostPayment, SignerTask, Wallet
from tests.hostpay import rows
from tests.lib.unguarded import unguarded
from tests.web.scene import Scene
from tests.web.test_operations import ask, confirm, list_operation, operation_of, said


@pytest.fixture
def stuck(db: None) -> HostPayment:
    """A payment on the wire."""
    payment = rows.payment(reference="on the wire", status="broadcast")
    rows.order(payment, provider_order_id="feedfeedfeedfe", payin_address="0x" + "0" * 38 + "C3")
    rows.transaction(payment, nonce=77, status="broadcast")
    return payment


def test_it_closes_the_breaker_with_a_reason_and_once(scene: Scene, operator: Client) -> None:
    breaker = Breaker.objects.get()
    url = operation_of(breaker, "close")

    page, _ = ask(operator, url)
    assert "an unknown nonce" in page
    assert "Signing goes on at once" in page
    confirm(operator, url, reason="it was ours", typed="CLOSE")

    breaker.refresh_from_db()
    assert (breaker.closed_by, breaker.close_reason) == ("admin:anna", "it was ours")
    assert not services.open_breakers()
    answer = operator.get(url, follow=True)
    assert "It was closed by admin:anna" in answer.content.decode()


def test_it_opens_the_breaker(scene: Scene, operator: Client) -> None:
    confirm(operator, list_operation(Breaker, "open"), reason="the provider is in the news")

    opened = services.open_breakers()[-1]
    assert (opened.cause, opened.detail, opened.opened_by) == (
        "operator",
        "the provider is in the news",
        "admin:anna",
    )


def test_who_only_looks_cannot_close_it(scene: Scene, viewer: Client) -> None:
    assert viewer.get(operation_of(Breaker.objects.get(), "close")).status_code == 403
    assert viewer.post(operation_of(Breaker.objects.get(), "close"), {"reason": "x"}).status_code == 403
    assert services.open_breakers()


@pytest.mark.django_db(transaction=True)
def test_a_halt_is_not_lifted_while_the_chain_cannot_be_asked(operator: Client, settings: Settings) -> None:
    settings.ETH_RPC_URLS = [f"http://127.0.0.1:{free_port()}"]
    gateways.node.cache_clear()
    halted = rows.wallet()
    Wallet.objects.filter(pk=halted.pk).update(halted_at=timezone.now(), halted_reason="used elsewhere")
    url = operation_of(halted, "lift_halt")

    page, _ = ask(operator, url)
    assert "used elsewhere" in page
    assert "paid a second time" in page
    answer = confirm(operator, url, typed=halted.address[-6:])

    assert "could not be asked" in said(answer) + answer.content.decode()
    halted.refresh_from_db()
    gateways.node.cache_clear()
    assert halted.halted_reason == "used elsewhere"


def test_a_cancel_takes_two_people(stuck: HostPayment, operator: Client, second: Client) -> None:
    confirm(operator, operation_of(stuck, "propose_cancel"), reason="the order ran out")
    approval = Approval.objects.get()
    url = operation_of(approval, "approve")

    confirm(operator, url, typed="APPROVE")

    approval.refresh_from_db()
    stuck.refresh_from_db()
    assert (approval.decision, stuck.signer_task) == ("", "")

    page, _ = ask(second, url)
    assert "admin:anna proposed" in page
    confirm(second, url, typed="APPROVE")

    approval.refresh_from_db()
    stuck.refresh_from_db()
    assert (approval.decision, approval.decided_by) == ("approved", "admin:ben")
    assert stuck.signer_task == SignerTask.CANCEL


def test_a_proposal_can_be_turned_down_and_one_that_ran_out_cannot_be_approved(
    stuck: HostPayment, operator: Client, second: Client
) -> None:
    confirm(operator, operation_of(stuck, "propose_cancel"), reason="the order ran out")
    confirm(second, operation_of(Approval.objects.get(), "reject"), reason="it will be mined")

    approval = Approval.objects.get()
    assert (approval.decision, approval.decided_by) == ("rejected", "admin:ben")

    confirm(operator, operation_of(stuck, "propose_cancel"), reason="still not")
    late = Approval.objects.get(decision="")
    with unguarded(Approval):
        Approval.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    answer = second.get(operation_of(late, "approve"), follow=True)

    assert "It has run out" in answer.content.decode()
    stuck.refresh_from_db()
    assert stuck.signer_task == ""
