"""Filters of lists, by name: an unknown one, or one that cannot be read, is refused and not ignored."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from config.lib.problems import FieldError, InvalidFieldsError

M = TypeVar("M", bound=Model)
_LONGEST_VALUE = 128
_FARTHEST_OFFSET = 1000


class Filter:
    """One filter: the look-up it becomes, and how its text is read."""

    def __init__(self, lookup: str, read: Callable[[str], Any], rule: str, schema: Mapping[str, Any]) -> None:
        self.lookup = lookup
        self.read = read
        self.rule = rule
        # As OpenAPI says it.
        self.schema = {"type": "string", **schema}


class Text(Filter):
    """Equal to the text."""

    def __init__(self, lookup: str) -> None:
        super().__init__(
            lookup, _text, f"must have 1 to {_LONGEST_VALUE} characters", {"minLength": 1, "maxLength": _LONGEST_VALUE}
        )


class Choice(Filter):
    """Equal to one of the values, or to one of several given with commas between."""

    def __init__(self, column: str, values: Iterable[str]) -> None:
        allowed = frozenset(values)
        one = "|".join(sorted(allowed))
        pattern = f"^({one})(,({one}))*$"

        def read(text: str) -> list[str]:
            wanted = text.split(",")
            if not allowed.issuperset(wanted):
                raise ValueError(text)
            return wanted

        super().__init__(f"{column}__in", read, f"must be among {', '.join(sorted(allowed))}", {"pattern": pattern})


class Moment(Filter):
    """A time in ISO 8601 with its offset from UTC."""

    def __init__(self, lookup: str) -> None:
        super().__init__(lookup, moment_of, "must be a time like 2030-01-31T12:00:00Z", {"format": "date-time"})


class Whole(Filter):
    """Equal to the number."""

    def __init__(self, lookup: str) -> None:
        super().__init__(lookup, whole, "must be a whole number", {"pattern": "^[0-9]{1,18}$"})


class Presence(Filter):
    """`true` where the column has a value, `false` where it has none."""

    def __init__(self, column: str) -> None:
        super().__init__(f"{column}__isnull", _is_missing, "must be true or false", {"enum": ["true", "false"]})


class Uuid(Filter):
    """Equal to the id."""

    def __init__(self, lookup: str) -> None:
        super().__init__(lookup, UUID, "must be a UUID", {"format": "uuid"})


class PageSize(Filter):
    """How many rows a page has."""

    def __init__(self, *, most: int) -> None:
        def read(text: str) -> int:
            size = whole(text)
            if not 1 <= size <= most:
                raise ValueError(text)
            return size

        schema = {"type": "integer", "minimum": 1, "maximum": most}
        super().__init__("", read, f"must be a whole number from 1 to {most}", schema)


class Cursor(Filter):
    """Where a page begins, as the links to other pages say it: the framework's own form, which it reads too kindly."""

    def __init__(self, read_position: Callable[[str], Any]) -> None:
        def read(text: str) -> None:
            fields = parse_qs(b64decode(text.encode("ascii"), validate=True).decode("ascii"), strict_parsing=True)
            if not fields or not {"o", "r", "p"}.issuperset(fields) or any(len(each) > 1 for each in fields.values()):
                raise ValueError(text)
            if whole(fields.get("o", ["0"])[0]) > _FARTHEST_OFFSET or fields.get("r", ["1"])[0] != "1":
                raise ValueError(text)
            # Written exactly so: a time with an offset beyond sixteen hours can be read, and not be compared with.
            if "p" in fields and str(read_position(fields["p"][0])) != fields["p"][0]:
                raise ValueError(text)

        super().__init__("", read, "must be taken from the links `next` and `previous` of a page", {})


class Filters:
    """The filters of one list."""

    def __init__(self, **filters: Filter) -> None:
        self._filters = filters

    def described(self) -> Iterable[tuple[str, Filter]]:
        """Each filter with its name, for the API's description."""
        return self._filters.items()

    def apply(self, queryset: QuerySet[M], request: Request, *, paging: Mapping[str, Filter]) -> QuerySet[M]:
        """`queryset` narrowed by the request's query string; the values of `paging` are looked at as well.

        Raises:
            InvalidFieldsError: a name that is no filter of this list, a value that breaks its filter's rule, or a
                filter given twice, of which nobody can say which one counts.
        """
        known = {**self._filters, **paging}
        conditions: dict[str, Any] = {}
        errors: list[FieldError] = []
        for name, texts in request.query_params.lists():
            wanted = known.get(name)
            if wanted is None:
                errors.append(FieldError(name[:64], "unknown_field", "is no filter of this list"))
                continue
            if len(texts) > 1:
                errors.append(FieldError(name, "given_twice", "must be given once"))
                continue
            try:
                conditions[wanted.lookup] = wanted.read(str(texts[0]))
            except ValueError:
                errors.append(FieldError(name, "invalid", wanted.rule))
        if errors:
            raise InvalidFieldsError(errors)
        # Paging is not a condition on rows.
        conditions.pop("", None)
        return queryset.filter(**conditions)


def _text(text: str) -> str:
    # PostgreSQL has no NUL in texts, so nothing equals one.
    if not 1 <= len(text) <= _LONGEST_VALUE or "\x00" in text:
        raise ValueError(text)
    return text


def _is_missing(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text == "false"


def whole(text: str) -> int:
    """The number; raises ValueError for what PostgreSQL could not compare an id with."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(text)
    return int(text)


def moment_of(text: str) -> datetime:
    """The time, which says its offset from UTC; raises ValueError for what PostgreSQL could not compare a time with."""
    # A plus sign in a query string arrives as a space unless it was encoded; nobody means a space here.
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    if moment.tzinfo is None:
        raise ValueError(text)
    try:
        # PostgreSQL knows no offsets beyond sixteen hours.
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
