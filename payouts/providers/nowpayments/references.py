"""The order id that a payment carries through NOWPayments: whose it is.

`CLIENT:USER` or `CLIENT:USER:SUBSCRIPTION`, each part percent-encoded where it holds a colon or a percent sign. It is
read strictly and back to the same text, so that no id loses a sign or a separator on the way (`-1001234:77` is a client
whose id is a negative number).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from config.lib.errors import SluiceError

_PART: Final = re.compile(r"[\x21-\x7e]+")
# All that may stand in a part as it is: printable ASCII but the separator and the escape.
_PLAIN: Final = "".join(map(chr, range(0x21, 0x7F))).replace(":", "").replace("%", "")
_LONGEST: Final = (64, 64, 128)


class BadReferenceError(SluiceError):
    """An order id does not say whose payment it is."""

    code = "bad_reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Whose payment it is, in the ids of `POST /api/v1/payments/`."""

    client_id: str
    user_id: str
    subscription_id: str = ""


def reference_text(reference: Reference) -> str:
    """The order id to create a payment with at NOWPayments."""
    parts = [reference.client_id, reference.user_id]
    if reference.subscription_id:
        parts.append(reference.subscription_id)
    return ":".join(quote(part, safe=_PLAIN) for part in parts)


def read_reference(order_id: str) -> Reference:
    """Whose payment an order id names.

    Raises:
        BadReferenceError: it is not exactly what `reference_text` writes.
    """
    parts = [unquote(part) for part in order_id.split(":")]
    fits = 2 <= len(parts) <= 3 and all(
        _PART.fullmatch(part) and len(part) <= longest for part, longest in zip(parts, _LONGEST, strict=False)
    )
    if fits:
        client_id, user_id, *subscription = parts
        found = Reference(client_id=client_id, user_id=user_id, subscription_id="".join(subscription))
        if reference_text(found) == order_id:
            return found
    raise BadReferenceError(f"The order id {_shown(order_id)} is not CLIENT:USER or CLIENT:USER:SUBSCRIPTION.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
