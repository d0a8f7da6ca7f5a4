"""How REST views read the body of a request. Apart from config.lib.api, which the framework cannot import so early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.http import UnreadablePostError
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from config.lib.exact_json import InexactJsonError, loads_exact

# The largest that any of these views needs is a token of four kilobytes.
_MAX_BODY_BYTES: Final = 64 * 1024


class BodyTooLargeError(APIException):
    """More bytes than any request of ours has; they are not read."""

    status_code = 413
    default_detail = f"A request has at most {_MAX_BODY_BYTES} bytes."
    default_code = "body_too_large"


def refuse_cut_off(body: bytes, meta: Mapping[str, Any]) -> None:
    """Go on only with a body that came whole: what was cut off is no other message.

    Raises:
        UnreadablePostError: less came than the request of `meta` announced.
    """
    if len(body) < int(meta.get("CONTENT_LENGTH") or 0):
        message = "the body ended early"
        raise UnreadablePostError(message)


class ExactJsonParser(BaseParser):
    """JSON, bounded in size and depth: a nesting that exhausts the stack would end the process."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,  # noqa: ARG002 (DRF's signature)
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed body; raises BodyTooLargeError, UnreadablePostError, or ParseError for what `loads_exact` refuses."""
        # Before it is read. One without a length does not get here, and none is longer than it says.
        meta = (parser_context or {})["request"].META
        if int(meta["CONTENT_LENGTH"]) > _MAX_BODY_BYTES:
            raise BodyTooLargeError
        body = stream.read()
        refuse_cut_off(body, meta)
        try:
            return loads_exact(body)
        except InexactJsonError as error:
            raise ParseError(str(error)) from None
