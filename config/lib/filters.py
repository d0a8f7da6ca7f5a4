"""Filters of lists, by name: an unknown one, or one that cannot be read, is refused and not ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from config.lib.problems import FieldError, InvalidFieldsError

M = TypeVar("M", bound=Model)
_LONGEST_VALUE = 128
_PAGING = frozenset({"cursor", "page_size"})


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
        super().__init__(lookup, _moment, "must be a time like 2030-01-31T12:00:00Z", {"format": "date-time"})


class Whole(Filter):
    """Equal to the number."""

    def __init__(self, lookup: str) -> None:
        super().__init__(lookup, _whole, "must be a whole number", {"pattern": "^[0-9]{1,18}$"})


class Presence(Filter):
    """`true` where the column has a value, `false` where it has none."""

    def __init__(self, column: str) -> None:
        super().__init__(f"{column}__isnull", _is_missing, "must be true or false", {"enum": ["true", "false"]})


class Uuid(Filter):
    """Equal to the id."""

    def __init__(self, lookup: str) -> None:
        super().__init__(lookup, UUID, "must be a UUID", {"format": "uuid"})


class Filters:
    """The filters of one list."""

    def __init__(self, **filters: Filter) -> None:
        self._filters = filters

    def described(self) -> Iterable[tuple[str, Filter]]:
        """Each filter with its name, for the API's description."""
        return self._filters.items()

    def apply(self, queryset: QuerySet[M], request: Request) -> QuerySet[M]:
        """`queryset` narrowed by the request's query string.

        Raises:
            InvalidFieldsError: a name that is no filter of this list, or a value that breaks its filter's rule.
        """
        conditions: dict[str, Any] = {}
        errors: list[FieldError] = []
        for name, text in request.query_params.dict().items():
            wanted = self._filters.get(name)
            if wanted is None:
                if name not in _PAGING:
                    errors.append(FieldError(name[:64], "unknown_field", "is no filter of this list"))
                continue
            try:
                conditions[wanted.lookup] = wanted.read(text)
            except ValueError:
                errors.append(FieldError(name, "invalid", wanted.rule))
        if errors:
            raise InvalidFieldsError(errors)
        return queryset.filter(**conditions)


def _text(text: str) -> str:
    # PostgreSQL has no NUL in texts, so nothing equals one.
    if not 1 <= len(text) <= _LONGEST_VALUE or "\x00" in text:
        raise ValueError(text)
    return text


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(text)
    return int(text)


def _is_missing(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text == "false"


def _moment(text: str) -> datetime:
    # A plus sign in a query string arrives as a space unless it was encoded; nobody means a space here.
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    if moment.tzinfo is None:
        raise ValueError(text)
    try:
        # PostgreSQL knows no offsets beyond sixteen hours.
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
