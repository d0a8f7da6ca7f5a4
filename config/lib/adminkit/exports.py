"""A list as a file for a spreadsheet: exactly what it shows, whole or not at all, and written down who took it.

A button leads to a page that says how many rows of which filters the file will have, and asks for the password unless it
was given just now. The file is made whole before its first byte is sent, out of one statement and so of one moment: what
fails on the way is an error page and no shorter file, and what breaks off under way is noticed by its length.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Protocol

from django import forms
from django.contrib.admin.views.main import ALL_VAR, ORDER_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from config.lib import audit
from config.lib.adminkit.export_columns import ExportColumn
from config.lib.adminkit.proof import ProvesPeople, ask_for_proof, take_proof
from config.lib.spreadsheets import write_table

# Named by its text, since this module is below the app that has it.
EXPORT = "payouts.add_export"

# Some ten seconds of one thread of a web server. More rows are for a program, by the API's pages.
MOST_ROWS = 200_000
_CHUNK = 2000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What somebody wants to have exported.

    Attributes:
        title: what the rows are, as the page says it.
        subject: the same for the record.
        file_stem: how the file's name begins.
        filters: what narrows the rows, as in the list's address.
    """

    title: str
    subject: str
    file_stem: str
    columns: Sequence[ExportColumn]
    rows: QuerySet[Any] | Sequence[Any]
    filters: Mapping[str, Sequence[str]]
    back_url: str
    opts: Any
    original: Model | None = None


class ExportSite(ProvesPeople, Protocol):
    """What an admin site must offer: who somebody is, proved anew, and a record of what was taken out."""

    def record_export(
        self,
        *,
        subject: str,
        filters: Mapping[str, Sequence[str]],
        columns: Sequence[str],
        row_count: int,
        sha256: str,
        actor: audit.Actor,
    ) -> object: ...

    def record_refused_export(
        self,
        *,
        subject: str,
        filters: Mapping[str, Sequence[str]],
        columns: Sequence[str],
        why: str,
        actor: audit.Actor,
    ) -> object: ...


class _TooManyRowsError(Exception):
    """There are more than MOST_ROWS."""


def may_export(request: HttpRequest) -> bool:
    """Whether a button is offered; which rows, the list's own permission says."""
    return request.user.has_perm(EXPORT)


def export(request: HttpRequest, *, wanted: Wanted, site: ExportSite) -> HttpResponse | FileResponse:
    """The page that asks, and the submission that hands the file over.

    A second submission makes a second file and a second row of the record; nothing is changed by either, so there is
    no token to spend.
    """
    visible = [column for column in wanted.columns if not column.permission or request.user.has_perm(column.permission)]
    if not may_export(request):
        if request.method == "POST":
            _refuse(request, wanted, visible, site, why="not permitted")
        raise PermissionDenied
    form = forms.Form(request.POST if request.method == "POST" else None)
    ask_for_proof(form, request, site)
    if form.is_bound:
        take_proof(form, request, site)
    if form.is_valid():
        try:
            return _hand_over(request, wanted, visible, site)
        except _TooManyRowsError:
            form.add_error(None, _too_many())
    if form.is_bound and form.errors:
        why = " ".join(str(text) for texts in form.errors.values() for text in texts)
        _refuse(request, wanted, visible, site, why=why)
    return _ask(request, wanted, visible, site, form)


def narrowed_by(request: HttpRequest) -> dict[str, list[str]]:
    """The parameters of a list's address, as they are recorded; one with a NUL, which no database stores, came not so far."""
    return dict(request.GET.lists())


def told(filters: Mapping[str, Sequence[str]]) -> list[str]:
    """What narrows a list, in words."""
    words: dict[str, list[str]] = {}
    for parameter, values in filters.items():
        if parameter not in {ALL_VAR, ORDER_VAR}:
            # A moment comes in two parts, its day and its time.
            name = parameter.removesuffix("_0").removesuffix("_1").removesuffix("__exact")
            words.setdefault("search" if name == SEARCH_VAR else name, []).extend(values)
    return [f"{name.replace('__', ' ').replace('_', ' ')}: {' '.join(v)}" for name, v in words.items() if any(v)]


def _hand_over(request: HttpRequest, wanted: Wanted, columns: Sequence[ExportColumn], site: ExportSite) -> FileResponse:
    names = [column.name for column in columns]
    with ExitStack() as unless_handed_over:
        file = unless_handed_over.enter_context(tempfile.TemporaryFile())
        sink = _Sink(file)
        with _one_moment(wanted.rows) as rows:
            row_count = write_table(sink, names=names, rows=([column.value(row) for column in columns] for row in rows))
        site.record_export(
            subject=wanted.subject,
            filters=wanted.filters,
            columns=names,
            row_count=row_count,
            sha256=sink.sha256,
            actor=audit.admin(request.user.get_username()),
        )
        file.seek(0)
        name = f"{wanted.file_stem}-{timezone.now():%Y%m%dT%H%M%SZ}-{row_count}-rows.csv"
        # It says the file's length, and closes the file when it was sent.
        response = FileResponse(file, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8")
        unless_handed_over.pop_all()
    response.headers["Cache-Control"] = "no-store"
    return response


class _Sink:
    """Takes text into a file of bytes that Excel knows for UTF-8, and remembers their hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.write("\N{BYTE ORDER MARK}")

    def write(self, text: str) -> None:
        data = text.encode()
        self._hash.update(data)
        self._file.write(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def _one_moment(rows: QuerySet[Any] | Sequence[Any]) -> Iterator[Iterable[Any]]:
    """The rows, a chunk in memory at a time: one cursor sees what was committed when it was opened, and nothing later."""
    if not isinstance(rows, QuerySet):
        yield _bounded(rows)
        return
    # In a transaction, or the cursor would have to outlive one, and its rows be copied for that.
    # Closed inside of it, whatever happens: afterwards there is no such cursor to be closed.
    with transaction.atomic(), closing(_chunks(rows)) as cursor:
        yield _bounded(cursor)


def _chunks(rows: QuerySet[Any]) -> Generator[Any, None, None]:
    yield from rows[: MOST_ROWS + 1].iterator(chunk_size=_CHUNK)


def _bounded(rows: Iterable[Any]) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise _TooManyRowsError
        yield row


def _count(rows: QuerySet[Any] | Sequence[Any]) -> int:
    """How many there are, and MOST_ROWS + 1 where there are more than are handed over."""
    return rows.order_by()[: MOST_ROWS + 1].count() if isinstance(rows, QuerySet) else len(rows)


def _ask(
    request: HttpRequest, wanted: Wanted, columns: Sequence[ExportColumn], site: ExportSite, form: forms.Form
) -> HttpResponse:
    row_count = _count(wanted.rows)
    context = {
        **site.each_context(request),
        "title": f"Export {wanted.title}",
        "wanted": wanted,
        "columns": columns,
        "told_filters": told(wanted.filters),
        "row_count": row_count,
        "too_many": _too_many() if row_count > MOST_ROWS else "",
        "form": form,
        "opts": wanted.opts,
        "original": wanted.original,
    }
    response = TemplateResponse(request, "admin/export.html", context)
    response.headers["Cache-Control"] = "no-store"
    return response


def _refuse(
    request: HttpRequest, wanted: Wanted, columns: Sequence[ExportColumn], site: ExportSite, *, why: str
) -> None:
    site.record_refused_export(
        subject=wanted.subject,
        filters=wanted.filters,
        columns=[column.name for column in columns],
        why=why,
        actor=audit.admin(request.user.get_username()),
    )


def _too_many() -> str:
    return (
        f"These are more than {MOST_ROWS:,} rows, the most that one file has. Narrow the list first, by a span of time or"
        " a client, and export it in parts; a program gets any number by the pages of the API."
    )
