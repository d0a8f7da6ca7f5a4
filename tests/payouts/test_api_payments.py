"""`POST /api/v1/payments/`."""

import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import DatabaseError, connection, transaction
from django.test import Client as Browser
from pytest_django import Settings

from hostpay.models import Pause, Switch
from payouts.models import Accumulation, AccumulationStatus, Client, InboundEvent, Outcome, Strategy, Verdict
from payouts.services import rejected_totals
from tests.payouts.sending import URL, client, payment, post, send, signed_headers

pytestmark = pytest.mark.django_db


def test_it_records_a_payment_with_its_delivery() -> None:
    of = client()

    answer = send(payment(subscription_id="sub-1", paid_at="2026-01-02T03:04:05+02:00"))

    row = Accumulation.objects.get()
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert "Idempotent-Replayed" not in answer
    assert answer.json() == {
        "id": row.pk,
        "payment_id": "payment-1",
        "conversion_status": "pending",
        "gross_usd": "25.50000000",
        "fee_usd": "0.76500000",
        "pending_usd_amount": "24.73500000",
        "hold_reason": "",
    }
    assert (row.source, row.client, row.user_id, row.subscription_id) == ("api", of, "user-1", "sub-1")
    assert (row.gross_usd, row.fee_percent, row.fee_usd) == (Decimal("25.5"), Decimal(3), Decimal("0.765"))
    assert (row.received_wei, row.fee_wei, row.net_wei) == (10**16, 3 * 10**14, 97 * 10**14)
    assert (row.wallet_address, row.payout_currency, row.payout_network) == (of.wallet_address, "usdt", "eth")
    assert row.paid_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert row.batch_conversion_id is None
    assert row.converted_usdt_amount is None
    event = InboundEvent.objects.get()
    assert (event.outcome, event.verdict, event.accumulation) == (Outcome.RECORDED, Verdict.VALID, row)
    assert bytes(event.body).startswith(b'{"payment_id": "payment-1"')
    assert event.event_id == event.headers["webhook-id"]
    assert "webhook-signature" not in event.headers


def test_it_takes_one_statement_for_a_payment_of_a_client_seen_before(django_assert_num_queries: Any) -> None:
    client()
    send(payment())

    with django_assert_num_queries(1):
        answer = send(payment(payment_id="payment-2"), event_id="event-2")

    assert answer.status_code == 201
    row = Accumulation.objects.get(payment_id="payment-2")
    assert answer.json()["id"] == row.pk
    event = InboundEvent.objects.get(event_id="event-2")
    assert (event.outcome, event.verdict, event.accumulation, event.attempts) == ("recorded", "valid", row, 1)
    assert event.headers["webhook-id"] == "event-2"


def test_it_sees_at_once_that_a_client_has_changed() -> None:
    of = client()
    send(payment())

    of.fee_percent, of.wallet_address = Decimal(10), "0x00000000000000000000000000000000000000C2"
    of.save()
    answer = send(payment(payment_id="payment-2"))

    assert (answer.status_code, answer.json()["fee_usd"]) == (201, "2.55000000")
    assert Accumulation.objects.get(payment_id="payment-2").wallet_address == of.wallet_address
    of.fee_percent = None
    of.save()
    assert send(payment(payment_id="payment-3")).json()["fee_usd"] == "0.76500000"


def test_it_does_not_refuse_under_a_fee_that_is_no_longer_in_force() -> None:
    of = client(fee_percent=Decimal("99.99"))
    send(payment())
    of.fee_percent = Decimal(1)
    of.save()

    answer = send(payment(payment_id="payment-2", amount_usd="0.00000001", outcome_amount="1"))

    assert (answer.status_code, answer.json()["pending_usd_amount"]) == (201, "0.00000001")


def test_it_takes_the_clients_own_fee_where_there_is_one() -> None:
    client(fee_percent=Decimal("1.25"))

    answer = send(payment(amount_usd="100", outcome_amount="0.000000000000000101"))

    assert answer.json()["fee_usd"] == "1.25000000"
    row = Accumulation.objects.get()
    assert (row.fee_wei, row.net_wei) == (1, 100)


def test_it_records_no_receipt_when_the_sender_does_not_say_what_arrived() -> None:
    client()

    assert send(payment(outcome_amount=None, outcome_currency=None)).status_code == 201

    row = Accumulation.objects.get()
    assert (row.status, row.received_wei, row.fee_wei, row.net_wei) == (AccumulationStatus.PENDING, None, None, None)


def test_it_holds_what_arrived_in_another_asset() -> None:
    client()

    answer = send(payment(outcome_amount="25.1", outcome_currency="usdttrc20"))

    assert answer.status_code == 201
    assert answer.json()["conversion_status"] == "held"
    row = Accumulation.objects.get()
    assert row.hold_reason == "Arrived in USDTTRC20: only ETH is converted in batches."
    assert (row.outcome_amount, row.received_wei) == ("25.1", None)
    assert [change.to_status for change in row.status_changes.all()] == ["held"]
    assert InboundEvent.objects.get().outcome == Outcome.RECORDED


def test_it_holds_payments_of_instant_clients() -> None:
    client(strategy=Strategy.INSTANT, payout_threshold_usd=None)

    assert send(payment()).json()["hold_reason"] == "Instant client: payouts to clients are not built yet."


@pytest.mark.parametrize(("sent", "stored"), [(7, "7"), (-1003268562225, "-1003268562225"), ("a|b", "a|b")])
def test_it_takes_a_number_for_an_id(sent: int | str, stored: str) -> None:
    client(stored)

    assert send(payment(payment_id=sent, client_id=sent, user_id=sent)).status_code == 201

    row = Accumulation.objects.get()
    assert (row.payment_id, row.client.external_id, row.user_id) == (stored, stored, stored)


def test_it_takes_an_amount_as_a_json_number_exactly() -> None:
    client()
    body = b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":12.10000001}'

    assert send(body).json()["gross_usd"] == "12.10000001"


def test_it_refuses_an_unknown_client_and_keeps_the_delivery() -> None:
    answer = send(payment())

    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "unknown_client"
    assert not Accumulation.objects.exists()
    event = InboundEvent.objects.get()
    assert (event.outcome, event.verdict) == (Outcome.REFUSED, Verdict.VALID)


def test_it_names_every_field_it_refuses() -> None:
    client()

    answer = send({"payment_id": "", "amount_usd": "1.123456789", "colour": "red", "paid_at": "2026-01-02T03:04:05"})

    assert answer.status_code == 400
    problem = answer.json()
    assert (problem["code"], problem["status"]) == ("invalid_fields", 400)
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [
        ("payment_id", "invalid"),
        ("client_id", "required"),
        ("user_id", "required"),
        ("amount_usd", "invalid"),
        ("paid_at", "invalid"),
        ("colour", "unknown_field"),
    ]
    assert not Accumulation.objects.exists()
    assert InboundEvent.objects.get().outcome == Outcome.REFUSED


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome_currency": None},
        {"outcome_amount": None},
        {"outcome_amount": "1e-3"},
        {"outcome_amount": "0.0000000000000000001"},
        {"outcome_currency": "e t h"},
        {"payment_id": "x" * 129},
        {"client_id": "client 1"},
        {"user_id": "ключ"},
        {"user_id": True},
        {"user_id": ["u"]},
        {"subscription_id": {}},
        {"paid_at": 1700000000},
    ],
)
def test_it_refuses_a_malformed_field(changes: dict[str, Any]) -> None:
    client()

    assert send(payment(**changes)).json()["code"] == "invalid_fields"
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize("seen_before", [False, True])
def test_it_answers_503_while_the_intake_is_paused(seen_before: bool) -> None:
    client()
    if seen_before:
        send(payment(payment_id="payment-0"))
    pause = Pause.objects.create(switch=Switch.INTAKE, reason="moving house", actor="admin:ann")

    answer = send(payment())

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "intake_paused", "30")
    assert InboundEvent.objects.count() == Accumulation.objects.count() == int(seen_before)
    pause.resumed_at = datetime.now(UTC)
    pause.save()
    assert send(payment()).status_code == 201


@pytest.mark.parametrize("changes", [{"switch": Switch.BATCHES}, {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}])
def test_it_goes_on_under_another_pause_or_one_that_ran_out(changes: dict[str, Any]) -> None:
    client()
    Pause.objects.create(**{"switch": Switch.INTAKE, "reason": "tests", "actor": "admin:ann", **changes})

    assert send(payment()).status_code == 201


def test_it_answers_other_methods_with_405() -> None:
    answer = Browser().get(URL)

    assert (answer.status_code, answer["Allow"], answer.json()["code"]) == (405, "POST", "method_not_allowed")


def test_f1_the_same_payment_again_gets_what_was_recorded() -> None:
    client()
    first = send(payment())

    second = send(payment())

    assert (second.status_code, second["Idempotent-Replayed"]) == (200, "true")
    assert second.json() == first.json()
    assert Accumulation.objects.count() == 1
    assert sorted(InboundEvent.objects.values_list("outcome", flat=True)) == ["recorded", "replayed"]


@pytest.mark.parametrize(
    "changes", [{"amount_usd": "25.51"}, {"user_id": "user-2"}, {"outcome_amount": "0.02"}, {"client_id": "client-2"}]
)
def test_f3_the_same_key_with_other_content_is_a_conflict(changes: dict[str, Any]) -> None:
    client()
    client("client-2")
    send(payment(), event_id="event-1")

    answer = send(payment(**changes), event_id="event-1")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflicting_payment")
    row = Accumulation.objects.get()
    assert (row.gross_usd, row.user_id, row.client.external_id) == (Decimal("25.5"), "user-1", "client-1")
    conflict = InboundEvent.objects.get(outcome=Outcome.CONFLICT)
    assert (conflict.accumulation, f"accumulation {row.pk}" in conflict.error) == (row, True)


@pytest.mark.parametrize("is_client_known", [True, False])
def test_f13_an_id_that_stood_for_another_payment_is_a_conflict_for_a_person(*, is_client_known: bool) -> None:
    client()
    client("client-2")
    send(payment(), event_id="event-1")
    # To a process that has seen its client the payment takes a single statement, which asks as well.
    send(payment(payment_id="warm", client_id="client-2"), event_id="warm")
    other = payment(payment_id="payment-2", client_id="client-1" if is_client_known else "client-2")
    if not is_client_known:
        Client.objects.filter(external_id="client-2").update(name="changed")

    answer = send(other, event_id="event-1")
    again = send(payment(), event_id="event-1")
    by_its_own = send(other, event_id="event-2")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflicting_delivery")
    (conflict,) = InboundEvent.objects.unsettled()
    assert (conflict.outcome, conflict.accumulation) == (Outcome.CONFLICT, None)
    assert "recorded payment payment-1 before, and payment-2 is another" in conflict.error
    assert (again.status_code, by_its_own.status_code) == (200, 201)
    assert rejected_totals() == [("api", "conflicting_delivery", 1)]
    assert sorted(Accumulation.objects.values_list("payment_id", flat=True)) == ["payment-1", "payment-2", "warm"]


def test_f13_an_id_whose_delivery_recorded_nothing_can_be_sent_again() -> None:
    early = send(payment(), event_id="event-1")
    client()
    late = send(payment(), event_id="event-1")

    assert (early.status_code, late.status_code) == (422, 201)


@pytest.mark.parametrize(
    "changes", [{}, {"amount_usd": "25.5"}, {"outcome_currency": "ETH"}, {"outcome_amount": "0.010"}]
)
def test_f4_another_key_with_the_same_content_is_the_same_payment(changes: dict[str, Any]) -> None:
    client()
    send(payment(), event_id="event-1")

    answer = send(payment(**changes), event_id="event-2")

    assert (answer.status_code, answer["Idempotent-Replayed"]) == (200, "true")
    assert Accumulation.objects.count() == 1


def test_f5_a_sender_that_comes_back_much_later_gets_the_present_state() -> None:
    client()
    send(payment())
    Accumulation.objects.update(status=AccumulationStatus.HELD, hold_reason="looks odd")

    answer = send(payment())

    assert answer.status_code == 200
    assert (answer.json()["conversion_status"], answer.json()["pending_usd_amount"]) == ("held", "24.73500000")


BAD_AMOUNTS = [
    "NaN", "Infinity", "-Infinity", "-1", "0", "0.00", "1e5", "1_000", " 5 ", "5 ", "٥", "1" * 30, "", "1,5", "+1", "0x10",
    "01", ".5", "5.", "1.123456789", True, False, [], ["1"], {}, None, -1, 0, 10**29,
]  # fmt: skip


@pytest.mark.parametrize("amount", BAD_AMOUNTS, ids=repr)
def test_f7_a_nonsensical_amount_is_refused_by_name(amount: Any) -> None:
    client()

    answer = send({**payment(), "amount_usd": amount})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "amount_usd")
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e5", "1.5e1", "15e-1", "1.50E0", "1E400", "01", "1" * 5000]
)
def test_f7_a_nonsensical_json_number_is_refused(number: str) -> None:
    client()
    body = '{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":%s}' % number  # noqa: UP031

    answer = send(body.encode())

    assert answer.status_code == 400
    assert answer.json()["code"] in {"invalid_json", "invalid_fields"}
    assert not Accumulation.objects.exists()


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-1", "0"])
def test_f7_the_database_refuses_it_too(amount: str) -> None:
    client()
    send(payment())

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payouts_accumulation SET gross_usd = %s, pending_usd_amount = %s, fee_usd = 0", [amount, amount]
        )


def test_f8_an_amount_that_the_fee_would_eat_is_refused_with_the_smallest_that_would_do() -> None:
    client(fee_percent=Decimal("99.5"))

    answer = send(payment(amount_usd="0.00000001", outcome_amount=None, outcome_currency=None))

    assert (answer.status_code, answer.json()["code"]) == (422, "amount_too_small")
    assert "the smallest amount that does is 0.00000101 USD" in answer.json()["detail"]
    assert not Accumulation.objects.exists()
    again = payment(amount_usd="0.00000101", outcome_amount=None, outcome_currency=None)
    assert send(again).json()["pending_usd_amount"] == "0.00000001"


def test_f8_zero_eth_is_refused() -> None:
    client()

    assert send(payment(outcome_amount="0")).json()["code"] == "amount_too_small"


def test_f9_a_huge_amount_is_recorded_and_held(settings: LazySettings) -> None:
    settings.MAX_PAYMENT_USD = Decimal(1000)
    client()

    at_limit = send(payment(payment_id="at", amount_usd="1000"))
    above = send(payment(payment_id="above", amount_usd="1000.00000001"))

    assert (at_limit.json()["conversion_status"], above.json()["conversion_status"]) == ("pending", "held")
    assert above.json()["hold_reason"] == "Above the limit of 1000 USD for one payment."


def _refused_as_unauthentic(answer: Any, code: str = "bad_signature") -> bool:
    return (answer.status_code, answer.json()["code"]) == (401, code) and not Accumulation.objects.exists()


def test_f12_a_forged_signature_is_refused_and_kept_as_not_authentic() -> None:
    client()
    body = b'{"payment_id": "payment-1"}' + b" " * 5000
    headers = signed_headers(body, secret="whsec_" + "QQ" * 16)

    assert _refused_as_unauthentic(post(body, headers))

    event = InboundEvent.objects.get()
    assert (event.verdict, event.outcome, len(bytes(event.body))) == (Verdict.INVALID, Outcome.REFUSED, 4096)
    assert headers["webhook-signature"] not in str(event.headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,!!!"},
        {"webhook-signature": "v1,\u00e9"},
        {"webhook-signature": "v2,AAAA"},
        {"webhook-id": "event-2"},
        {"webhook-id": ""},
        {"webhook-id": "event.1"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "9" * 12},
    ],
)
def test_f12_an_altered_or_missing_header_is_refused(changes: dict[str, str]) -> None:
    client()
    body = b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":"5"}'

    assert _refused_as_unauthentic(post(body, {**signed_headers(body), **changes}))


def test_f12_a_request_without_a_signature_is_told_what_it_lacks() -> None:
    body = b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":"5"}'
    unsigned = {**signed_headers(body), "webhook-signature": ""}

    assert (
        post(body, {}).json()["detail"].endswith("There is no webhook-id, no webhook-timestamp, no webhook-signature.")
    )
    assert post(body, unsigned).json()["detail"].endswith("There is no webhook-signature.")
    assert "There is no" not in post(body, {**unsigned, "webhook-signature": "v1,AAAA"}).json()["detail"]


def test_f12_a_truncated_signature_is_refused() -> None:
    client()
    body = b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":"5"}'
    headers = signed_headers(body)
    headers["webhook-signature"] = headers["webhook-signature"][:-8]

    assert _refused_as_unauthentic(post(body, headers))


def test_f12_a_signature_over_the_same_json_written_otherwise_is_refused() -> None:
    client()
    signed = b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":"5"}'

    assert _refused_as_unauthentic(post(signed.replace(b",", b", "), signed_headers(signed)))


def test_f12_a_signed_body_that_is_no_text_is_refused_and_kept() -> None:
    answer = post(b"\xff\xfe", signed_headers(b"\xff\xfe"))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert InboundEvent.objects.get().outcome == Outcome.REFUSED


def test_f12_an_address_that_sends_much_without_a_signature_is_not_listened_to(settings: Settings) -> None:
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 3
    client()

    answers = [post(b"{}", {}) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert (answers[4].json()["code"], answers[4]["Retry-After"]) == ("too_many_requests", "60")
    assert InboundEvent.objects.count() == 3
    assert rejected_totals() == [("api", "signature", 4)]
    # What is signed is taken from there all the same: senders may share an address.
    assert send(payment()).status_code == 201


def test_f14_how_far_a_clock_may_be_off_can_be_set(settings: Settings) -> None:
    client()
    settings.INGEST_TOLERANCE_S = 900

    refused = send(payment(), at=time.time() - 960)

    assert _refused_as_unauthentic(refused, "stale_signature")
    assert "at most 900 s are taken" in refused.json()["detail"]
    assert send(payment(), at=time.time() - 600).status_code == 201


def test_f12_what_is_not_authentic_is_kept_in_bounds(settings: LazySettings) -> None:
    # One of so many has an id at which they are bounded.
    settings.UNPROVEN_REQUESTS_PER_MINUTE = 64
    rows = [
        InboundEvent(source="api", body=b"x", verdict=Verdict.INVALID, outcome=Outcome.REFUSED) for _ in range(1100)
    ]
    InboundEvent.objects.bulk_create(rows)
    recorded = InboundEvent.objects.create(source="api", body=b"x", verdict=Verdict.VALID)

    for _ in range(64):
        post(b"{}", {})

    kept = InboundEvent.objects.filter(verdict=Verdict.INVALID)
    assert 1000 <= kept.count() < 1064
    assert InboundEvent.objects.filter(pk=recorded.pk).exists()


@pytest.mark.parametrize("minutes", [-6, 6])
def test_f13_a_delivery_replayed_after_its_time_is_refused(minutes: int) -> None:
    client()
    at = datetime.now(UTC) + timedelta(minutes=minutes)

    assert _refused_as_unauthentic(send(payment(), at=at.timestamp()), "stale_signature")


def test_f13_a_delivery_replayed_within_its_time_changes_nothing() -> None:
    client()
    at = (datetime.now(UTC) - timedelta(minutes=4)).timestamp()

    answers = [send(payment(), at=at) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 200]
    assert Accumulation.objects.count() == 1


@pytest.mark.parametrize("minutes", [-10, 10])
def test_f14_a_sender_whose_clock_is_wrong_is_refused_seen_and_counted(minutes: int) -> None:
    client()
    at = datetime.now(UTC) + timedelta(minutes=minutes)

    answer = send(payment(), at=at.timestamp())

    assert _refused_as_unauthentic(answer, "stale_signature")
    assert re.match(r"webhook-timestamp is (599|60[0-9]) s from our clock, and at most 300 s", answer.json()["detail"])
    event = InboundEvent.objects.get()
    assert event.headers["webhook-timestamp"] == str(int(at.timestamp()))
    assert "too far from our clock" in event.error
    assert rejected_totals() == [("api", "stale", 1)]


@pytest.mark.parametrize(
    "body",
    [b" ", b"{", b"[]", b'"text"', b"null", b"[" * 40 + b"]" * 40, b'{"a":' * 40 + b"1" + b"}" * 40,
     b'{"payment_id":"a","payment_id":"b"}', b'{"payment_id":"\\u0000"}', b'{"payment_id":"\\ud800"}'],
)  # fmt: skip
def test_f16_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    answer = send(body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert InboundEvent.objects.get().outcome == Outcome.REFUSED


def test_f16_a_large_body_is_refused_unread() -> None:
    body = b" " * (64 * 1024 + 1)

    answer = send(body)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert not InboundEvent.objects.exists()


def test_f16_an_empty_body_is_refused_unread() -> None:
    assert send(b"").status_code == 411
    assert not InboundEvent.objects.exists()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_f16_another_content_type_is_refused(content_type: str) -> None:
    body = b"{}"

    answer = post(body, signed_headers(body), content_type=content_type)

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_f16_a_compressed_body_is_refused() -> None:
    body = b"{}"

    answer = post(body, {**signed_headers(body), "content-encoding": "gzip"})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_f17_two_secrets_verify_until_the_old_one_is_retired(settings: LazySettings) -> None:
    client()
    new, old = "whsec_" + "TmV3" * 8, "whsec_" + "T2xk" * 8
    settings.INGEST_SIGNING_SECRETS = [new, old]

    assert send(payment(payment_id="a"), secret=new).status_code == 201
    assert send(payment(payment_id="b"), secret=old).status_code == 201

    settings.INGEST_SIGNING_SECRETS = [new]
    assert send(payment(payment_id="c"), secret=old).status_code == 401
    assert Accumulation.objects.count() == 2
