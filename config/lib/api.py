"""What the REST views of all apps share: who may call, how lists are paged, how they say no."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, generics, serializers
from rest_framework.fields import SkipField
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from config.lib import audit
from config.lib.audit import Actor
from config.lib.bodies import BodyTooLargeError
from config.lib.errors import ProviderError, RefusedError, SluiceError
from config.lib.filters import Cursor, Filter, Filters, PageSize, moment_of, whole
from config.lib.lifecycle import IllegalMoveError, StaleRowError
from config.lib.openapi import described_by
from config.lib.problems import MOST_ERRORS, FieldError, InvalidFieldsError, problem

M = TypeVar("M", bound=Model)

# The framework's own sentences, said as everywhere else here: after the field's name.
_IN_OUR_WORDS = (
    (re.compile(r"This field is required\."), "is required"),
    (re.compile(r"This field may not be (null|blank)\."), "must not be empty"),
    (re.compile(r"Not a valid string\."), "must be a string"),
    (re.compile(r"A valid integer is required\."), "must be a whole number"),
    (re.compile(r"Must be a valid boolean\."), "must be true or false"),
    (re.compile(r"Expected a list of items but got type .*\."), "must be a list"),
    (re.compile(r"Ensure this field has no more than (\d+) (characters|elements)\."), r"must have at most \1 \2"),
    (re.compile(r"Ensure this field has at least 1 elements\."), "must not be empty"),
    (re.compile(r"Ensure this field has at least (\d+) (characters|elements)\."), r"must have at least \1 \2"),
    (re.compile(r"Ensure this value is less than or equal to (\S+)\."), r"must be at most \1"),
    (re.compile(r"Ensure this value is greater than or equal to (\S+)\."), r"must be at least \1"),
    (re.compile(r"Datetime has wrong format\..*"), "must be a time as in 2030-01-31T12:00:00Z"),
)
_HOW_TO_PROVE = "Send an API key, as in `Authorization: Bearer sk_...`."
_STATUS_OF: tuple[tuple[type[SluiceError], int], ...] = (
    (InvalidFieldsError, 400),
    (RefusedError, 409),
    (StaleRowError, 409),
    (IllegalMoveError, 409),
    (ProviderError, 502),
)
_CODES = {
    BodyTooLargeError: "body_too_large",
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.AuthenticationFailed: "not_authenticated",
    exceptions.PermissionDenied: "permission_denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.ParseError: "invalid_json",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.ValidationError: "invalid_fields",
    exceptions.Throttled: "too_many_requests",
}


def caller(request: Request) -> Actor:
    """The program behind the request, for the audit columns: its API key's prefix."""
    return audit.api(str(request.user))


class HasScope(BasePermission):
    """The API key must have the scope; the concrete classes below name it."""

    scope = ""
    message = "The API key lacks the scope for this."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 (DRF's signature)
        return self.scope in getattr(request.auth, "scopes", ())


class MayRead(HasScope):
    scope = "read"
    message = "The API key lacks the scope read."


class MayOperate(HasScope):
    scope = "ops"
    message = "The API key lacks the scope ops."


class MayReadDocument(BasePermission):
    """The document and its page: in live mode for keys and operators; in the sandbox whoever looks may learn from it."""

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 (DRF's signature)
        return not settings.LIVE or request.auth is not None or bool(getattr(request.user, "is_staff", False))


class NewestFirst(CursorPagination):
    """Pages by position, so that rows arriving meanwhile neither repeat nor hide one. `page_size` up to 500."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    ordering: Any = ("-id",)
    # Whoever reads a list with them looks at them first: the framework would overlook what it cannot read.
    parameters: Mapping[str, Filter] = {"page_size": PageSize(most=max_page_size), "cursor": Cursor(whole)}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        return [{**each, "schema": self.parameters[each["name"]].schema} for each in described]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        # The framework's own says null in the words of OpenAPI 3.0.
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": dict(link), "results": schema},
        }


class NewestByTime(NewestFirst):
    """The same for rows whose ids have no order."""

    ordering: Any = ("-created_at", "-id")
    parameters: Mapping[str, Filter] = {**NewestFirst.parameters, "cursor": Cursor(moment_of)}


class ReadList(generics.ListAPIView[M]):
    """A list for keys with the scope read, narrowed by its `filters`."""

    permission_classes: tuple[type[BasePermission], ...] = (MayRead,)
    pagination_class: Any = NewestFirst
    filters: Filters

    def filter_queryset(self, queryset: Any) -> Any:
        return self.filters.apply(queryset, self.request, paging=self.pagination_class.parameters)


class ReadOne(generics.RetrieveAPIView[M]):
    """One object for keys with the scope read."""

    permission_classes: tuple[type[BasePermission], ...] = (MayRead,)


class StrictSerializer(serializers.Serializer[Any]):
    """A request body of known fields alone: a misspelt name must not silently mean nothing. All errors come at once.

    Attributes:
        elsewhere: fields that the object has and this request cannot change, and what to say to whoever sends one.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {}

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields = super().get_fields()
        for one in fields.values():
            _name_the_choices(one)
        return fields

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"": [exceptions.ErrorDetail("must be a JSON object", code="invalid")]})
        unknown = [*islice((str(name)[:64] for name in data if name not in self.fields), MOST_ERRORS)]
        errors: dict[str, Any] = {
            name: [exceptions.ErrorDetail(self.elsewhere.get(name, "is not known here"), code="unknown_field")]
            for name in unknown
        }
        try:
            found = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= error.detail if isinstance(error.detail, dict) else {"": error.detail}
            found = self._sound(data)
        if errors:
            for wrong in self.further_errors(found):
                errors.setdefault(wrong.field, [exceptions.ErrorDetail(wrong.detail, code=wrong.code)])
            raise serializers.ValidationError(errors)
        return found

    def further_errors(self, found: Mapping[str, Any]) -> Iterable[FieldError]:  # noqa: ARG002 (for those that have some)
        """What a service would refuse in `found`, the sound fields of a body that is refused anyway."""
        return ()

    def _sound(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that can be read, for one that cannot."""
        found = {}
        for name, field in self.fields.items():
            with suppress(serializers.ValidationError, SkipField):
                found[name] = field.run_validation(field.get_value(data))
        return found


def _name_the_choices(one: serializers.Field[Any, Any, Any, Any]) -> None:
    """A refused choice is answered with those that there are; of a list, its elements'."""
    if isinstance(one, serializers.ListField):
        _name_the_choices(one.child)
    elif isinstance(one, serializers.ChoiceField):
        one.error_messages["invalid_choice"] = f"must be one of {', '.join(map(str, one.choices))}"


def by_method(**views: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """One address whose methods are views of their own, with their own callers; HEAD goes with GET."""
    allowed = ", ".join(views)

    @csrf_exempt
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        chosen = views.get("GET" if request.method == "HEAD" else str(request.method))
        if chosen is None:
            return problem(405, "method_not_allowed", f"Allowed here: {allowed}.", headers={"Allow": allowed})
        return chosen(request, *args, **kwargs)

    # For the API's description, which looks for an APIView and its methods.
    handlers = {name.lower(): getattr(of.cls, name.lower()) for name, of in views.items() if hasattr(of, "cls")}
    view.views = views  # type: ignore[attr-defined]
    return described_by(type("ByMethod", (APIView,), handlers))(view)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponseBase | None:  # noqa: ARG001 (DRF's signature)
    """DRF's hook: every refusal as a problem object; None for what is our own fault, which becomes a 500."""
    if isinstance(error, SluiceError):
        return _own(error)
    if isinstance(error, Http404):
        error = exceptions.NotFound("Nothing here has this id.")
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return _framework(error)
    return None


def _own(error: SluiceError) -> HttpResponseBase | None:
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            errors = error.errors if isinstance(error, InvalidFieldsError) else ()
            return problem(status, error.code, str(error), errors=errors)
    return None


def _framework(error: exceptions.APIException) -> HttpResponseBase:
    code = _CODES.get(type(error), "refused")
    headers = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    # Throttled says when it will be over.
    wait_s = getattr(error, "wait", None)
    if wait_s is not None:
        headers["Retry-After"] = str(wait_s)
    if isinstance(error, exceptions.ValidationError):
        errors = list(_field_errors(error.detail))
        return problem(400, code, "The request was not carried out.", errors=errors, headers=headers)
    if isinstance(error, exceptions.NotAuthenticated):
        return problem(401, code, _HOW_TO_PROVE, headers=headers)
    return problem(error.status_code, code, str(error.detail), headers=headers)


def _field_errors(detail: Any, path: str = "") -> Iterator[FieldError]:
    """DRF's nested lists and dictionaries of messages, flattened: `items.0.amount`."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _field_errors(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list):
        for position, inner in enumerate(detail):
            is_message = isinstance(inner, str)
            yield from _field_errors(inner, path if is_message else f"{path}.{position}")
    else:
        yield FieldError(path, str(getattr(detail, "code", "invalid")), _in_our_words(str(detail)))


def _in_our_words(said: str) -> str:
    for theirs, ours in _IN_OUR_WORDS:
        found = theirs.fullmatch(said)
        if found:
            return found.expand(ours)
    return said
