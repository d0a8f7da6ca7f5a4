"""`manage.py reconcile`, and the daily run: one report of all parts, and what its exit says."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from config import tasks
from config.admin_site.attention import attention
from config.lib.audit import admin
from config.lib.locks import _NAMESPACE, Lock
from config.reconciliation import CouldNotAskError, reconcile, reconcile_daily
from hostpay import gateways
from hostpay.models import Heartbeat, NonceSlot, Reconciliation, Scope, Wallet
from hostpay.services.reconciling import sign_off
from tests.factories import ACTOR
from tests.hostpay.chain import look, ordered, requested, through, use_key_elsewhere
from tests.hostpay.reconciling.books import settle_books
from tests.hostpay.test_outages import restore_from_before_the_signature
from tests.lib.settled import settled_batch
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def run(*options: str) -> tuple[int, str]:
    """Exit status, and what was said."""
    out = StringIO()
    try:
        call_command("reconcile", *options, stdout=out, stderr=out)
    except SystemExit as exit_:
        return int(str(exit_.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def agreeing(world: World) -> World:
    """Books that agree with chain and exchange."""
    world.exchange.reset()
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    return world


def test_it_compares_everything_and_exits_with_0_when_all_agree(agreeing: World) -> None:
    status, said = run()

    assert status == 0
    assert [part for part in ("chain:", "provider:", "batches:") if part in said] == ["chain:", "provider:", "batches:"]
    stored = Reconciliation.objects.latest("id")
    assert f"run {stored.pk}: agrees" in said
    assert (stored.scope, stored.actor.split(":")[0]) == ("all", "command")


@pytest.mark.parametrize("scope", ["chain", "provider", "batch"])
def test_it_compares_one_part_alone(agreeing: World, scope: str) -> None:
    status, said = run(f"--{scope}")

    assert status == 0
    assert Reconciliation.objects.latest("id").scope == scope
    assert said.count(":\n") == 1


def test_it_names_the_row_the_figures_of_both_sides_and_the_next_step_and_exits_with_1(agreeing: World) -> None:
    foreign = use_key_elsewhere(agreeing)
    agreeing.anvil.mine(3)
    nonce = NonceSlot.objects.get().nonce + 1

    status, said = run("--chain")

    assert status == 1
    assert (
        f"ALARM   nonce {nonce} of {agreeing.wallet_address}\n          ours:   not known\n          theirs: " in said
    )
    assert foreign in said
    assert "next:   Keep the wallet halted" in said


def test_it_tells_a_program_the_same(agreeing: World) -> None:
    use_key_elsewhere(agreeing)
    agreeing.anvil.mine(3)

    status, said = run("--chain", "--json")

    told = json.loads(said)
    assert (status, told["result"], told["scope"], told["failures"]) == (1, "differs", "chain", {})
    assert {line["verdict"] for line in told["lines"]} == {"agrees", "noted", "accepted", "differs", "alarm"}


def test_f69_it_adopts_with_a_reason_and_shows_what_is_left(agreeing: World) -> None:
    payment = agreeing.drive_to(ordered(agreeing), "final", "settled")
    nonce = NonceSlot.objects.get(payment=payment).nonce
    restore_from_before_the_signature(payment, nonce)

    with pytest.raises(CommandError, match="needs a reason"):
        run("--chain", "--adopt")
    assert not Wallet.objects.get().halted_reason
    status, said = run("--chain", "--adopt", "--reason", "restored from the backup of 14:00")

    assert status == 0
    assert f", nonce {nonce}, payment {payment.pk}" in said
    assert "the wallet may sign" in said
    payment.refresh_from_db()
    assert payment.status == "final"
    assert (
        "restored from the backup of 14:00"
        in NonceSlot.objects.get(payment=payment).transactions.get().status_changes.earliest("pk").reason
    )


def test_f69_an_order_is_attached_by_its_id_and_a_refusal_says_why(agreeing: World) -> None:
    payment = look(requested(), may_sign=False)
    order_id = payment.orders.get().provider_order_id or ""

    with pytest.raises(CommandError, match="is in the books"):
        run("--provider", "--attach", order_id, "--payment", str(payment.pk), "--reason", "restored")
    with pytest.raises(CommandError, match="There is no host payment"):
        run("--provider", "--attach", order_id, "--payment", str(uuid4()), "--reason", "restored")
    with pytest.raises(CommandError, match="say --provider, and --payment or --new-payment"):
        run("--attach", order_id)


def test_a_run_is_signed_off_with_a_reason_and_once(agreeing: World) -> None:
    use_key_elsewhere(agreeing)
    agreeing.anvil.mine(3)
    run("--chain")
    number = str(Reconciliation.objects.latest("id").pk)

    status, said = run("--sign-off", number, "--reason", "my own sweep")

    assert (status, "2 differences are known" in said) == (0, True)
    with pytest.raises(CommandError, match="It was signed off by command:"):
        run("--sign-off", number, "--reason", "again")
    with pytest.raises(CommandError, match="There is no run 999999"):
        run("--sign-off", "999999", "--reason", "x")
    assert run("--chain")[0] == 0


def test_a_part_that_cannot_be_asked_fails_and_the_others_are_told(agreeing: World, settings: Settings) -> None:
    with through("http://127.0.0.1:9", settings), pytest.raises(CommandError, match="nothing is known of it: chain: "):
        run()

    stored = Reconciliation.objects.latest("id")
    assert (stored.result, list(stored.failures)) == ("failed", ["chain"])
    assert {line["part"] for line in stored.lines} == {"provider", "batches"}


def test_one_batch_is_shown_whole_and_another_id_is_an_error(agreeing: World) -> None:
    batch = settled_batch().batch

    status, said = run("--batch", str(batch.pk))

    assert status == 0
    assert f"shares of batch {batch.pk}" in said
    assert Reconciliation.objects.latest("id").subject == str(batch.pk)
    for nonsense in ("0b1f6a52-9d2a-4a3c-8f2e-3a3f1b0f7c11", "4711"):
        with pytest.raises(CommandError, match="There is no batch"):
            run("--batch", nonsense)


@pytest.mark.parametrize("options", [("--adopt",), ("--provider", "--adopt"), ("--since-block", "3")])
def test_what_is_about_the_chain_says_so(db: None, options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="say --chain"):
        run(*options)


def test_the_daily_run_is_made_once_a_day_and_tried_again_until_it_could_be_asked(
    agreeing: World, settings: Settings
) -> None:
    with through("http://127.0.0.1:9", settings), pytest.raises(CouldNotAskError, match="chain: "):
        reconcile_daily(actor=ACTOR)
    assert reconcile_daily(actor=ACTOR) is not None
    assert reconcile_daily(actor=ACTOR) is None

    assert [row.result for row in Reconciliation.objects.filter(scope="all").order_by("id")] == ["failed", "agrees"]


def test_beat_leaves_a_heartbeat_that_fails_with_it(agreeing: World, settings: Settings) -> None:
    with through("http://127.0.0.1:9", settings), pytest.raises(CouldNotAskError):
        tasks.reconcile()
    assert "CouldNotAskError" in Heartbeat.objects.get(pk="reconcile").last_error

    tasks.reconcile()
    assert Heartbeat.objects.get(pk="reconcile").succeeded_at is not None
    assert Reconciliation.objects.latest("id").actor == "beat:reconcile"


def test_what_differs_waits_for_a_person_until_it_agrees_or_is_signed_off(agreeing: World, settings: Settings) -> None:
    def waiting() -> list[str]:
        return [item.sentence for item in attention().items if item.kind == "reconciliation"]

    assert waiting() == []
    with through("http://127.0.0.1:9", settings):
        reconcile(scope=Scope.CHAIN, actor=ACTOR)
    assert "chain could not be asked" in waiting()[0]

    use_key_elsewhere(agreeing)
    agreeing.anvil.mine(3)
    differing = reconcile(scope=Scope.ALL, actor=ACTOR)
    (sentence,) = waiting()
    assert f"Run {differing.pk} of everything: " in sentence
    assert "and 1 more" in sentence

    sign_off(run=differing, actor=admin("anna"), reason="my own sweep")
    assert waiting() == []


def test_an_answer_of_yesterday_is_too_old(agreeing: World) -> None:
    yesterday = timezone.now() - timedelta(hours=24)
    Reconciliation.objects.create(scope="all", result="agrees", actor=str(ACTOR), started_at=yesterday)
    gateways.node.cache_clear()

    assert reconcile_daily(actor=ACTOR) is not None


def test_only_one_runs_at_a_time_and_nothing_is_adopted_beside_it(agreeing: World) -> None:
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [_NAMESPACE, Lock.RECONCILIATION.value])
    before = Reconciliation.objects.count()
    try:
        with pytest.raises(CommandError, match="Another reconciliation is running"):
            run("--chain")
        with pytest.raises(CommandError, match="A reconciliation is running"):
            run("--chain", "--adopt", "--reason", "restored")
        assert reconcile_daily(actor=ACTOR) is None
    finally:
        # Now, and not when the server has noticed that the connection is gone.
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")
        other.close()

    assert Reconciliation.objects.count() == before
    assert run("--chain")[0] == 0
