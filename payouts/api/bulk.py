"""`POST /api/v1/payments/bulk/`: many payments in one signed request, each with an answer of its own."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from config.lib.errors import SluiceError
from config.lib.openapi import described_by
from config.lib.problems import InvalidFieldsError, problem, problem_fields
from payouts.api.deliveries import unfit
from payouts.api.described import BulkDescription
from payouts.api.payments import ACTOR, STATUS_OF, processed, recorded_json, signed_delivery
from payouts.services.bulk import Ended, take_payments

logger = logging.getLogger(__name__)

# Some thousand payments; below what Django reads of a body (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_BODY_BYTES = 4 * 1024 * 1024


@described_by(BulkDescription)
@csrf_exempt
def receive_payments(request: HttpRequest) -> HttpResponse:
    """Record the payments of a signed list: 200 with one result for each, in their order."""
    if request.method != "POST":
        return problem(405, "method_not_allowed", "Payments are sent by POST.", headers={"Allow": "POST"})
    refusal = unfit(request, max_bytes=MAX_BODY_BYTES, noun="A list of payments")
    if refusal is not None:
        return refusal
    delivery = signed_delivery(request)
    if isinstance(delivery, HttpResponse):
        return delivery
    return processed(lambda: _answer(take_payments(delivery=delivery, actor=ACTOR)), delivery)


def _answer(ended: Sequence[Ended]) -> HttpResponse:
    results = ", ".join(map(_result, ended))
    counted = Counter(map(_word_of, ended))
    logger.info("payments taken", extra=dict(counted))
    counts = ", ".join(f'"{word}": {counted[word]}' for word in ("recorded", "replayed", "refused"))
    return HttpResponse(f'{{{counts}, "results": [{results}]}}', content_type="application/json")


def _word_of(ended: Ended) -> str:
    if isinstance(ended, SluiceError):
        return "refused"
    return "recorded" if ended.is_new else "replayed"


def _result(ended: Ended) -> str:
    """What the same payment alone would have been answered with, as JSON."""
    if not isinstance(ended, SluiceError):
        return f'{{"status": {201 if ended.is_new else 200}, "payment": {recorded_json(ended)}}}'
    status = STATUS_OF[ended.code]
    errors = ended.errors if isinstance(ended, InvalidFieldsError) else ()
    detail = "The payment was not recorded." if errors else str(ended)
    return json.dumps({"status": status, "problem": problem_fields(status, ended.code, detail, errors=errors)})
