"""What every answer carries."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, UnreadablePostError

from config import logs
from config.lib.problems import is_for_programs, problem
from config.proxies import Peers, client_address

# No inline scripts anywhere, and nothing from elsewhere. 'unsafe-eval' is for Alpine, with which unfold writes its
# menus; without it they stay shut. Inline styles are unfold's theme colours and widths.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


_GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}")


class ProxyMiddleware:
    """`REMOTE_ADDR` becomes the caller's address, and whether it called by https is believed, of trusted proxies alone.

    After it, no part of the program reads a header to learn who calls.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta, proxies = request.META, self._proxies
        peer = str(meta.get("REMOTE_ADDR", ""))
        forwarded_for = str(meta.pop("HTTP_X_FORWARDED_FOR", ""))
        if peer not in proxies:
            meta.pop("HTTP_X_FORWARDED_PROTO", None)
        meta["REMOTE_ADDR"] = client_address(proxies=proxies, peer=peer, forwarded_for=forwarded_for)
        token = logs.remote_address.set(meta["REMOTE_ADDR"])
        try:
            return self.get_response(request)
        finally:
            logs.remote_address.reset(token)

    @property
    def _proxies(self) -> Peers:
        trusted: Peers = settings.TRUSTED_PROXIES
        return trusted


class RequestIdMiddleware:
    """`X-Request-ID`: the caller's own if it has one, else a new one; in the answer, and in every log line between."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _GIVEN.fullmatch(given) else secrets.token_hex(8)
        token = logs.request_id.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            logs.request_id.reset(token)
        response.headers["X-Request-ID"] = request_id
        return response


class BodyMiddleware:
    """Refuses, before a byte of it is read, a body that is larger than any of ours, of unknown length, or compressed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta = request.META
        announced, most = meta.get("CONTENT_LENGTH") or "0", settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if "HTTP_TRANSFER_ENCODING" in meta:
            return problem(411, "length_required", "Send the body whole, with a Content-Length.")
        if not announced.isdecimal() or int(announced) > most:
            return problem(413, "body_too_large", f"No request has more than {most} bytes.")
        if meta.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
            return problem(415, "unsupported_media_type", "Send the body without a content encoding.")
        return self.get_response(request)

    def process_exception(self, _request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A body whose rest never came is its sender's affair, and no fault of ours."""
        if isinstance(exception, UnreadablePostError):
            return problem(408, "body_incomplete", "Less of the body came than was announced.")
        return None


class QueryMiddleware:
    """Refuses a page asked for with NUL, which no text of PostgreSQL has. The API says it by field."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "%00" in request.META.get("QUERY_STRING", "") and not is_for_programs(request):
            message = "NUL in the query"
            raise BadRequest(message)
        return self.get_response(request)


class ContentSecurityPolicyMiddleware:
    """Sets the policy where a view has not set its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
