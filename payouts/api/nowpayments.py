"""`POST /api/v1/webhooks/nowpayments/`: NOWPayments' notifications (IPN).

The sender waits three seconds and gives up after a few tries, so a request does two things only: it verifies the
signature and stores the body. What it means is found out afterwards, from the stored row.
"""

from __future__ import annotations

import json
import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from kombu.exceptions import OperationalError as BrokerError

from config.lib.bodies import refuse_cut_off
from config.lib.openapi import described_by
from config.lib.problems import problem
from payouts import tasks
from payouts.api.deliveries import bad_signature, kept_headers, too_many_unproven, unfit
from payouts.api.described import NotificationDescription
from payouts.models import NOWPAYMENTS_SOURCE
from payouts.services import is_from_nowpayments, store_notification, turn_away

logger = logging.getLogger(__name__)

# A notification is about one kilobyte.
MAX_BODY_BYTES = 64 * 1024
_SIGNATURE = "HTTP_X_NOWPAYMENTS_SIG"
_KEPT_HEADERS = {"HTTP_USER_AGENT": "user-agent", "REMOTE_ADDR": "remote-address"}


@described_by(NotificationDescription)
@csrf_exempt
def receive_notification(request: HttpRequest) -> HttpResponse:
    """Store one authentic notification and answer 200; 401 for what is not NOWPayments' own."""
    if request.method != "POST":
        return problem(405, "method_not_allowed", "Notifications are sent by POST.", headers={"Allow": "POST"})
    refusal = unfit(request, max_bytes=MAX_BODY_BYTES, noun="A notification")
    if refusal is not None:
        return refusal
    try:
        return _stored(request)
    except (OperationalError, InterfaceError):
        logger.exception("notification not stored")
        return problem(503, "database_unavailable", "Nothing was stored; send it again.", headers={"Retry-After": "30"})


def _stored(request: HttpRequest) -> HttpResponse:
    body, headers = request.body, kept_headers(request, _KEPT_HEADERS)
    refuse_cut_off(body, request.META)
    if not is_from_nowpayments(body=body, signature=request.META.get(_SIGNATURE, "")):
        is_heard = turn_away(
            source=NOWPAYMENTS_SOURCE,
            event_id="",
            headers=headers,
            body=body,
            why="signature",
            sentence="No valid x-nowpayments-sig.",
            address=request.META.get("REMOTE_ADDR", ""),
        )
        return bad_signature("Sign as NOWPayments does: x-nowpayments-sig.") if is_heard else too_many_unproven()
    return _Stored(store_notification(body=body, headers=headers))


class _Stored(HttpResponse):
    """The answer, and after it was sent, the hint to a worker: a broker that is away is not the sender's affair."""

    def __init__(self, event_id: int) -> None:
        super().__init__(json.dumps({"stored": event_id}), content_type="application/json")
        self._event_id = event_id

    def close(self) -> None:
        super().close()
        try:
            tasks.process_notification.apply_async((self._event_id,), retry=False)
        except BrokerError:
            logger.warning("notification waits for the sweep: no broker", extra={"event": self._event_id})
