"""Reconciliation: our books on the left, the chain or the exchange on the right, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from kombu.exceptions import OperationalError as BrokerError

from config import tasks
from config.lib.adminkit import cells
from config.lib.adminkit.admins import ObjectAdmin
from config.lib.adminkit.export_columns import ObjectExport, field, fields, usdt_field
from config.lib.adminkit.links import linked
from config.lib.adminkit.operations import ConfirmForm, Done, Operation
from config.lib.adminkit.pages import Page, Section, Table, columns, facts
from config.lib.audit import Actor
from config.lib.differences import Line, Verdict, open_lines
from config.lib.errors import RefusedError
from config.reconciliation import BATCHES, CHAIN, PROVIDER
from hostpay.models import AcceptedDifference, Reconciliation, Result, Scope
from hostpay.services.reconciling import sign_off
from hostpay.services.reconciling.runs import lines_of, why_not_sign_off, worst_first

# Nobody waits for a run longer than this; the daily one comes anyway.
_ASKED_FOR_S = 600
_PILLS = {
    Verdict.ALARM: ("failed", "alarm"),
    Verdict.DIFFERS: ("failed", "differs"),
    Verdict.NOTED: ("noted", "note"),
    Verdict.ACCEPTED: ("off", "known"),
    Verdict.AGREES: ("ok", "agrees"),
}
_RESULTS = {Result.AGREES: "ok", Result.DIFFERS: "failed", Result.FAILED: "unknown"}
_PARTS = {
    CHAIN: ("Host wallet on chain", "Chain"),
    PROVIDER: ("Orders at the exchange", "Exchange"),
    BATCHES: ("Batches", "Members and payments"),
}


@dataclass(frozen=True, kw_only=True)
class _ExportedLine:
    """A line of a run, as a row of a table."""

    run: Reconciliation
    part: str
    line: Line


def _run(_: None, actor: Actor, _given: dict[str, Any]) -> Done:
    try:
        tasks.reconcile_now.apply_async((Scope.ALL.value, actor.name), expires=_ASKED_FOR_S)
    except BrokerError:
        raise RefusedError(
            why="No worker can be told: the broker does not answer.", next_step="Run manage.py reconcile."
        ) from None
    return Done(message="A worker compares; the run stands in this list when it is done.", level=messages.INFO)


RUN: Operation[None] = Operation(
    name="run",
    label="Reconcile now",
    icon="balance",
    form_class=ConfirmForm,
    consequence=lambda _: (
        "Chain, exchange and batches are compared with the books, as each day by itself. It asks the node and the "
        "exchange some dozens of questions, and changes nothing."
    ),
    run=_run,
)


def _sign(run: Reconciliation, actor: Actor, given: dict[str, Any]) -> Done:
    sign_off(run=run, actor=actor, reason=given["reason"])
    return Done(message=f"Run {run.pk} is signed off.")


def _sign_consequence(run: Reconciliation) -> str:
    differing = worst_first(open_lines(lines_of(run)))
    named = "; ".join(f"{line.verdict}: {line}" for line in differing)
    return (
        f"You say that you know the reason of each of these {len(differing)} differences, and that it is in order: {named}."
        " Exactly these figures are told no more as differences; any other figure is. Nothing else is changed: a "
        "halted wallet stays halted."
    )


SIGN_OFF: Operation[Reconciliation] = Operation(
    name="sign_off",
    label="Sign off",
    icon="task_alt",
    is_grave=True,
    consequence=_sign_consequence,
    why_not=why_not_sign_off,
    seen=lambda run: str(run.signed_off_at),
    typed=lambda run: f"SIGN OFF {run.pk}",
    run=_sign,
    needs_proof=True,
)


def _why_not_adopt(run: Reconciliation) -> str:
    found = [line for line in lines_of(run, CHAIN) if line.is_open and line.row.startswith("nonce")]
    return "" if found else "It found no transaction of the wallet that the books do not know."


def _adopt(_run: Reconciliation, actor: Actor, given: dict[str, Any]) -> Done:
    try:
        tasks.adopt_now.apply_async((actor.name, given["reason"]), expires=_ASKED_FOR_S)
    except BrokerError:
        raise RefusedError(
            why="No worker can be told: the broker does not answer.",
            next_step="Run manage.py reconcile --chain --adopt --reason '…'.",
        ) from None
    return Done(
        message="A worker adopts. Then a run stands in the list, with what is left; while something is, the wallet stays"
        " halted.",
        level=messages.INFO,
    )


ADOPT: Operation[Reconciliation] = Operation(
    name="adopt",
    label="Adopt what proves itself",
    icon="assignment_turned_in",
    is_grave=True,
    consequence=lambda _: (
        "The chain is read again. The wallet is halted if a nonce is unknown; each transaction that our key signed, to the"
        " pay-in address of exactly one open order and with its value, is taken into the books with its payment, which"
        " then goes on. Only if every nonce is accounted for is the halt lifted. Nothing is signed or sent by this."
    ),
    why_not=_why_not_adopt,
    typed=lambda _: "ADOPT",
    run=_adopt,
    needs_proof=True,
)


def _exported_lines(run: Reconciliation) -> list[_ExportedLine]:
    """In the order of the page: part by part, the worst first."""
    return [
        _ExportedLine(run=run, part=part, line=line) for part in _PARTS for line in worst_first(lines_of(run, part))
    ]


_EXPORTED_LINE = (
    field("run_id", "run.pk"),
    *fields("part"),
    field("row", "line.row"),
    field("our_books", "line.ours"),
    field("verdict", lambda each: each.line.verdict.value),
    field("outside", "line.theirs"),
    field("next_step", "line.next_step"),
)


@admin.register(Reconciliation)
class ReconciliationAdmin(ObjectAdmin[Reconciliation]):
    explanation = (
        "Each day, and whenever somebody asks, the books are compared with the chain, the exchange and the batches'"
        " members. What differs waits under “Needs me” until it agrees or somebody signs it off."
    )
    list_display = ("number", "what", "found", "actor", "started", "took", "signed")
    list_display_links = ("number",)
    exported = (
        *fields("id", "scope", "subject", "result", "actor", "started_at", "finished_at", "block_number", "eth_wei"),
        usdt_field("usdt", "usdt_units"),
        *fields("signed_off_at", "signed_off_by", "sign_off_reason"),
    )
    exports = (ObjectExport(name="lines", label="lines", columns=_EXPORTED_LINE, rows=_exported_lines),)
    list_filter = ("result", "scope")
    ordering = ("-id",)
    sortable_by = ()
    operations = (ADOPT, SIGN_OFF)
    list_operations = (RUN,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reconciliation]:
        found = super().get_queryset(request)
        is_list = request.resolver_match is not None and (request.resolver_match.url_name or "").endswith(
            ("changelist", "export")
        )
        # Documents of some kilobytes, of which a list shows nothing.
        return found.defer("lines", "failures") if is_list else found

    @admin.display(description="run")
    def number(self, run: Reconciliation) -> str:
        return f"#{run.pk}"

    @admin.display(description="compared")
    def what(self, run: Reconciliation) -> str:
        return f"{run.get_scope_display()} {run.subject[:8]}".strip()

    @admin.display(description="result")
    def found(self, run: Reconciliation) -> SafeString:
        return _result(run)

    def started(self, run: Reconciliation) -> SafeString:
        return cells.when(run.started_at)

    def took(self, run: Reconciliation) -> str:
        return cells.duration(run.finished_at - run.started_at)

    @admin.display(description="signed off")
    def signed(self, run: Reconciliation) -> str | SafeString:
        return run.signed_off_by or cells.NOTHING

    def page(self, _request: HttpRequest, obj: Reconciliation) -> Page:
        differing = sum(line.is_open for line in lines_of(obj))
        return Page(
            headline=f"Reconciliation #{obj.pk}: {obj.get_scope_display()}",
            pills=(_result(obj),),
            subline=format_html("by {} {}", obj.actor, cells.when(obj.started_at)),
            alarm=_alarm(obj, differing),
            sections=(
                *(
                    _part(obj, name)
                    for name in _PARTS
                    if any(each["part"] == name for each in obj.lines) or name in obj.failures
                ),
                _run_facts(obj),
            ),
        )


@admin.register(AcceptedDifference)
class AcceptedDifferenceAdmin(ObjectAdmin[AcceptedDifference]):
    explanation = "Differences that somebody looked into and signed off. Exactly these figures are known from then on."
    list_display = ("row", "ours", "theirs", "of_run", "by")
    exported = (
        *fields("row"),
        field("our_books", "ours"),
        field("outside", "theirs"),
        field("run_id", "reconciliation_id"),
        field("signed_off_by", "reconciliation.signed_off_by"),
        field("signed_off_at", "reconciliation.signed_off_at"),
        field("sign_off_reason", "reconciliation.sign_off_reason"),
    )
    list_select_related = ("reconciliation",)
    ordering = ("-id",)
    sortable_by = ()

    @admin.display(description="signed off with")
    def of_run(self, accepted: AcceptedDifference) -> SafeString:
        return linked(accepted.reconciliation, f"#{accepted.reconciliation_id}")

    def by(self, accepted: AcceptedDifference) -> str:
        return accepted.reconciliation.signed_off_by

    def page(self, _request: HttpRequest, obj: AcceptedDifference) -> Page:
        run = obj.reconciliation
        return Page(
            headline=obj.row,
            sections=(
                facts(
                    "Known difference",
                    ("Our books", obj.ours),
                    ("Outside", obj.theirs),
                    ("Signed off with", linked(run)),
                    ("By", run.signed_off_by),
                    ("At", cells.when(run.signed_off_at)),
                    ("Why", run.sign_off_reason),
                ),
            ),
        )


def _result(run: Reconciliation) -> SafeString:
    return cells.pill(_RESULTS[Result(run.result)], text=run.get_result_display().lower())


def _alarm(run: Reconciliation, differing: int) -> str:
    if run.signed_off_at is not None or run.result == Result.AGREES:
        return ""
    said = [f"{differing} {'difference' if differing == 1 else 'differences'}, told first below"] if differing else []
    said += [f"{name} could not be asked, so nothing is known of it: {why}" for name, why in run.failures.items()]
    return ". ".join(said)


def _part(run: Reconciliation, name: str) -> Section:
    title, theirs = _PARTS[name]
    if name in run.failures:
        return facts(title, ("Could not be asked", run.failures[name]))
    lines = worst_first(lines_of(run, name))
    return Table(
        title=title,
        columns=columns("What", "Our books", "Difference", theirs, "What next"),
        rows=[_cells(line) for line in lines],
        empty="Nothing was there to be compared.",
    )


def _cells(line: Line) -> list[str | SafeString]:
    word, text = _PILLS[line.verdict]
    return [_wrapped(line.row), _wrapped(line.ours), cells.pill(word, text=text), _wrapped(line.theirs), line.next_step]


def _wrapped(text: str) -> SafeString:
    return format_html('<span class="s-wrap">{}</span>', text)


def _run_facts(run: Reconciliation) -> Section:
    return facts(
        "This run",
        ("Who", run.actor),
        ("Started", cells.when(run.started_at)),
        ("Took", cells.duration(run.finished_at - run.started_at)),
        ("Final block", cells.count(run.block_number) if run.block_number is not None else ""),
        ("ETH then", cells.eth_exact(run.eth_wei) if run.eth_wei is not None else ""),
        ("USDT then", cells.usdt(run.usdt_units) if run.usdt_units is not None else ""),
        (
            "Signed off",
            format_html("{} {}", run.signed_off_by, cells.when(run.signed_off_at)) if run.signed_off_by else "",
        ),
        ("Why", run.sign_off_reason),
    )
