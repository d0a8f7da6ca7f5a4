"""How the REST views describe themselves in the OpenAPI document: filters, refusals, and views that are no APIView."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework.views import APIView

from config.lib.problems import MOST_ERRORS

V = TypeVar("V", bound=Callable[..., Any])
Endpoint = tuple[str, str, str, Any]

# What the views answer with when they say no, documented once.
COMPONENTS: dict[str, Any] = {
    "schemas": {
        "FieldProblem": {
            "type": "object",
            "description": "One field that cannot be accepted.",
            "properties": {
                "field": {"type": "string", "description": "The path to it: `payments.0.amount_usd`."},
                "code": {"type": "string"},
                "detail": {"type": "string"},
            },
            "required": ["field", "code", "detail"],
        },
        "Problem": {
            "type": "object",
            "description": "Why a request was not carried out (RFC 9457).",
            "properties": {
                "type": {"type": "string", "examples": ["urn:sluice:problem:unknown_client"]},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "code": {"type": "string", "examples": ["unknown_client"]},
                "detail": {"type": "string"},
                "errors": {
                    "type": "array",
                    "maxItems": MOST_ERRORS,
                    "items": {"$ref": "#/components/schemas/FieldProblem"},
                },
            },
            "required": ["type", "title", "status", "code", "detail"],
        },
    },
    "securitySchemes": {
        "webhookSignature": {
            "type": "apiKey",
            "in": "header",
            "name": "webhook-signature",
            "description": "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`, with "
            "the headers `webhook-id` and `webhook-timestamp` that the text begins with.",
        },
        "nowpaymentsSignature": {
            "type": "apiKey",
            "in": "header",
            "name": "x-nowpayments-sig",
            "description": "NOWPayments: hexadecimal HMAC-SHA512 of the body with its keys sorted.",
        },
    },
}


class DescribedView(AutoSchema):
    """Adds the filters of a list, which no generic inspection can see."""

    def get_override_parameters(self) -> list[Any]:
        if self.method != "GET" or not self._is_list_view():
            return []
        filters = getattr(self.view, "filters", None)
        return [] if filters is None else [_parameter(name, one.schema) for name, one in filters.described()]


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # (registers subclasses)
    """`Authorization: Bearer sk_...`."""

    target_class = "payouts.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A key of `manage.py create_api_key`: `sk_...`."}


def described_by(description: type[APIView]) -> Callable[[V], V]:
    """Lets a plain view stand in the document as if it were `description`, which answers no request."""

    def attach(view: V) -> V:
        view.cls = description  # type: ignore[attr-defined]
        view.initkwargs = {}  # type: ignore[attr-defined]
        return view

    return attach


def each_method_its_view(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Before the document is made: an address of `by_method` is described by the views behind it."""
    return [
        (path, regex, method, getattr(callback, "views", {}).get(method, callback))
        for path, regex, method, callback in endpoints
        if path.startswith("/api/v1/")
    ]


def _parameter(name: str, schema: dict[str, Any]) -> OpenApiParameter:
    return OpenApiParameter(name, type=schema, location=OpenApiParameter.QUERY)
