"""The reconciliation before an operator: both sides of every line, a sign-off, and what was forgotten taken back."""

from __future__ import annotations

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config import tasks
from config.lib.audit import admin
from config.lib.differences import Line, Verdict
from hostpay.models import AcceptedDifference, HostPayment, NonceSlot, Reconciliation, Scope, Wallet
from hostpay.services.reconciling import record_run
from tests.factories import ACTOR
from tests.hostpay.chain import ordered
from tests.hostpay.reconciling.books import reconciled, settle_books
from tests.hostpay.test_outages import restore_from_before_the_signature
from tests.lib.world import World
from tests.web.scene import Scene
from tests.web.test_operations import ask, confirm, list_operation, operation_of, said

TX = "0x" + "cd" * 32


@pytest.fixture
def run(db: None) -> Reconciliation:
    """A run with a transaction that nobody knows, and an exchange that did not answer before."""
    return record_run(
        scope=Scope.CHAIN,
        subject="",
        parts={
            "chain": [
                Line(row="nonces used on chain", ours="7 given to payments", theirs="7"),
                Line(
                    row="nonce 7",
                    ours="not known",
                    theirs=f"0.5 ETH to 0x{'0' * 39}1 by {TX} in block 9",
                    verdict=Verdict.ALARM,
                    next_step="Keep the wallet halted.",
                ),
            ]
        },
        failures={},
        balances=None,
        started_at=timezone.now(),
        actor=ACTOR,
    )


def page_of(client: Client, run: Reconciliation) -> str:
    return client.get(reverse("admin:hostpay_reconciliation_change", args=(run.pk,))).content.decode()


def test_its_page_shows_our_books_the_chain_and_what_to_do_the_worst_first(
    run: Reconciliation, scene: Scene, viewer: Client
) -> None:
    page = page_of(viewer, run)

    assert "1 difference, told first below" in page
    assert page.index("nonce 7") < page.index("nonces used on chain")
    for text in ("Our books", "Difference", "not known", TX, "Keep the wallet halted."):
        assert text in page
    assert "Sign off" not in page


def test_what_differs_waits_under_needs_me(run: Reconciliation, operator: Client) -> None:
    page = operator.get(reverse("admin:needs_me")).content.decode()

    assert f"Run {run.pk} of the host wallet on chain: ALARM: nonce 7: our books say not known" in page


def test_it_is_signed_off_with_a_reason_and_the_exact_words_once(run: Reconciliation, operator: Client) -> None:
    url = operation_of(run, "sign_off")

    page, _ = ask(operator, url)
    assert "each of these 1 differences" in page
    assert TX in page
    confirm(operator, url, reason="my own sweep", typed="SIGN OFF")
    run.refresh_from_db()
    assert run.signed_off_at is None
    confirm(operator, url, reason="my own sweep", typed=f"SIGN OFF {run.pk}")

    run.refresh_from_db()
    assert (run.signed_off_by, run.sign_off_reason) == ("admin:anna", "my own sweep")
    assert AcceptedDifference.objects.get().row == "nonce 7"
    answer = operator.get(url, follow=True)
    assert "It was signed off by admin:anna" in answer.content.decode()


def test_who_only_looks_signs_nothing_off(run: Reconciliation, viewer: Client) -> None:
    for name in ("sign_off", "adopt"):
        assert viewer.post(operation_of(run, name), {"reason": "x"}).status_code == 403
    run.refresh_from_db()
    assert run.signed_off_at is None


def test_what_could_not_be_asked_cannot_be_signed_off(operator: Client, db: None) -> None:
    failed = record_run(
        scope=Scope.ALL,
        subject="",
        parts={"batches": []},
        failures={"chain": "the node does not answer"},
        balances=None,
        started_at=timezone.now(),
        actor=admin("anna"),
    )

    answer = operator.get(operation_of(failed, "sign_off"), follow=True)

    assert "nobody can vouch for what was not seen" in answer.content.decode()
    assert "chain could not be asked, so nothing is known of it: the node does not answer" in page_of(operator, failed)


def test_a_worker_is_asked_for_a_run_and_a_broker_that_is_away_is_said(
    operator: Client, broker_down: None, db: None
) -> None:
    answer = confirm(operator, list_operation(Reconciliation, "run"))

    assert "the broker does not answer" in said(answer) + answer.content.decode()
    assert not Reconciliation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_f69_what_the_backup_forgot_is_adopted_from_the_page(world: World, operator: Client) -> None:
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    payment = world.drive_to(ordered(world), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)
    run = reconciled("chain")

    answer = confirm(operator, operation_of(run, "adopt"), reason="restored", typed="ADOPT")

    assert "A worker adopts" in said(answer) + answer.content.decode()
    assert HostPayment.objects.get(pk=payment.pk).status == "ordered"
    tasks.adopt_now("anna", "restored")
    payment.refresh_from_db()
    assert (Reconciliation.objects.latest("pk").result, Reconciliation.objects.latest("pk").actor) == (
        "agrees",
        "admin:anna",
    )
    assert payment.status == "final"
    assert not Wallet.objects.get().halted_reason


def test_an_order_is_attached_from_the_payments_page(scene: Scene, operator: Client) -> None:
    payment = HostPayment.objects.filter(status="requested").earliest("created_at")
    url = operation_of(payment, "attach")

    page, _ = ask(operator, url)
    assert "the books have forgotten" in page
    assert "the wallet is halted" in page
    assert 'name="order_id"' in page
    answer = confirm(operator, url, order_id="order-1", reason="restored", typed="ATTACH")
    assert "Order order-1 is in the books" in said(answer) + answer.content.decode()
    payment.refresh_from_db()
    assert payment.status == "requested"


def test_a_worker_is_asked_to_adopt_and_a_broker_that_is_away_is_said(
    run: Reconciliation, operator: Client, broker_down: None
) -> None:
    answer = confirm(operator, operation_of(run, "adopt"), reason="restored", typed="ADOPT")

    assert "Run manage.py reconcile --chain --adopt" in said(answer) + answer.content.decode()


def test_a_run_that_is_ended_at_its_time_limit_is_told(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(**_: object) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr("config.reconciliation.reconcile_daily", endless)
    with pytest.raises(SoftTimeLimitExceeded):
        tasks.reconcile()

    failed = Reconciliation.objects.get()
    assert (failed.result, failed.actor) == ("failed", "beat:reconcile")
    assert "ended at the worker&#x27;s time limit" in page_of(operator, failed)


def test_a_later_run_of_another_scope_does_not_hide_an_alarm(run: Reconciliation, operator: Client) -> None:
    record_run(
        scope=Scope.PROVIDER,
        subject="",
        parts={"provider": [Line(row="order x", ours="1", theirs="2", verdict=Verdict.DIFFERS)]},
        failures={},
        balances=None,
        started_at=timezone.now(),
        actor=ACTOR,
    )
    for _ in range(2):
        record_run(
            scope=Scope.ALL,
            subject="",
            parts={},
            failures={"chain": "the node does not answer"},
            balances=None,
            started_at=timezone.now(),
            actor=ACTOR,
        )

    page = operator.get(reverse("admin:needs_me")).content.decode()

    for sentence in ("ALARM: nonce 7: our books", "order x: our books", "the node does not answer"):
        assert page.count(sentence) == 1
