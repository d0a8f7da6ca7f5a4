"""What a receiver of our webhooks does: it verifies, by the scheme's own text, and remembers what it was told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db import connections

from config.lib import audit
from payouts.models import SUBSCRIBABLE, Client, WebhookDelivery, WebhookEndpoint
from payouts.services import webhooks
from tests.factories import ACTOR
from tests.lib.scripted_http import Asked, ScriptedServer

WORKER = audit.worker("test")


def endpoint(
    url: str, *, events: Iterable[str] = SUBSCRIBABLE, client: Client | None = None, name: str = "shop"
) -> WebhookEndpoint:
    made, _ = webhooks.create_endpoint(name=name, url=url, events=events, client=client, actor=ACTOR)
    return made


def deliver() -> int:
    """One sweep, that ends when nothing is due, however long the machine takes for it."""
    return webhooks.deliver_due(actor=WORKER, run_s=60)


def mortal_sender() -> subprocess.Popen[bytes]:
    """One sweep in a process of its own, that can be killed. Use it in a `with`."""
    program = f"""
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = {connections["default"].settings_dict["NAME"]!r}
django.setup()
from config.lib import audit
from payouts.services import webhooks
webhooks.deliver_due(actor=audit.worker("mortal"))
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=Path(__file__).parents[3],
    )


def make_due() -> None:
    """Let the time until the next try pass, and leases run out."""
    WebhookEndpoint.objects.update(next_attempt_at="2020-01-01T00:00:00Z", leased_until=None)


def told(receiver: ScriptedServer) -> list[tuple[str, Any]]:
    """The type and the payment of each event that came, in their order."""
    return [(asked.json["type"], asked.json["data"].get("payment_id")) for asked in receiver.asked]


def outbox(of: WebhookEndpoint | None = None) -> list[tuple[str, str | None, str]]:
    """Every event written down, with its payment and where it stands."""
    rows = WebhookDelivery.objects.select_related("accumulation").order_by("pk")
    if of is not None:
        rows = rows.filter(endpoint=of)
    return [(row.event, row.accumulation.payment_id if row.accumulation else None, row.state) for row in rows]


def is_signed_with(asked: Asked, secret: str) -> bool:
    """Whether one of the signatures is the HMAC of `id.timestamp.body`."""
    signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return wanted in asked.headers["webhook-signature"].split(" ")
