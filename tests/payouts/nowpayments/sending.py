"""NOWPayments as the tests need it: it signs as its own JavaScript does, and posts through Django's client."""

import hashlib
import hmac
import json
from typing import Any

from django.conf import settings
from django.test import Client as Browser

from config.lib import audit
from payouts.models import InboundEvent, NowPayment
from payouts.services import advance_payment, process_notification

URL = "/api/v1/webhooks/nowpayments/"
ACTOR = audit.worker("test")

# As production sends it, with ids, addresses and amounts of nobody: sorted, without spaces, a fee that Python would
# print as 2e-06, and `updated_at` in milliseconds.
FINISHED = (
    b'{"actually_paid":0.01,"actually_paid_at_fiat":0,"fee":{"currency":"eth","depositFee":0.000002,"serviceFee":0,'
    b'"withdrawalFee":0},"invoice_id":4522625843,"order_description":null,"order_id":"client-1:user-1",'
    b'"outcome_amount":0.0099,"outcome_currency":"eth","parent_payment_id":null,"pay_address":"0xpay","pay_amount":0.01,'
    b'"pay_currency":"eth","payin_extra_id":null,"payment_extra_ids":[5513339153],"payment_id":5524759814,'
    b'"payment_status":"finished","price_amount":30,"price_currency":"usd","purchase_id":"4944856743",'
    b'"updated_at":1765249461097}'
)


def body(**changes: Any) -> bytes:
    """The notification above with other fields; one that is None is left out. Amounts are given as text."""
    content = {**json.loads(FINISHED, parse_float=str), **changes}
    content = {name: value for name, value in content.items() if value is not None}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signature(text: bytes, secret: str | None = None) -> str:
    return hmac.new((secret or settings.NOWPAYMENTS_IPN_SECRETS[0]).encode(), text, hashlib.sha512).hexdigest()


def post(content: bytes, signed: str | None) -> Any:
    headers = {} if signed is None else {"x-nowpayments-sig": signed}
    return Browser().post(URL, content, content_type="application/json", headers=headers)


def tell(content: bytes | None = None, **changes: Any) -> InboundEvent:
    """Post a notification, properly signed, and process it as the worker would; the event as it is then."""
    text = body(**changes) if content is None else content
    answer = post(text, signature(text))
    assert answer.status_code == 200, answer.content
    event = InboundEvent.objects.get(pk=answer.json()["stored"])
    work(event)
    event.refresh_from_db()
    return event


def work(event: InboundEvent) -> None:
    """What the task does."""
    payment_pk = process_notification(event_id=event.pk, actor=ACTOR)
    if payment_pk is not None:
        advance_payment(payment_pk=payment_pk, actor=ACTOR)


def known(payment_id: str = "5524759814") -> NowPayment:
    return NowPayment.objects.get(payment_id=payment_id)
