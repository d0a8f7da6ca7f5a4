"""Lists and single objects, for keys with the scope read."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser

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
     ("client=%00", "client"), ("created_from=0001-01-01T00:00:00%2B23:00", "created_from"), ("created_from=2026-01-01T00:00:00", "created_from")],
)  # fmt: skip
def test_it_refuses_a_filter_it_does_not_understand(get: Any, query: str, field: str) -> None:
    answer = get(f"/api/v1/accumulations/?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_it_knows_a_time_by_any_offset(get: Any) -> None:
    row = factories.accumulation()

    shown = get("/api/v1/accumulations/?created_from=2020-01-01T00:00:00%2B23:59").json()

    assert [each["id"] for each in shown["results"]] == [row.pk]


@pytest.mark.parametrize("cursor", ["x", "cD1hYmM=", "%00", "bz0tMQ=="])
def test_it_refuses_a_cursor_somebody_made_up(get: Any, cursor: str) -> None:
    factories.accumulation()

    assert get(f"/api/v1/accumulations/?cursor={cursor}").status_code in {200, 404}


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
