"""`POST /api/v1/payments/`: where payments come in.

A plain view: content negotiation, parsers and serializers would take longer than the work itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from config.lib import audit
from config.lib.bodies import refuse_cut_off
from config.lib.errors import SluiceError
from config.lib.openapi import described_by
from config.lib.problems import InvalidFieldsError, problem
from hostpay.services import PausedError
from payouts.api.deliveries import bad_signature, kept_headers, printable, stale_signature, too_many_unproven, unfit
from payouts.api.described import PaymentDescription
from payouts.api.signatures import Proof, proof_of
from payouts.services import Delivery, Recorded, take_payment, turn_away

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
    "conflicting_delivery": 409,
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


_HOW = "Sign by Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature; no API key stands for a signature."
_WHY = {
    Proof.WRONG: "No valid signature.",
    Proof.STALE: "Signed by a secret of ours, and too far from our clock (INGEST_TOLERANCE_S).",
}


@described_by(PaymentDescription)
@csrf_exempt
def receive_payment(request: HttpRequest) -> HttpResponse:
    """Record one signed payment: 201 with the accumulation, 200 when it was recorded before."""
    if request.method != "POST":
        return problem(
            405,
            "method_not_allowed",
            "Payments are sent by POST; they are read at /api/v1/accumulations/.",
            headers={"Allow": "POST"},
        )
    refusal = unfit(request, max_bytes=MAX_BODY_BYTES, noun="A payment")
    if refusal is not None:
        return refusal
    delivery = signed_delivery(request)
    if isinstance(delivery, HttpResponse):
        return delivery
    return processed(lambda: _answer(take_payment(delivery=delivery, actor=ACTOR)), delivery)


def signed_delivery(request: HttpRequest) -> Delivery | HttpResponse:
    """What was sent, if one of our senders signed it; else the refusal, and the delivery is kept within bounds."""
    body, kept = request.body, kept_headers(request, _KEPT_HEADERS)
    refuse_cut_off(body, request.META)
    headers = {name: request.META.get(key, "") for key, name in _SIGNED_HEADERS.items()}
    event_id = headers["webhook-id"]
    proof = proof_of(body, headers)
    if proof is Proof.GOOD:
        return Delivery(source=SOURCE, event_id=event_id, headers=kept, body=body)
    is_heard = turn_away(
        source=SOURCE,
        event_id=printable(event_id),
        headers=kept,
        body=body,
        why=proof,
        sentence=_WHY[proof],
        address=request.META.get("REMOTE_ADDR", ""),
    )
    if not is_heard:
        return too_many_unproven()
    if proof is Proof.STALE:
        signed_at_s = int(headers["webhook-timestamp"])
        return stale_signature(signed_at_s=signed_at_s, allowed_s=settings.INGEST_TOLERANCE_S)
    missing = [name for name, text in headers.items() if not text]
    if missing:
        return bad_signature(f"{_HOW} There is no {', no '.join(missing)}.")
    # Without saying which part was wrong: that would only help who guesses.
    return bad_signature(_HOW)


def processed(work: Callable[[], HttpResponse], delivery: Delivery) -> HttpResponse:
    """The answer of `work`, or the problem that it ran into.

    Raises:
        SluiceError: one that is not the sender's fault.
    """
    try:
        return work()
    except PausedError as pause:
        return problem(503, "intake_paused", pause.why, headers={"Retry-After": RETRY_AFTER_S})
    except SluiceError as refusal:
        return _refused(refusal, delivery)
    except (OperationalError, InterfaceError):
        logger.exception("payment not recorded", extra={"event_id": delivery.event_id})
        return problem(
            503, "database_unavailable", "Nothing was recorded; send it again.", headers={"Retry-After": RETRY_AFTER_S}
        )


def recorded_json(recorded: Recorded) -> str:
    """A recorded payment as its sender sees it: a JSON object, written here in a third of the time json.dumps takes."""
    return (
        f'{{"id": {recorded.accumulation_id}, "payment_id": {encode_basestring_ascii(recorded.payment_id)},'
        f' "conversion_status": "{recorded.status}", "gross_usd": "{recorded.gross_usd:f}",'
        f' "fee_usd": "{recorded.fee_usd:f}", "pending_usd_amount": "{recorded.pending_usd_amount:f}",'
        f' "hold_reason": {encode_basestring_ascii(recorded.hold_reason)}}}'
    )


def _answer(recorded: Recorded) -> HttpResponse:
    text = recorded_json(recorded)
    if recorded.is_new:
        return HttpResponse(text, status=201, content_type="application/json")
    headers = {"Idempotent-Replayed": "true"}
    return HttpResponse(text, content_type="application/json", headers=headers)


def _refused(refusal: SluiceError, delivery: Delivery) -> HttpResponse:
    """The refusal as a problem; a code that is not the sender's fault is passed on, to be answered with 500."""
    if refusal.code not in STATUS_OF:
        raise refusal
    logger.info("payment refused", extra={"code": refusal.code, "event_id": delivery.event_id})
    if isinstance(refusal, InvalidFieldsError):
        return problem(400, refusal.code, "The payment was not recorded.", errors=refusal.errors)
    return problem(STATUS_OF[refusal.code], refusal.code, str(refusal))
