"""A notification is stored as it came and answered; what it means is found out afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from payouts.models import NOWPAYMENTS_SOURCE, InboundEvent, Outcome, Verdict
from payouts.providers.nowpayments import BadNoticeError, PaymentNotice, is_signed, read_notice

# A notification just stored is being worked on already, as a rule; the sweep leaves it that long.
_YOUNG = timedelta(seconds=5)


def is_from_nowpayments(*, body: bytes, signature: str) -> bool:
    """Whether `signature` is NOWPayments' own of this body, by one of the secrets in force."""
    return is_signed(body, signature, settings.NOWPAYMENTS_IPN_SECRETS)


def store_notification(*, body: bytes, headers: Mapping[str, str]) -> int:
    """Keep an authentic notification, to be processed later; its event's id."""
    event = InboundEvent.objects.create(
        source=NOWPAYMENTS_SOURCE,
        event_id=_subject_of(body),
        headers=dict(headers),
        body=body,
        verdict=Verdict.VALID,
        attempts=0,
    )
    return event.pk


def waiting_notifications(*, limit: int) -> list[int]:
    """Ids of the notifications that nobody has processed, oldest first: those whose message was lost."""
    waiting = InboundEvent.objects.filter(
        source=NOWPAYMENTS_SOURCE, outcome=Outcome.RECEIVED, received_at__lt=timezone.now() - _YOUNG
    )
    return list(waiting.order_by("pk").values_list("pk", flat=True)[:limit])


def _subject_of(body: bytes) -> str:
    """What operators will look for it by: the payment's number; nothing if the body says none."""
    try:
        told = read_notice(body)
    except BadNoticeError:
        return ""
    return told.payment_id if isinstance(told, PaymentNotice) else told.other_id
