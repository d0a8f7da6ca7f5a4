"""`Idempotency-Key` on what operators' programs ask for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from config.lib.api import caller
from config.lib.errors import SluiceError
from config.lib.problems import problem
from payouts.api.secret_answers import kept, told_again
from payouts.services import count_refusals
from payouts.services.request_keys import (
    Answer,
    KeyReusedError,
    RequestInFlightError,
    Turn,
    answer_key,
    give_key_back,
    take_key,
)
from payouts.services.webhooks.secrets import LostKeyError

_KEY = re.compile(r"[\x21-\x7e]{1,128}")
KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
    OpenApiParameter.HEADER,
    description="The same request under the same key is carried out once, and answered as the first time.",
)
Handler = Callable[..., HttpResponseBase]
# What a view does with a request before its handler; a refusal is raised.
Step = Callable[[Any, Request], None]


def idempotent(handler: Handler) -> Handler:
    """A handler of an APIView that honours the header; without the header nothing changes.

    The answer is stored in the transaction of what it tells of: either both are there afterwards or neither. So the
    handler must be one that only works in the database. Refusals are stored like successes. What breaks off on our
    side is not: the next request tries again.
    """
    return _honouring(handler, transaction.atomic)


def idempotent_after(first: Step) -> Callable[[Handler], Handler]:
    """The same for what has to ask somebody else first, as no transaction waits for others."""
    return lambda handler: _honouring(handler, transaction.atomic, first=first)


def idempotent_in_parts(handler: Handler) -> Handler:
    """The same for a handler that commits in between: it asks others on its way, or lets go of locks.

    A process that dies between its effect and its answer leaves a key under which the work begins anew after the lease:
    the handler must be one that does nothing twice.
    """
    return _honouring(handler, nullcontext)


def _nothing(_view: Any, _request: Request) -> None:
    """Most have nothing to ask."""


def _honouring(
    handler: Handler, together: Callable[[], AbstractContextManager[object]], *, first: Step = _nothing
) -> Handler:
    @wraps(handler)
    def handle(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            first(view, request)
            return handler(view, request, *args, **kwargs)
        if not _KEY.fullmatch(key):
            return problem(400, "invalid_idempotency_key", "A key has 1 to 128 printable characters without spaces.")
        try:
            taken = take_key(caller=str(caller(request)), key=key, fingerprint=_fingerprint(request))
            if isinstance(taken, Answer):
                return told_again(taken)
            return _answered(
                taken,
                lambda: _ended(first, view, request),
                lambda: _ended(handler, view, request, *args, **kwargs),
                together,
            )
        except KeyReusedError as refusal:
            count_refusals(source="api_key", codes=[refusal.code])
            return problem(422, refusal.code, str(refusal))
        except (LostKeyError, RequestInFlightError) as refusal:
            headers = {"Retry-After": "1"} if isinstance(refusal, RequestInFlightError) else {}
            return problem(409, refusal.code, str(refusal), headers=headers)

    return handle


def _answered(
    turn: Turn,
    before: Callable[[], HttpResponse | None],
    work: Callable[[], HttpResponse],
    together: Callable[[], AbstractContextManager[object]],
) -> HttpResponse:
    is_answered = False
    try:
        refusal = before()
        with together():
            response = work() if refusal is None else refusal
            if response.status_code < 500:
                answer_key(turn=turn, answer=kept(response))
        is_answered = response.status_code < 500
        return response
    finally:
        if not is_answered:
            give_key_back(turn=turn)


def _ended(handler: Callable[..., Any], view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
    """The answer in bytes, also where it is a refusal; None of a step that has none."""
    try:
        response = handler(view, request, *args, **kwargs)
    except (SluiceError, APIException, Http404) as refusal:
        response = view.handle_exception(refusal)
    if isinstance(response, Response):
        view.finalize_response(request, response, *args, **kwargs)
        response.render()
    return response


def _fingerprint(request: Request) -> str:
    told = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    return hashlib.sha256(told).hexdigest()
