"""What operators do: each operation's good way, its refusals, and that it happens once."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core import signing
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from batches.models import BatchConversion, BatchStatus, ConversionPolicy, ThresholdCheck
from hostpay.models import Context, HostPayment, Pause, PaymentStatus, Switch
from payouts.models import Accumulation, AccumulationStatus, ApiKey
from tests.factories import accumulations, policy
from tests.hostpay import rows
from tests.lib.unguarded import unguarded
from tests.web.scene import Scene

TOKEN = re.compile(r'name="token" value="([^"]+)"')


def operation_of(obj: Any, name: str) -> str:
    meta = obj._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_operate", args=(obj.pk, name))


def list_operation(model: Any, name: str) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_do", args=(name,))


def ask(client: Client, url: str) -> tuple[str, str]:
    """The confirmation page, and its token."""
    answer = client.get(url)
    assert answer.status_code == 200
    page = answer.content.decode()
    match = TOKEN.search(page)
    assert match is not None
    return page, match[1]


def confirm(client: Client, url: str, /, **given: Any) -> Any:
    """Open the page, then submit it."""
    _, token = ask(client, url)
    return client.post(url, {"token": token, "reason": "because", **given})


def said(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def payment_of(batch: BatchConversion) -> HostPayment:
    return HostPayment.objects.get(context=Context.BATCH, reference=str(batch.pk))


def test_it_holds_lets_go_on_and_voids_with_a_reason(scene: Scene, operator: Client) -> None:
    it = scene.pending[0]

    page, _ = ask(operator, operation_of(it, "hold"))
    assert "$10.50" in page
    answer = confirm(operator, operation_of(it, "hold"), reason="looks like a\nduplicate")
    it.refresh_from_db()
    assert answer.status_code == 302
    assert (it.status, it.hold_reason) == (AccumulationStatus.HELD, "looks like a duplicate")
    change = it.status_changes.latest("pk")
    assert (change.actor, change.reason) == ("admin:anna", "looks like a duplicate")

    confirm(operator, operation_of(it, "unhold"))
    it.refresh_from_db()
    assert (it.status, it.hold_reason) == (AccumulationStatus.PENDING, "")

    confirm(operator, operation_of(it, "void"), typed="$10.50")
    it.refresh_from_db()
    assert it.status == AccumulationStatus.VOIDED


def test_it_does_not_act_without_a_reason_or_the_typed_word(scene: Scene, operator: Client) -> None:
    it = scene.pending[0]

    silent = confirm(operator, operation_of(it, "hold"), reason="  ")
    mistyped = confirm(operator, operation_of(it, "void"), typed="$10.5")

    it.refresh_from_db()
    assert it.status == AccumulationStatus.PENDING
    assert "This field is required." in silent.content.decode()
    assert "Type exactly $10.50." in mistyped.content.decode()
    assert not it.status_changes.exists()


def test_it_changes_nothing_by_get(scene: Scene, operator: Client) -> None:
    it = scene.pending[0]
    operator.get(operation_of(it, "hold"), {"reason": "x", "token": "y"})
    it.refresh_from_db()
    assert it.status == AccumulationStatus.PENDING


def test_f71_it_acts_once_for_two_submissions_of_one_page(scene: Scene, operator: Client) -> None:
    url = list_operation(ConversionPolicy, "set")
    _, token = ask(operator, list_operation(Pause, "pause"))
    given = {"token": token, "switch": Switch.BATCHES.value, "hours": "", "reason": "audit"}
    operator.post(list_operation(Pause, "pause"), given)
    with unguarded(Pause):
        Pause.objects.filter(switch=Switch.BATCHES).delete()

    again = operator.post(list_operation(Pause, "pause"), given)

    assert "already done" in said(again)
    assert not Pause.objects.filter(switch=Switch.BATCHES).exists()
    assert operator.get(url).status_code == 200


def test_f71_it_refuses_when_the_object_has_moved_on_since_it_was_seen(scene: Scene, operator: Client) -> None:
    it = scene.pending[0]
    _, token = ask(operator, operation_of(it, "hold"))
    confirm(operator, operation_of(it, "hold"), reason="first")

    late = operator.post(operation_of(it, "hold"), {"token": token, "reason": "second"})

    it.refresh_from_db()
    assert "already done" in said(late)
    assert "It is held now." in said(late)
    assert it.hold_reason == "first"
    assert it.status_changes.count() == 1


@pytest.mark.parametrize(
    "token", ["", "nonsense", signing.dumps({"for": ["hold", "x", "1"], "seen": "", "nonce": "n"})]
)
def test_it_refuses_a_token_it_did_not_make(scene: Scene, operator: Client, token: str) -> None:
    it = scene.pending[0]
    answer = operator.post(operation_of(it, "hold"), {"token": token, "reason": "x"})
    it.refresh_from_db()
    assert it.status == AccumulationStatus.PENDING
    assert "Look again, then confirm." in answer.content.decode()


def test_f71_it_refuses_a_token_of_another_object_or_person(scene: Scene, operator: Client, superuser: Client) -> None:
    it, other = scene.pending[:2]
    _, token = ask(operator, operation_of(other, "hold"))
    operator.post(operation_of(it, "hold"), {"token": token, "reason": "x"})
    _, token = ask(superuser, operation_of(it, "hold"))
    operator.post(operation_of(it, "hold"), {"token": token, "reason": "x"})
    it.refresh_from_db()
    assert it.status == AccumulationStatus.PENDING


def test_it_shows_what_cannot_be_done_in_grey_with_the_reason(scene: Scene, operator: Client) -> None:
    page = operator.get(reverse("admin:batches_batchconversion_change", args=(scene.done.pk,))).content.decode()

    assert page.count("s-button-off") == 2
    assert "The batch is completed." in page
    assert operation_of(scene.done, "release") not in page
    answer = operator.get(operation_of(scene.done, "release"))
    assert answer.status_code == 302
    assert "not now. The batch is completed." in said(answer)


def test_it_retries_a_payment_in_review(scene: Scene, operator: Client) -> None:
    page, _ = ask(operator, operation_of(scene.stuck, "retry"))
    assert "less arrived than the policy allows" in page

    confirm(operator, operation_of(scene.stuck, "retry"), reason="provider confirmed by mail")

    scene.stuck.refresh_from_db()
    assert (scene.stuck.review_reason, scene.stuck.status) == ("", PaymentStatus.FINAL)
    assert scene.stuck.status_changes.latest("pk").actor == "admin:anna"


@pytest.mark.django_db(transaction=True)
def test_f46_it_retries_though_the_broker_is_down(
    transactional_db: None, scene: Scene, operator: Client, broker_down: None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = confirm(operator, operation_of(scene.stuck, "retry"))

    scene.stuck.refresh_from_db()
    assert "is taken up again" in said(answer)
    assert (answer.status_code, scene.stuck.review_reason) == (302, "")
    assert "Error calling after_commit.<locals>.run_hint" in caplog.text


def test_it_retries_a_batch_through_its_payment(scene: Scene, operator: Client) -> None:
    payment = payment_of(scene.waiting)
    HostPayment.objects.filter(pk=payment.pk).update(attempts=4, last_error="503")

    answer = confirm(operator, operation_of(scene.waiting, "retry"))

    payment.refresh_from_db()
    assert "taken up again" in said(answer)
    assert (payment.attempts, payment.last_error) == (0, "")


def test_it_accepts_what_arrived_when_its_amount_is_typed(scene: Scene, operator: Client) -> None:
    url = operation_of(scene.stuck, "accept")
    page, _ = ask(operator, url)
    assert "92.411482 USDT arrived for $160.00 expected" in page

    confirm(operator, url, typed="92.41")
    scene.stuck.refresh_from_db()
    assert scene.stuck.status == PaymentStatus.FINAL

    confirm(operator, url, typed="92.411482")
    scene.stuck.refresh_from_db()
    assert (scene.stuck.status, scene.stuck.received_units) == (PaymentStatus.SETTLED, Decimal(92_411_482))


def test_it_releases_a_batch_from_which_nothing_left(scene: Scene, operator: Client) -> None:
    members = scene.waiting.member_count
    ids = list(scene.waiting.members.values_list("pk", flat=True))

    answer = confirm(operator, operation_of(scene.waiting, "release"), typed=str(scene.waiting.pk)[:8])

    scene.waiting.refresh_from_db()
    assert f"{members} payments are pending again" in said(answer)
    assert (scene.waiting.status, scene.waiting.failure_reason) == (BatchStatus.CANCELLED, "because")
    assert set(Accumulation.objects.filter(pk__in=ids).values_list("status", flat=True)) == {"pending"}
    assert payment_of(scene.waiting).status == PaymentStatus.CANCELLED


def test_it_does_not_release_a_batch_whose_money_is_out(scene: Scene, operator: Client) -> None:
    out = BatchConversion.objects.get(pk=scene.stuck.reference)
    answer = operator.get(operation_of(out, "release"))
    out.refresh_from_db()
    assert "money may have left, or has" in said(answer)
    assert out.status == BatchStatus.SWAPPING


def test_it_says_a_refusal_of_the_service_as_a_sentence(scene: Scene, operator: Client) -> None:
    answer = confirm(operator, list_operation(Pause, "pause"), switch=Switch.SIGNING.value, hours="")

    assert "Pause: refused. New signatures is paused already" in said(answer)
    assert Pause.objects.filter(switch=Switch.SIGNING).count() == 1


def test_it_pauses_for_a_time_and_resumes(scene: Scene, operator: Client) -> None:
    confirm(operator, list_operation(Pause, "pause"), switch=Switch.INTAKE.value, hours="4", reason="migration")
    pause = Pause.objects.get(switch=Switch.INTAKE)
    assert (pause.actor, pause.reason) == ("admin:anna", "migration")
    assert pause.expires_at is not None
    assert "Paused: recording of payments" in operator.get(reverse("admin:needs_me")).content.decode()

    confirm(operator, operation_of(pause, "resume"))

    pause.refresh_from_db()
    assert pause.resumed_by == "admin:anna"
    assert "Paused: recording of payments" not in operator.get(reverse("admin:needs_me")).content.decode()


def test_it_changes_the_policy_by_a_new_version(scene: Scene, operator: Client) -> None:
    before = ConversionPolicy.objects.latest("version")

    confirm(
        operator,
        list_operation(ConversionPolicy, "set"),
        threshold_usd="55.5",
        tolerance_bps="250",
        reason="cheap gas",
    )

    now = ConversionPolicy.objects.latest("version")
    assert now.version == before.version + 1
    assert (now.threshold_usd, now.converts_unreceipted, now.tolerance_bps) == (Decimal("55.5"), False, 250)
    assert (now.created_by, now.reason) == ("admin:anna", "cheap gas")
    before.refresh_from_db()
    assert before.threshold_usd == Decimal(100)


@pytest.mark.parametrize("threshold", ["1e5", "-5", "1_000", "٥", "NaN", "", "0.123456789"])
def test_it_takes_no_strange_number_for_a_threshold(scene: Scene, operator: Client, threshold: str) -> None:
    count = ConversionPolicy.objects.count()
    answer = confirm(operator, list_operation(ConversionPolicy, "set"), threshold_usd=threshold, tolerance_bps="250")
    assert answer.status_code == 200
    assert ConversionPolicy.objects.count() == count


def test_it_shows_a_new_api_key_once(scene: Scene, operator: Client) -> None:
    url = list_operation(ApiKey, "create")
    _, token = ask(operator, url)
    given = {"token": token, "name": "billing", "scopes": ["ingest", "read"], "days": "90"}

    answer = operator.post(url, given)

    key = ApiKey.objects.get(name="billing")
    shown = re.search(rf"<code>({key.prefix}_[\w-]+)</code>", answer.content.decode())
    assert shown is not None
    assert (key.scopes, key.created_by) == (["ingest", "read"], "admin:anna")
    assert "no-store" in answer.headers["Cache-Control"]
    again = operator.post(url, given, follow=True)
    assert shown[1] not in again.content.decode()
    assert ApiKey.objects.filter(name="billing").count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_checks_the_threshold_now_and_makes_a_batch(operator: Client) -> None:
    policy(100)
    accumulations("60", "41")

    page, _ = ask(operator, list_operation(ThresholdCheck, "check"))
    answer = confirm(operator, list_operation(ThresholdCheck, "check"))

    batch = BatchConversion.objects.get()
    assert "2 payments of $101.00 are pending; the threshold is $100.00." in page
    assert batch.created_by == "admin:anna"
    assert answer.headers["Location"] == reverse("admin:batches_batchconversion_change", args=(batch.pk,))


@pytest.mark.django_db(transaction=True)
def test_it_makes_no_batch_below_the_threshold_unless_forced(operator: Client) -> None:
    policy(100)
    accumulations("60")

    answer = confirm(operator, list_operation(ThresholdCheck, "check"))
    assert "No batch: $60.00 are $40.00 below the threshold of $100.00" in said(answer)
    assert not BatchConversion.objects.exists()

    confirm(operator, list_operation(ThresholdCheck, "create"), typed="CREATE", reason="month's end")
    batch = BatchConversion.objects.get()
    assert batch.total_usd == Decimal(60)


def test_f72_it_gives_a_viewer_no_button_and_no_way(scene: Scene, viewer: Client) -> None:
    pages = [
        reverse("admin:index"),
        reverse("admin:batches_batchconversion_changelist"),
        reverse("admin:batches_conversionpolicy_changelist"),
        reverse("admin:hostpay_pause_changelist"),
        reverse("admin:payouts_apikey_changelist"),
        reverse("admin:batches_batchconversion_change", args=(scene.waiting.pk,)),
        reverse("admin:hostpay_hostpayment_change", args=(scene.stuck.pk,)),
        reverse("admin:payouts_accumulation_change", args=(scene.held.pk,)),
        reverse("admin:hostpay_pause_change", args=(scene.pause.pk,)),
    ]
    for url in pages:
        page = viewer.get(url).content.decode()
        assert 'class="s-button' not in page, url
        assert "/do/" not in page, url

    for url in (
        operation_of(scene.waiting, "release"),
        operation_of(scene.held, "unhold"),
        operation_of(scene.pause, "resume"),
        list_operation(ThresholdCheck, "check"),
        list_operation(ApiKey, "create"),
    ):
        assert viewer.get(url).status_code == 403
        assert viewer.post(url, {"reason": "x", "typed": "x"}).status_code == 403
    assert not ThresholdCheck.objects.filter(actor__startswith="admin:").exists()


def test_it_closes_a_payment_that_ended_unpaid_and_that_no_batch_answers_for(operator: Client) -> None:
    """Without it the review of a reverted instant payment would stay open for ever."""
    ended = rows.payment(
        context=Context.INSTANT,
        status=PaymentStatus.FAILED,
        failure_reason="reverted",
        review_reason="reverted",
        review_since=timezone.now(),
        next_action_at=None,
    )

    confirm(operator, operation_of(ended, "cancel"), typed="CANCEL")

    ended.refresh_from_db()
    assert (ended.status, ended.review_reason) == (PaymentStatus.FAILED, "")
    assert ended.delivered_at is not None
