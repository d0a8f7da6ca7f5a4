"""What two people decide about, in figures: the same rows always give the same payload and the same hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from hostpay.models import Approval, HostPayment, NonceSlot


def payload_of(action: str, payment: HostPayment, facts: Mapping[str, str]) -> dict[str, str]:
    """What `action` would do to the payment, from its rows as they are now; amounts and nonces as decimal strings.

    Fees are not part of it: that a transaction is signed again with higher fees does not change what is decided.

    Args:
        facts: what this action needs beside that, as it is now.
    """
    # None where what is decided about was never signed by these books.
    slot = NonceSlot.objects.filter(payment=payment).first()
    return {
        "action": action,
        "payment": str(payment.pk),
        "purpose": f"{payment.context} {payment.reference}",
        "chain_id": str(payment.wallet.chain_id),
        "wallet": payment.wallet.address,
        "nonce": "" if slot is None else str(slot.nonce),
        "value_wei": str(payment.send_units),
        **facts,
    }


def sha256_of(payload: Mapping[str, str]) -> str:
    """The hash of the payload, whatever order its keys come in."""
    text = json.dumps(dict(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_as_proposed(approval: Approval, payment: HostPayment, facts: Mapping[str, str]) -> bool:
    """Whether the payload is what was hashed when it was proposed, and what rows and facts would give today."""
    now = payload_of(approval.action, payment, facts)
    return approval.payload_sha256 == sha256_of(approval.payload) == sha256_of(now)


def person_in(actor: str) -> str:
    """The name in an audit column, without the door by which the person came in."""
    return actor.partition(":")[2]
