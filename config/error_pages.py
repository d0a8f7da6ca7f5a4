"""What is answered when nothing else answers: problem objects to programs, and to people a page without internals."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.loader import get_template
from django.urls import Resolver404, resolve
from django.views.decorators.csrf import csrf_exempt

from config import logs
from config.lib.problems import is_for_programs, problem


@csrf_exempt
def no_such_address(request: HttpRequest) -> HttpResponse:
    """The end of the API's addresses. It is never redirected to one: a program would go on by GET, without its body."""
    sentence = "There is nothing at this address."
    wanted = f"{request.path_info}/"
    try:
        is_near = resolve(wanted).func is not no_such_address
    except Resolver404:
        is_near = False
    return problem(404, "not_found", f"{sentence} It is {wanted} with a slash at its end." if is_near else sentence)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (passed by its name)
    return _answer(request, 404, "not_found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _answer(request, 500, "internal_error", "The request was not carried out; the log has the reason.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (passed by its name)
    return _answer(request, 400, "bad_request", "The request cannot be read.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (passed by its name)
    return _answer(request, 403, "permission_denied", "This is not for the caller.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 (Django's signature)
    sentence = "The form was not sent from a page of ours, or that page was open for too long. Load it again."
    return _answer(request, 403, "permission_denied", sentence)


def _answer(request: HttpRequest, status: int, code: str, sentence: str) -> HttpResponse:
    if is_for_programs(request):
        return problem(status, code, sentence)
    # Without the request: what it would bring into the template may be what is broken.
    page = get_template("error.html").render(
        {"status": status, "sentence": sentence, "request_id": logs.request_id.get()}
    )
    return HttpResponse(page, status=status)
