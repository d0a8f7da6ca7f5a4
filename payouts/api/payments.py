"""`POST /api/v1/payments/`: where payments come in.

A plain view: content negotiation, parsers and serializers would take longer than the work itself.
"""

from __future__ import annotations

import json
import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from config.lib import audit
from config.lib.errors import SluiceError
from config.lib.problems import InvalidFieldsError, problem
from hostpay.services import PausedError
from payouts.api.signatures import is_signed
from payouts.services import Delivery, Recorded, store_unauthentic, take_payment

logger = logging.getLogger(__name__)

SOURCE = "api"
ACTOR = audit.api(SOURCE)
# One payment is some hundred bytes.
MAX_BODY_BYTES = 64 * 1024
STATUS_OF = {
    "invalid_json": 400,
    "invalid_fields": 400,
    "unknown_client": 422,
    "amount_too_small": 422,
    "conflicting_payment": 409,
}
RETRY_AFTER_S = "30"
_SIGNED_HEADERS = {
    "HTTP_WEBHOOK_ID": "webhook-id",
    "HTTP_WEBHOOK_TIMESTAMP": "webhook-timestamp",
    "HTTP_WEBHOOK_SIGNATURE": "webhook-signature",
}
# The signature is not kept: until its time is up it lets whoever reads it send the payment again.
_KEPT_HEADERS = {"HTTP_WEBHOOK_ID": "webhook-id", "HTTP_WEBHOOK_TIMESTAMP": "webhook-timestamp",
                 "HTTP_USER_AGENT": "user-agent", "REMOTE_ADDR": "remote-address"}  # fmt: skip
_LONGEST_KEPT = 200


@csrf_exempt
def receive_payment(request: HttpRequest) -> HttpResponse:
    """Record one signed payment: 201 with the accumulation, 200 when it was recorded before."""
    if request.method != "POST":
        return problem(405, "method_not_allowed", "Payments are sent by POST.", headers={"Allow": "POST"})
    unfit = _unfit(request)
    if unfit is not None:
        return unfit
    body = request.body
    headers = {name: request.META.get(key, "") for key, name in _SIGNED_HEADERS.items()}
    if not is_signed(body, headers):
        return _unauthentic(request, body, headers["webhook-id"])
    event_id = headers["webhook-id"]
    return _processed(Delivery(source=SOURCE, event_id=event_id, headers=_kept_headers(request), body=body))


def _unfit(request: HttpRequest) -> HttpResponse | None:
    """The refusal of a body that we do not even read."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    if not announced.isdecimal():
        return problem(411, "length_required", "Send a Content-Length.")
    if int(announced) > MAX_BODY_BYTES:
        return problem(413, "body_too_large", f"A payment has at most {MAX_BODY_BYTES} bytes.")
    if (
        request.content_type != "application/json"
        or request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity"
    ):
        return problem(415, "unsupported_media_type", "Send application/json without a content encoding.")
    return None


def _unauthentic(request: HttpRequest, body: bytes, event_id: str) -> HttpResponse:
    store_unauthentic(
        source=SOURCE,
        event_id=_printable(event_id),
        headers=_kept_headers(request),
        body=body,
        why="No valid signature within five minutes of now.",
    )
    # Without saying which part was wrong: that would only help who guesses.
    return problem(401, "bad_signature", "Sign by Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature.")


def _processed(delivery: Delivery) -> HttpResponse:
    try:
        return _answer(take_payment(delivery=delivery, actor=ACTOR))
    except PausedError as pause:
        return problem(503, "intake_paused", pause.why, headers={"Retry-After": RETRY_AFTER_S})
    except SluiceError as refusal:
        return _refused(refusal, delivery)
    except (OperationalError, InterfaceError):
        logger.exception("payment not recorded", extra={"event_id": delivery.event_id})
        return problem(
            503, "database_unavailable", "Nothing was recorded; send it again.", headers={"Retry-After": RETRY_AFTER_S}
        )


def _answer(recorded: Recorded) -> HttpResponse:
    fields = {
        "id": recorded.accumulation_id,
        "payment_id": recorded.payment_id,
        "conversion_status": recorded.status,
        "gross_usd": f"{recorded.gross_usd:f}",
        "fee_usd": f"{recorded.fee_usd:f}",
        "pending_usd_amount": f"{recorded.pending_usd_amount:f}",
        "hold_reason": recorded.hold_reason,
    }
    if recorded.is_new:
        return HttpResponse(json.dumps(fields), status=201, content_type="application/json")
    headers = {"Idempotent-Replayed": "true"}
    return HttpResponse(json.dumps(fields), content_type="application/json", headers=headers)


def _refused(refusal: SluiceError, delivery: Delivery) -> HttpResponse:
    """The refusal as a problem; a code that is not the sender's fault is passed on, to be answered with 500."""
    if refusal.code not in STATUS_OF:
        raise refusal
    logger.info("payment refused", extra={"code": refusal.code, "event_id": delivery.event_id})
    if isinstance(refusal, InvalidFieldsError):
        return problem(400, refusal.code, "The payment was not recorded.", errors=refusal.errors)
    return problem(STATUS_OF[refusal.code], refusal.code, str(refusal))


def _kept_headers(request: HttpRequest) -> dict[str, str]:
    return {name: _printable(str(request.META[key])) for key, name in _KEPT_HEADERS.items() if key in request.META}


def _printable(text: str) -> str:
    """What PostgreSQL can store and a person can read."""
    if len(text) <= _LONGEST_KEPT and text.isascii() and text.isprintable():
        return text
    return "".join(character for character in text[:_LONGEST_KEPT] if character.isascii() and character.isprintable())
