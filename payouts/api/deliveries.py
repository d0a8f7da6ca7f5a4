"""What every endpoint that others deliver to does first: bound the body before reading it, and keep what may be kept."""

from __future__ import annotations

import time
from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse

from config.lib.problems import problem

_LONGEST_KEPT = 200


def unfit(request: HttpRequest, *, max_bytes: int, noun: str) -> HttpResponse | None:
    """The refusal of a body that we do not even read; None for one that we do."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    if not announced.isdecimal():
        return problem(411, "length_required", "Send a Content-Length.")
    if int(announced) > max_bytes:
        return problem(413, "body_too_large", f"{noun} has at most {max_bytes} bytes.")
    if request.content_type != "application/json":
        return problem(415, "unsupported_media_type", "Send application/json.")
    return None


def bad_signature(how: str) -> HttpResponse:
    return problem(401, "bad_signature", how)


def stale_signature(*, signed_at_s: int, allowed_s: int) -> HttpResponse:
    """The refusal of a signature that is a sender's own: who has one learns no more than that the clock is off."""
    off_s = abs(int(time.time()) - signed_at_s)
    return problem(
        401,
        "stale_signature",
        f"webhook-timestamp is {off_s} s from our clock, and at most {allowed_s} s are taken. Set the clock, sign anew.",
    )


def too_many_unproven() -> HttpResponse:
    """The refusal of an address that has sent too much without a proof; what it proves is taken all the same."""
    return problem(
        429, "too_many_requests", "This address has sent too much that nobody signed.", headers={"Retry-After": "60"}
    )


def kept_headers(request: HttpRequest, names: Mapping[str, str]) -> dict[str, str]:
    """The headers to store with a delivery: `names` maps their WSGI names to the ones they are stored under."""
    return {name: printable(str(request.META[key])) for key, name in names.items() if key in request.META}


def printable(text: str) -> str:
    """What PostgreSQL can store and a person can read."""
    if len(text) <= _LONGEST_KEPT and text.isascii() and text.isprintable():
        return text
    return "".join(character for character in text[:_LONGEST_KEPT] if character.isascii() and character.isprintable())
