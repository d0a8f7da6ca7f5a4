"""What the columns of an exported list are, each named once: its heading, where its value is from, who may see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet

from config.lib.money import USDT
from config.lib.spreadsheets import Cell

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class ExportColumn:
    """A column of a file: its heading in the field's terms, with its unit; only for who has `permission`, if it names one."""

    name: str
    value: Callable[[Any], Cell]
    permission: str = ""


def field(name: str, source: str | Callable[[Any], Cell] = "", *, permission: str = "") -> ExportColumn:
    """A column of a value, as it is stored: `source` is where it is from, by dots through what the row refers to."""
    value = source if callable(source) else _reader(source or name)
    return ExportColumn(name=name, value=value, permission=permission)


def fields(*names: str) -> tuple[ExportColumn, ...]:
    """Columns that are called as the rows call them."""
    return tuple(field(name) for name in names)


def usdt_field(name: str, source: str) -> ExportColumn:
    """A column of USDT with all six decimals, from base units."""
    read = _reader(source)

    def value(row: Any) -> Decimal | None:
        units = read(row)
        if units is None:
            return None
        whole, rest = divmod(int(units), USDT.units_per_one)
        return Decimal(f"{whole}.{rest:06d}")

    return ExportColumn(name=name, value=value)


@dataclass(frozen=True, kw_only=True)
class ObjectExport(Generic[M]):
    """A table of one object's page that can be exported: what the object is made of."""

    name: str
    label: str
    columns: Sequence[ExportColumn]
    rows: Callable[[M], QuerySet[Any] | Sequence[Any]]


def _reader(path: str) -> Callable[[Any], Any]:
    names = path.split(".")

    def read(row: Any) -> Any:
        for name in names:
            if row is None:
                return None
            row = getattr(row, name)
        return row

    return read
