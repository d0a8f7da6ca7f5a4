"""What an operator decided about a doubt of a payment whose money is at the exchange."""

from __future__ import annotations

from datetime import datetime

from config.lib import clock
from hostpay.models import HostPayment

_KIND = "decision"
WAIT = "wait"
ESCALATE = "escalate"
CLOSE = "close"


def decision_data(kind: str, *, about: str, until: datetime | None = None) -> dict[str, str]:
    """How a decision stands in the payment's history: what kind, about which doubt, until when."""
    return {_KIND: kind, "about": about} | ({"until": until.isoformat()} if until else {})


def waiting_decision(payment: HostPayment, doubt: str) -> str:
    """Who decided to wait in exactly this doubt, in words; empty if nobody did, or the time is over."""
    latest = payment.status_changes.filter(data__decision=WAIT).order_by("-pk").first()
    if latest is None or latest.data["about"] != doubt:
        return ""
    until = datetime.fromisoformat(latest.data["until"])
    if until <= clock.now():
        return ""
    return f"{doubt}; {latest.actor} waits until {until:%Y-%m-%d %H:%M} UTC"
