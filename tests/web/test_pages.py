"""Every page of every model: it opens, costs a bounded number of queries, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from config.middleware import POLICY
from payouts.models import Accumulation, ApiKey
from tests.factories import accumulations
from tests.web.scene import Scene, batch_of

# Session, user and permissions (4), what is stopped (3), badge and sweep (10), and then the page itself.
MOST_QUERIES_OF_A_LIST = 24
MOST_QUERIES_OF_A_PAGE = 41

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in MODELS if model._meta.app_label in {"hostpay", "payouts", "batches"}]


def url_of(model: Any, page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_it_shows_every_model_of_ours() -> None:
    for label in ("hostpay", "payouts", "batches"):
        assert set(apps.get_app_config(label).get_models()) <= set(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label_lower)
def test_it_opens_the_list_of(model: Any, scene: Scene, superuser: Client) -> None:
    assert model._default_manager.exists(), f"the scene has no {model._meta.label}"
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = superuser.get(url_of(model, "changelist"))

    assert answer.status_code == 200
    assert len(queries) <= MOST_QUERIES_OF_A_LIST, "\n".join(query["sql"][:200] for query in queries)
    if model in OURS:
        assert not [
            query for query in queries if f'COUNT(*) AS "__count" FROM "{model._meta.db_table}"' in query["sql"]
        ]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label_lower)
def test_it_opens_the_page_of(model: Any, scene: Scene, superuser: Client) -> None:
    for obj in model._default_manager.all()[:4]:
        with CaptureQueriesContext(connection) as queries:
            answer = superuser.get(url_of(model, "change", obj.pk))

        assert answer.status_code == 200
        assert len(queries) <= MOST_QUERIES_OF_A_PAGE, "\n".join(query["sql"][:200] for query in queries)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label_lower)
def test_it_opens_for_an_operator_and_a_viewer(model: Any, scene: Scene, operator: Client, viewer: Client) -> None:
    obj = model._default_manager.first()
    for client in (operator, viewer):
        assert client.get(url_of(model, "changelist")).status_code == 200
        assert client.get(url_of(model, "change", obj.pk)).status_code == 200


@pytest.mark.parametrize(
    "model", [each for each in OURS if each._meta.model_name != "client"], ids=lambda model: model._meta.label_lower
)
def test_it_lets_nobody_add_edit_or_delete(model: Any, scene: Scene, superuser: Client) -> None:
    obj = model._default_manager.first()
    before = model._default_manager.values().get(pk=obj.pk)

    assert superuser.get(url_of(model, "add")).status_code == 403
    assert superuser.post(url_of(model, "delete", obj.pk), {"post": "yes"}).status_code == 403
    superuser.post(url_of(model, "change", obj.pk), {"status": "completed", "threshold_usd": "1"})
    superuser.post(url_of(model, "changelist"), {"action": "delete_selected", "_selected_action": [obj.pk]})

    assert model._default_manager.values().get(pk=obj.pk) == before


def test_it_costs_no_more_queries_when_there_are_more_rows(scene: Scene, superuser: Client) -> None:
    url = url_of(Accumulation, "changelist")
    superuser.get(url)
    with CaptureQueriesContext(connection) as few:
        superuser.get(url)
    for _ in range(4):
        accumulations(*["1.25"] * 8)
    with CaptureQueriesContext(connection) as many:
        superuser.get(url)

    assert len(many) == len(few)


def test_it_finds_an_accumulation_by_its_whole_payment_id_only(scene: Scene, operator: Client) -> None:
    wanted, other = scene.pending[0], scene.pending[1]

    found = operator.get(url_of(Accumulation, "changelist"), {"q": wanted.payment_id}).content.decode()
    part = operator.get(url_of(Accumulation, "changelist"), {"q": wanted.payment_id[:-1]}).content.decode()

    assert wanted.payment_id in found
    assert f">{other.payment_id}<" not in found
    assert "Nothing matches." in part


def test_it_shows_that_the_shares_are_exactly_what_was_received(scene: Scene, operator: Client) -> None:
    page = operator.get(url_of(type(scene.done), "change", scene.done.pk)).content.decode()

    assert page.count("159.123457 USDT") >= 3
    assert page.count(">exact<") == 3
    assert ">differs<" not in page
    assert "12.345678" in page


def test_it_says_so_when_the_shares_are_not_what_was_received(scene: Scene, operator: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payouts_accumulation SET converted_usdt_amount = 1 WHERE id = (SELECT min(id) FROM payouts_accumulation)"
        )

    assert ">differs<" in operator.get(url_of(type(scene.done), "change", scene.done.pk)).content.decode()


def test_it_pages_the_members_of_a_large_batch(scene: Scene, operator: Client) -> None:
    batch, _ = batch_of(*["2.5"] * 120)
    url = url_of(type(batch), "change", batch.pk)

    second = operator.get(url, {"members": "2"}).content.decode()

    assert f"51 to 100 of {batch.member_count} members" in second
    assert "?members=3#members" in second
    assert operator.get(url, {"members": "x'"}).status_code == 200


def test_it_answers_404_for_what_is_not_there(scene: Scene, operator: Client) -> None:
    assert operator.get(url_of(type(scene.done), "change", "not-a-uuid")).status_code == 404
    assert operator.get(url_of(Accumulation, "change", 10**9)).status_code == 404
    assert operator.get(url_of(Accumulation, "operate", scene.held.pk, "nothing")).status_code == 404


def test_it_keeps_secrets_off_its_pages(scene: Scene, superuser: Client) -> None:
    key = ApiKey.objects.get()
    page = superuser.get(url_of(ApiKey, "change", key.pk)).content.decode()

    assert key.secret_sha256 not in page
    assert key.prefix in page


def test_it_forbids_scripts_from_elsewhere(operator: Client) -> None:
    answer = operator.get(reverse("admin:needs_me"))

    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "unsafe-inline" not in POLICY.split("style-src", maxsplit=1)[0]


def test_it_leads_nobody_in_without_a_log_in(client: Client, scene: Scene) -> None:
    for model in OURS:
        answer = client.get(url_of(model, "changelist"))
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


def test_it_shows_no_model_that_nothing_of_ours_uses() -> None:
    with pytest.raises(NoReverseMatch):
        reverse("admin:django_celery_beat_solarschedule_changelist")
