"""An object's page: a headline, where it stands and why, and sections of facts, tables and history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest
from django.utils.safestring import SafeString

from config.lib.explain import Rule
from config.lib.lifecycle import StatusChange

Text = str | SafeString


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled part of a page; `template_name` draws it."""

    template_name: ClassVar[str]

    title: str
    note: Text = ""
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts(Section):
    """Names with values."""

    template_name: ClassVar[str] = "includes/facts.html"

    rows: Sequence[tuple[str, Text]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's heading; numbers stand on the right."""

    name: str
    is_number: bool = False


@dataclass(frozen=True, kw_only=True)
class Pager:
    """Where a long table goes on."""

    text: str
    previous_url: str = ""
    next_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Table(Section):
    """Rows under headings; `empty` is said when there are none."""

    template_name: ClassVar[str] = "includes/table.html"

    columns: Sequence[Column]
    rows: Sequence[Sequence[Text]]
    empty: str = "None."
    pager: Pager | None = None

    @property
    def lines(self) -> list[list[tuple[Column, Text]]]:
        """Rows whose cells know their column: a narrow screen names it beside each value."""
        return [list(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a history."""

    at: datetime
    actor: str
    text: Text
    subject: Text = ""
    from_status: str = ""
    to_status: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_items(self) -> list[tuple[str, str]]:
        """What was recorded with it, in words."""
        return [(name.replace("_", " "), _said(value)) for name, value in self.data.items()]

    @property
    def is_move(self) -> bool:
        return self.from_status != self.to_status


@dataclass(frozen=True, kw_only=True)
class History(Section):
    """What happened, newest first."""

    template_name: ClassVar[str] = "includes/history.html"

    events: Sequence[Event]


@dataclass(frozen=True, kw_only=True)
class Raw(Section):
    """A document as it came, folded away unless it `is_open`."""

    template_name: ClassVar[str] = "includes/raw.html"

    text: str
    is_open: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a way: done, now, ahead, or where it ended badly."""

    name: str
    state: str
    note: Text = ""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One figure of the headline, as in `$412.10 → 0.13321 ETH → 411.482113 USDT`."""

    text: Text
    label: str
    is_ahead: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that an object's page shows."""

    headline: Text
    pills: Sequence[SafeString] = ()
    subline: Text = ""
    flow: Sequence[Flow] = ()
    steps: Sequence[Step] = ()
    alarm: Text = ""
    verdict: str = ""
    why: Sequence[Rule] = ()
    sections: Sequence[Section] = ()


def verdict(rules: Sequence[Rule]) -> str:
    """One sentence: the last rule not met, since the more particular ones come later; or else where it stands."""
    unmet = [rule.detail for rule in rules if not rule.ok]
    text = unmet[-1] if unmet else "; ".join(rule.detail for rule in rules[-2:])
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def history(changes: Iterable[StatusChange], *, title: str = "History", note: Text = "") -> History:
    """The history of one object from its status changes, newest first."""
    events = [
        Event(
            at=change.created_at,
            actor=change.actor,
            text=change.reason,
            from_status=change.from_status,
            to_status=change.to_status,
            data=change.data,
        )
        for change in changes
    ]
    return History(title=title, note=note, events=events)


def raw(title: str, document: Any) -> Raw:
    """A JSON document, indented."""
    return Raw(title=title, text=json.dumps(document, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder))


def walk(
    names: Sequence[str], *, reached: str, ended_badly: str = "", notes: Mapping[str, Text] | None = None
) -> list[Step]:
    """The steps `names`, done up to and with `reached`, the one after it now; or ended there, in `ended_badly`."""
    at = names.index(reached) if reached in names else -1
    steps = []
    for position, name in enumerate(names):
        state = "done" if position <= at else "ahead"
        if position == at + 1:
            state = "ended" if ended_badly else "now"
        shown = ended_badly if state == "ended" else name
        steps.append(Step(name=shown, state=state, note=(notes or {}).get(name, "")))
        if state == "ended":
            break
    return steps


def page_number(request: HttpRequest, parameter: str) -> int:
    """The page that a table's parameter asks for, from 1; nonsense is 1."""
    text = request.GET.get(parameter, "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def pager(request: HttpRequest, *, parameter: str, page: int, per_page: int, total: int, noun: str) -> Pager | None:
    """Links around page `page` of `total` rows; None where all fit."""
    if total <= per_page:
        return None

    def url(number: int) -> str:
        query = request.GET.copy()
        query[parameter] = str(number)
        return f"?{query.urlencode()}#{parameter}"

    first, last = (page - 1) * per_page + 1, min(page * per_page, total)
    return Pager(
        text=f"{first:,} to {last:,} of {total:,} {noun}",
        previous_url=url(page - 1) if page > 1 else "",
        next_url=url(page + 1) if last < total else "",
    )


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder)


def columns(*names: str) -> list[Column]:
    """Columns by name; a name that ends in `#` is a column of numbers."""
    return [Column(name=name.rstrip("#"), is_number=name.endswith("#")) for name in names]


def facts(title: str, *rows: tuple[str, Text], note: Text = "") -> Facts:
    """Facts, without those that are empty."""
    return Facts(title=title, note=note, rows=[(name, value) for name, value in rows if value != ""])
