"""The payments of the bulk measurement, and one round over them. Imported when Django is set up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import logging
import secrets
import time
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module

from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.test import RequestFactory

from payouts.api.bulk import receive_payments
from payouts.models import Accumulation, Client
from payouts.services.drafts import Draft, Terms, draft_of
from payouts.services.facts import facts_of

CLIENTS = 20
# A line for each request is no part of what is measured.
logging.getLogger("payouts.api.bulk").setLevel(logging.WARNING)
_COPY = f"COPY {Accumulation._meta.db_table} ({', '.join(Draft._fields)}) FROM STDIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Seconds of one round at one size."""

    copy_s: float
    bulk_s: float


def prepare() -> None:
    """The tables, and the clients whose payments they are."""
    # The process as it serves: what a web server sets for itself when it starts.
    import_module("config.wsgi")
    call_command("migrate", verbosity=0)
    for number in range(CLIENTS):
        Client.objects.create(external_id=f"bench-{number}", wallet_address="0x0", payout_threshold_usd=Decimal(50))


def measure(size: int, *, ours_first: bool) -> Round:
    """The same payments, others in each half: rows by COPY, and requests through the view."""
    if ours_first:
        bulk_s = _bulk(size)
        return Round(copy_s=_copy(size), bulk_s=bulk_s)
    copy_s = _copy(size)
    return Round(copy_s=copy_s, bulk_s=_bulk(size))


def _payments(size: int) -> list[dict[str, str]]:
    return [
        {
            "payment_id": secrets.token_hex(12),
            "client_id": f"bench-{number % CLIENTS}",
            "user_id": "user-1",
            "amount_usd": f"{5 + number % 90}.25",
            "outcome_amount": "0.01",
            "outcome_currency": "eth",
        }
        for number in range(size)
    ]


def _copy(size: int) -> float:
    """The finished rows, written out before the clock starts: what the database alone needs."""
    columns = [name if name != "client_id" else "id" for name in Terms._fields]
    terms = {
        client.external_id: Terms._make(getattr(client, name) for name in columns) for client in Client.objects.all()
    }
    drafts = [draft_of(facts_of(item, source="copy"), terms[item["client_id"]]) for item in _payments(size)]
    text = "\n".join("\t".join("\\N" if value is None else str(value) for value in draft) for draft in drafts)
    rows = io.StringIO(text + "\n")
    started = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.copy_expert(_COPY, rows)
    elapsed = time.perf_counter() - started
    _expect("copy", size)
    return elapsed


def _bulk(size: int) -> float:
    """One signed request through the view, from its bytes to the bytes of its answer."""
    body = json.dumps({"payments": _payments(size)}).encode()
    moment, event_id = str(int(time.time())), secrets.token_hex(12)
    key = base64.b64decode(settings.INGEST_SIGNING_SECRETS[0].removeprefix("whsec_"))
    mac = hmac.new(key, f"{event_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
    request = RequestFactory().post("/api/v1/payments/bulk/", body, content_type="application/json", headers=headers)
    started = time.perf_counter()
    answer = receive_payments(request)
    elapsed = time.perf_counter() - started
    if answer.status_code != 200 or json.loads(answer.content)["recorded"] != size:
        raise RuntimeError(f"{answer.status_code}: {answer.content[:500]!r}")
    _expect("api", size)
    return elapsed


def _expect(source: str, size: int) -> None:
    """Count what is there, and forget it: every half of a round begins with empty tables."""
    found = Accumulation.objects.filter(source=source).count()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE payouts_accumulation, payouts_inboundevent CASCADE")
    if found != size:
        raise RuntimeError(f"{found} rows, but {size} were expected: this measurement measures nothing")
