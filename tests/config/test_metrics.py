"""`/metrics`: what Prometheus reads, who may read it, and that a figure is right or not there."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings

from config.lib.audit import admin
from config.lib.differences import Line
from config.lib.differences import Verdict as Compared
from config.lib.exposition import Family, Sample, exposition
from config.proxies import Peers
from config.schedule import SCHEDULE
from hostpay.models import Breaker, Heartbeat, Pause, Scope, Wallet
from hostpay.services.reconciling import record_run, sign_off
from hostpay.services.reconciling.runs import Balances
from payouts.models import InboundEvent, Outcome, Verdict, WebhookDelivery, WebhookEndpoint
from payouts.services import hold_accumulation, webhooks
from tests import factories
from tests.hostpay import rows
from tests.payouts.sending import client, payment, post, send
from tests.payouts.test_api_payments_bulk import send_bulk

pytestmark = pytest.mark.django_db

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_HELP = re.compile(rf"# HELP ({_NAME}) (?:[^\\\n]|\\[\\n])+")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (gauge|counter)")
_SAMPLE = re.compile(rf"({_NAME})(\{{{_LABEL}(?:,{_LABEL})*\}})? (NaN|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)")


def parsed(text: str) -> dict[str, str]:
    """Every sample by its name and labels; fails for what the format does not allow."""
    assert text.endswith("\n")
    found: dict[str, str] = {}
    family, told = "", set[str]()
    for line in text.removesuffix("\n").split("\n"):
        if help_line := _HELP.fullmatch(line):
            family = help_line[1]
            assert family not in told, f"{family} stands twice"
            told.add(family)
        elif type_line := _TYPE.fullmatch(line):
            assert type_line[1] == family
            assert type_line[2] == ("counter" if family.endswith("_total") else "gauge")
        else:
            sample = _SAMPLE.fullmatch(line)
            assert sample is not None, line
            assert sample[1] == family, f"{line} is not below its own heading"
            key = f"{sample[1]}{sample[2] or ''}"
            assert key not in found, f"{key} stands twice"
            found[key] = sample[3]
    return found


def scraped() -> dict[str, str]:
    answer = Browser().get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "no-store" in answer["Cache-Control"]
    return parsed(answer.content.decode())


def test_an_empty_system_says_so_and_knows_what_it_does_not_know() -> None:
    found = scraped()

    assert (found["sluice_pending_usd"], found["sluice_pending_payments"]) == ("0", "0")
    assert found["sluice_pending_oldest_age_seconds"] == "0"
    assert found["sluice_threshold_usd"] == "200"
    assert found['sluice_batches{status="swapping"}'] == "0"
    assert found['sluice_host_payments{status="failed"}'] == "0"
    assert found['sluice_beat_success_age_seconds{work="check_threshold"}'] == "NaN"
    assert found['sluice_invariants_hold{of="chain"}'] == "NaN"
    assert found["sluice_wallet_next_nonce"] == "NaN"
    assert {f'sluice_beat_interval_seconds{{work="{entry.task.rpartition(".")[2]}"}}' for entry in SCHEDULE} <= set(
        found
    )


def test_what_is_pending_moves_with_its_rows() -> None:
    client()
    send(payment())
    one = factories.accumulation("1.23456789")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payouts_accumulation SET created_at = now() - interval '2 hours' WHERE id = %s", [one.pk]
        )

    found = scraped()

    assert found["sluice_pending_usd"] == "25.96956789"
    assert found["sluice_pending_payments"] == "2"
    assert 7200 <= int(found["sluice_pending_oldest_age_seconds"]) < 7260


def test_stops_and_stuck_payments_show(settings: Settings) -> None:
    Pause.objects.create(switch="signing", reason="x", actor="tests")
    Breaker.objects.create(cause="chain", detail="x", opened_by="tests")
    rows.payment(review_reason="a person must look", review_since=timezone.now())
    Wallet.objects.create(
        chain_id=settings.ETH_CHAIN_ID,
        address=settings.HOST_WALLET_ADDRESS,
        next_nonce=7,
        halted_reason="x",
        halted_at=timezone.now(),
    )

    found = scraped()

    assert (found['sluice_paused{switch="signing"}'], found['sluice_paused{switch="intake"}']) == ("1", "0")
    assert (found['sluice_breaker_open{cause="chain"}'], found['sluice_breaker_open{cause="failures"}']) == ("1", "0")
    assert (found["sluice_wallet_next_nonce"], found["sluice_wallet_halted"]) == ("7", "1")
    assert found['sluice_host_payments_stuck{how="review"}'] == "1"
    assert found['sluice_needs_a_person{kind="review"}'] == "1"


def test_scheduled_work_shows_its_age_and_whether_it_fails() -> None:
    now = timezone.now()
    Heartbeat.objects.create(name="check_threshold", succeeded_at=now - timedelta(minutes=5))
    Heartbeat.objects.create(name="check_invariants", succeeded_at=now - timedelta(minutes=5), failed_at=now)
    Heartbeat.objects.create(name="check_chain_invariants", succeeded_at=now, failed_at=now - timedelta(minutes=5))

    found = scraped()

    assert 300 <= int(found['sluice_beat_success_age_seconds{work="check_threshold"}']) < 360
    assert found['sluice_beat_failing{work="check_threshold"}'] == "0"
    assert found['sluice_invariants_hold{of="database"}'] == "0"
    assert found['sluice_invariants_hold{of="chain"}'] == "1"


def test_the_wallets_balances_are_those_of_the_last_reconciliation() -> None:
    before = scraped()
    record_run(
        scope=Scope.CHAIN,
        subject="",
        parts={},
        failures={},
        balances=Balances(
            block_number=40, eth_wei=1_834_200_000_000_000_000, usdt_units=12_004_118_220, judged_block=40
        ),
        actor=factories.ACTOR,
        started_at=timezone.now(),
    )

    found = scraped()

    assert (before["sluice_wallet_eth"], before["sluice_wallet_balances_age_seconds"]) == ("NaN", "NaN")
    assert (found["sluice_wallet_eth"], found["sluice_wallet_usdt"]) == ("1.8342", "12004.11822")
    assert int(found["sluice_wallet_balances_age_seconds"]) < 60
    assert (found["sluice_reconciliations_unresolved"], found["sluice_reconciliation_alarms"]) == ("0", "0")


def test_alarms_of_reconciliations_are_counted_until_they_are_signed_off() -> None:
    run = record_run(
        scope=Scope.CHAIN,
        subject="",
        parts={"chain": [Line(row="nonce 7", ours="not known", theirs="1 ETH", verdict=Compared.ALARM)]},
        failures={},
        balances=None,
        actor=factories.ACTOR,
        started_at=timezone.now(),
    )
    assert scraped()["sluice_reconciliation_alarms"] == "1"

    sign_off(run=run, actor=admin("anna"), reason="my own sweep")

    assert scraped()["sluice_reconciliation_alarms"] == "0"


def test_the_inbox_shows_what_came_what_waits_and_what_was_turned_away() -> None:
    client()
    send(payment())
    post(b"{}", {})
    InboundEvent.objects.create(source="nowpayments", body=b"{}", verdict=Verdict.VALID, outcome=Outcome.RECEIVED)

    found = scraped()

    recorded = 'sluice_inbox_last_five_minutes{source="api",verdict="valid",outcome="recorded"}'
    assert (found[recorded], found["sluice_inbox_waiting"]) == ("1", "1")
    assert found["sluice_inbox_not_authentic_kept"] == "1"
    assert found['sluice_deliveries_rejected_total{source="api",why="signature"}'] == "1"


def test_f3_conflicts_and_refusals_are_counted_for_an_alarm() -> None:
    client()
    for number, amount in enumerate(("5", "5", "6", "7", "1e1")):
        send(payment(amount_usd=amount), event_id=f"event-{number}")
    send_bulk([payment(amount_usd="8"), payment(payment_id="b", client_id="nobody"), payment(payment_id="c"), 5])
    send_bulk({"payments": 5})

    found = {name: value for name, value in scraped().items() if name.startswith("sluice_deliveries_rejected_total")}

    assert found == {
        f'sluice_deliveries_rejected_total{{source="{source}",why="{why}"}}': number
        for source, why, number in (
            ("api", "conflicting_payment", "3"),
            ("api", "invalid_fields", "2"),
            ("api", "invalid_json", "1"),
            ("api", "unknown_client", "1"),
        )
    }


def test_a_figure_that_cannot_be_asked_is_no_zero() -> None:
    def broken(*_: Any) -> None:
        raise DatabaseError

    with connection.execute_wrapper(broken):
        answer = Browser().get("/metrics")

    assert answer.status_code == 503
    assert b"sluice_" not in answer.content


def test_it_asks_a_bounded_number_of_questions_and_nobody_outside(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(50):
        scraped()


@pytest.mark.parametrize(
    ("address", "authorization", "status"),
    [
        ("127.0.0.1", "", 200),
        ("192.0.2.7", "", 401),
        ("192.0.2.7", "Bearer wrong", 401),
        ("192.0.2.7", "Bearer ", 401),
        ("192.0.2.7", "Bearer the-token-of-prometheus", 200),
        ("192.0.2.7", "Basic the-token-of-prometheus", 401),
        ("10.3.0.1", "", 200),
    ],
)
def test_who_may_read_it(settings: Settings, address: str, authorization: str, status: int) -> None:
    settings.METRICS_TOKEN = "the-token-of-prometheus"
    settings.METRICS_ALLOWED_FROM = Peers.read("127.0.0.1,10.3.0.0/16")

    answer = Browser(REMOTE_ADDR=address).get("/metrics", headers={"authorization": authorization})

    assert answer.status_code == status
    assert (b"sluice_" in answer.content) == (status == 200)


def test_without_a_token_none_is_right(settings: Settings) -> None:
    settings.METRICS_ALLOWED_FROM = Peers()

    assert Browser().get("/metrics", headers={"authorization": "Bearer "}).status_code == 401
    assert Browser().get("/metrics").status_code == 401


def test_f74_no_secret_is_in_it(settings: Settings) -> None:
    settings.METRICS_TOKEN = "the-token-of-prometheus"

    text = Browser().get("/metrics").content.decode()

    known = (settings.SECRET_KEY, settings.CHANGENOW_API_KEY, settings.METRICS_TOKEN, *settings.INGEST_SIGNING_SECRETS)
    assert not [secret for secret in known if secret in text]


def test_labels_and_help_are_escaped() -> None:
    family = Family(
        name="x", help='back\\slash\nand "quotes"', samples=[Sample(value=1, labels={"a": 'b"c\\d\ne', "f": ""})]
    )

    text = exposition([family])

    assert text.splitlines()[0] == '# HELP x back\\\\slash\\nand "quotes"'
    assert parsed(text) == {'x{a="b\\"c\\\\d\\ne",f=""}': "1"}


def test_amounts_are_written_plainly() -> None:
    samples = [
        Sample(value=value, labels={"n": str(n)}) for n, value in enumerate((Decimal("1E+3"), Decimal("1E-8"), None))
    ]

    assert list(parsed(exposition([Family(name="x", help="x", samples=samples)])).values()) == [
        "1000",
        "0.00000001",
        "NaN",
    ]


def test_webhooks_that_are_not_taken_are_seen() -> None:
    quiet = scraped()
    endpoint, _ = webhooks.create_endpoint(
        name="shop", url="http://127.0.0.1:1/in", events=["payment.held"], actor=factories.ACTOR
    )
    gone, _ = webhooks.create_endpoint(
        name="gone", url="http://127.0.0.1:1/gone", events=["payment.held"], actor=factories.ACTOR
    )
    webhooks.disable_endpoint(endpoint=gone, actor=factories.ACTOR, reason="moved")
    hold_accumulation(accumulation=factories.accumulation(1), actor=factories.ACTOR, reason="odd")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failures=1, failing_since=timezone.now())

    found = scraped()

    assert quiet["sluice_webhook_waiting_oldest_age_seconds"] == "0"
    assert quiet["sluice_webhook_given_up_events"] == "0"
    assert Decimal(found["sluice_webhook_waiting_oldest_age_seconds"]) >= 0
    assert [found[f'sluice_webhook_endpoints{{state="{state}"}}'] for state in ("enabled", "failing", "disabled")] == [
        "0",
        "1",
        "1",
    ]


def test_the_oldest_webhook_waits_since_it_happened_or_was_sent_again() -> None:
    webhooks.create_endpoint(name="shop", url="http://127.0.0.1:1/in", events=["payment.held"], actor=factories.ACTOR)
    for _ in range(2):
        hold_accumulation(accumulation=factories.accumulation(1), actor=factories.ACTOR, reason="odd")
    first, second = WebhookDelivery.objects.order_by("pk")

    def age_s() -> int:
        return int(scraped()["sluice_webhook_waiting_oldest_age_seconds"])

    happened(first, timedelta(days=9))
    happened(second, timedelta(hours=2))
    assert age_s() == pytest.approx(9 * 86_400, abs=60)
    WebhookDelivery.objects.filter(pk=first.pk).update(resent_at=timezone.now())
    assert age_s() == pytest.approx(2 * 3600, abs=60), "what waits behind it is older"
    WebhookDelivery.objects.filter(pk=second.pk).update(delivered_at=timezone.now())
    assert age_s() < 60


def happened(event: WebhookDelivery, ago: timedelta) -> None:
    """Let it have happened so long ago."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE payouts_webhookdelivery DISABLE TRIGGER payouts_webhookdelivery_says_one_thing")
        cursor.execute(
            "UPDATE payouts_webhookdelivery SET created_at = %s WHERE id = %s", [timezone.now() - ago, event.pk]
        )
        cursor.execute("ALTER TABLE payouts_webhookdelivery ENABLE TRIGGER payouts_webhookdelivery_says_one_thing")
