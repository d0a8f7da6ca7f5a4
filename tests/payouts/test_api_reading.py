"""Lists and single objects, for keys with the scope read."""

from base64 import b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client as Browser
from django.utils import timezone

from batches.models import BatchConversion
from payouts.models import Accumulation
from payouts.services import create_api_key, hold_accumulation
from tests import factories
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db


@pytest.fixture
def get() -> Any:
    _, secret = create_api_key(name="reader", scopes=["read"], actor=ACTOR)
    return lambda url: Browser().get(url, headers={"authorization": f"Bearer {secret}"})


def test_it_shows_a_client(get: Any) -> None:
    of = factories.client(fee_percent="1.5")

    shown = get(f"/api/v1/clients/{of.pk}/").json()

    assert (shown["external_id"], shown["payout_threshold_usd"], shown["fee_percent"]) == (
        of.external_id,
        "50.00000000",
        "1.5000",
    )
    assert shown["created_at"].endswith("Z")


def test_it_shows_an_accumulation_with_amounts_as_strings(get: Any) -> None:
    row = factories.accumulation("12.5", net_wei=123456789012345678901)

    shown = get(f"/api/v1/accumulations/{row.pk}/").json()

    assert (shown["client_id"], shown["conversion_status"]) == (row.client.external_id, "pending")
    assert (shown["pending_usd_amount"], shown["net_wei"]) == ("12.50000000", "123456789012345678901")
    assert (shown["converted_usdt_amount"], shown["batch_conversion_id"]) == (None, None)


def test_pages_neither_repeat_nor_hide_a_row_while_others_arrive(get: Any) -> None:
    before = {row.pk for row in factories.accumulations(*[1] * 7)}

    first = get("/api/v1/accumulations/?page_size=3").json()
    factories.accumulations(1, 1)
    second = get(first["next"]).json()
    third = get(second["next"]).json()

    seen = [row["id"] for page in (first, second, third) for row in page["results"]]
    assert (len(seen), set(seen), third["next"]) == (7, before, None)
    assert seen == sorted(seen, reverse=True)


def test_filters_narrow_a_list(get: Any) -> None:
    held, pending = factories.accumulations(1, 2)
    other = factories.accumulation(3)
    hold_accumulation(accumulation=held, actor=ACTOR, reason="odd")
    Accumulation.objects.filter(pk=other.pk).update(created_at=pending.created_at - timedelta(days=2))
    yesterday = (Accumulation.objects.get(pk=pending.pk).created_at - timedelta(days=1)).isoformat()

    def ids(query: str) -> list[int]:
        return [row["id"] for row in get(f"/api/v1/accumulations/?{query}").json()["results"]]

    assert ids("status=held") == [held.pk]
    assert ids("status=held,pending") == [other.pk, pending.pk, held.pk]
    assert ids(f"client={pending.client.external_id}") == [pending.pk, held.pk]
    assert ids(f"created_from={yesterday}") == [pending.pk, held.pk]
    assert ids(f"created_before={yesterday}") == [other.pk]
    assert ids(f"payment_id={other.payment_id}") == [other.pk]


@pytest.mark.parametrize(
    ("query", "field"),
    [("stat=held", "stat"), ("status=lost", "status"), ("created_from=yesterday", "created_from"), ("batch=7", "batch"),
     ("client=%00", "client"), ("status=lost&status=pending", "status"), ("status=held&status=held", "status"),
     ("page_size=abc", "page_size"), ("page_size=100000", "page_size"), ("page_size=0", "page_size"),
     ("page_size=", "page_size"), ("page_size=2&page_size=3", "page_size"), ("created_from=0001-01-01T00:00:00%2B23:00", "created_from"), ("created_from=2026-01-01T00:00:00", "created_from")],
)  # fmt: skip
def test_it_refuses_a_filter_it_does_not_understand(get: Any, query: str, field: str) -> None:
    answer = get(f"/api/v1/accumulations/?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_it_knows_a_time_by_any_offset(get: Any) -> None:
    row = factories.accumulation()

    shown = get("/api/v1/accumulations/?created_from=2020-01-01T00:00:00%2B23:59").json()

    assert [each["id"] for each in shown["results"]] == [row.pk]


def test_it_names_all_that_it_refuses_at_once(get: Any) -> None:
    answer = get("/api/v1/accumulations/?stat=held&batch=7&page_size=0&cursor=x")

    assert {error["field"] for error in answer.json()["errors"]} == {"stat", "batch", "page_size", "cursor"}


@pytest.mark.parametrize(
    "text",
    ["p=abc", "o=-1", "o=5000", "x=1", "p=1&p=2", "p=" + "9" * 30, "r=0", "p=%00",
     # PostgreSQL knows no such offset.
     "p=2020-01-01+00%3A00%3A00%2B23%3A00"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["accumulations", "batches"])
def test_it_refuses_a_position_that_no_page_has(get: Any, path: str, text: str) -> None:
    answer = get(f"/api/v1/{path}/?cursor={quote(b64encode(text.encode()))}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]


@pytest.mark.parametrize("cursor", ["x", "", "%00", "%C3%BC"])
@pytest.mark.parametrize("path", ["accumulations", "batches"])
def test_it_refuses_a_cursor_somebody_made_up(get: Any, path: str, cursor: str) -> None:
    factories.accumulation()

    answer = get(f"/api/v1/{path}/?cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]


def test_batches_page_by_time_forth_and_back(get: Any) -> None:
    policy, now = factories.policy(1), timezone.now()
    made = [
        BatchConversion.objects.create(
            policy=policy, threshold_usd=1, total_usd=1, member_count=1, net_wei=10**9, unreceipted_usd=0,
            created_by=str(ACTOR), created_at=now - timedelta(hours=hours),
        )
        for hours in (0, 1, 2)
    ]  # fmt: skip

    first = get("/api/v1/batches/?page_size=2").json()
    second = get(first["next"]).json()
    again = get(second["previous"]).json()

    seen = [row["id"] for row in first["results"] + second["results"]]
    assert (set(seen), len(seen)) == ({str(batch.pk) for batch in made}, 3)
    assert again["results"] == first["results"]


@pytest.mark.parametrize("path", ["accumulations/0", "clients/0", "nothing", "accumulations/x", "batches/7"])
def test_what_is_not_there_is_a_problem_object(get: Any, path: str) -> None:
    answer = get(f"/api/v1/{path}/")

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"


def test_a_list_takes_the_same_few_statements_however_long(get: Any, django_assert_max_num_queries: Any) -> None:
    factories.accumulations(*[1] * 40)
    get("/api/v1/accumulations/")

    with django_assert_max_num_queries(2, connection=connection):
        assert len(get("/api/v1/accumulations/").json()["results"]) == 40


def test_a_payment_has_an_index_by_its_id_alone() -> None:
    """Before PostgreSQL 18 an index that begins with the source is read whole for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'accumulation_is_one_per_payment'")
        (definition,) = cursor.fetchone()

    assert definition.startswith("CREATE UNIQUE INDEX")
    assert definition.endswith("(payment_id, source)")
