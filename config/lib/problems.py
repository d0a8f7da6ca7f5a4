"""How our API says no: problem details by RFC 9457, each with a `code` that does not change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from itertools import islice

from django.http import HttpRequest, HttpResponse

from config.lib.errors import SluiceError

CONTENT_TYPE = "application/problem+json"
API_PREFIX = "/api/"
# Whoever sends thousands of wrong fields is not told thousands of times.
MOST_ERRORS = 50

# Also the documentation of the codes; one that is missing here gets the HTTP status's own phrase.
TITLES = {
    "bad_signature": "The request is not signed by a secret we know",
    "stale_signature": "The request was signed too long ago, or by a clock that is off",
    "conflicting_payment": "This payment was recorded with other content",
    "conflicting_delivery": "This webhook-id stood for something else",
    "amount_too_small": "Nothing would be left after the fee",
    "unknown_client": "No client has this id",
    "client_exists": "Another client has this id",
    "endpoint_exists": "Another endpoint has this address",
    "too_many_endpoints": "No more endpoints can be told of all clients' payments",
    "idempotency_mismatch": "The Idempotency-Key stood for another request",
    "request_in_flight": "The same request is being carried out",
    "invalid_idempotency_key": "The Idempotency-Key cannot be one",
    "invalid_json": "The body is not JSON as we accept it",
    "invalid_fields": "Some fields cannot be accepted",
    "body_too_large": "The body is too large",
    "body_incomplete": "The body did not come whole",
    "uri_too_long": "The address is too long",
    "headers_too_large": "The headers are too large",
    "expectation_failed": "This expectation cannot be met",
    "length_required": "The body's length must be announced",
    "unsupported_media_type": "The body must be plain application/json",
    "intake_paused": "An operator has paused the recording of payments",
    "not_authenticated": "No valid API key was given",
    "permission_denied": "The API key may not do this",
    "not_found": "There is nothing here",
    "method_not_allowed": "This method does not exist here",
    "not_acceptable": "Answers are application/json, which the request does not accept",
    "bad_request": "The request cannot be read",
    "too_many_requests": "Too many requests of this key, or too many without a proof from this address",
    "database_unavailable": "The database cannot be reached; try again",
    "internal_error": "Something went wrong on our side",
    "stale_row": "Somebody else was first",
    "illegal_move": "It is past that, or not there yet",
    "paused": "An operator has paused this",
    "conflicting_request": "This was requested with other content",
    "context_not_accepted": "Nobody would book such a payment",
    "unsupported_asset": "This asset is not handled",
    "not_admitted": "The requester does not stand by this payment",
    "unknown_payment": "No payment of ours is meant by this",
    "token_malformed": "The token does not say what it must",
    "token_bad_signature": "The token is not signed by a key we know",
    "token_expired": "The token is older than five minutes",
    "refused": "The rules forbid this",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that cannot be accepted."""

    field: str
    code: str
    detail: str


class InvalidFieldsError(SluiceError):
    """Fields of a request cannot be accepted; `errors` has one entry for each."""

    code = "invalid_fields"

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        # Of the body as a whole no field has a name.
        super().__init__("; ".join(f"{error.field or 'the body'}: {error.detail}" for error in self.errors))


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The answer for one refusal; `detail` goes to the caller as it is, so it names no internals."""
    body = problem_fields(status, code, detail, errors=errors)
    return HttpResponse(json.dumps(body), status=status, content_type=CONTENT_TYPE, headers=dict(headers or {}))


def problem_fields(status: int, code: str, detail: str, *, errors: Iterable[FieldError] = ()) -> dict[str, object]:
    """The members of the problem object, in the order a reader wants them; of `errors` the first MOST_ERRORS."""
    body: dict[str, object] = {
        "type": f"urn:sluice:problem:{code}",
        "title": TITLES.get(code) or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    listed = [asdict(error) for error in islice(errors, MOST_ERRORS)]
    if listed:
        body["errors"] = listed
    return body


def is_for_programs(request: HttpRequest) -> bool:
    """Whether the caller of this path reads problem objects and not pages."""
    return request.path.startswith(API_PREFIX)
