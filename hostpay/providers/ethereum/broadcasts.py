"""What a node's answer to `eth_sendRawTransaction` means for the payment.

The method answers no with free text, each node in its own words; the phrases below were seen with geth, Nethermind, Besu,
Parity, Hardhat and anvil. Whatever is not surely a refusal before the pool is an unknown outcome, never a no.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class BroadcastOutcome(StrEnum):
    """What became of bytes that were handed to a node."""

    ACCEPTED = "accepted"
    ALREADY_KNOWN = "already known"
    NONCE_TOO_LOW = "nonce too low"
    UNDERPRICED = "underpriced"
    INSUFFICIENT_FUNDS = "insufficient funds"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastResult:
    """`detail` is the node's words, empty if it took the bytes.

    ACCEPTED and ALREADY_KNOWN: the node has the transaction. NONCE_TOO_LOW: the nonce is used, by these bytes or others.
    The rest: the node does not have it, from this call at least.
    """

    outcome: BroadcastOutcome
    tx_hash: str
    detail: str = ""


# Each stands at the beginning of a word: "unknown transaction type" is not "known transaction".
_PHRASES: Final = (
    (
        BroadcastOutcome.ALREADY_KNOWN,
        (
            "already known",
            "known transaction",
            "already imported",
            "alreadyknown",
            "transaction already exists",
            "already in the pool",
        ),
    ),
    (BroadcastOutcome.NONCE_TOO_LOW, ("nonce too low", "nonce is too low", "oldnonce", "nonce has already been used")),
    (
        BroadcastOutcome.UNDERPRICED,
        (
            "underpriced",
            "less than block base fee",
            "feetoolow",
            "fee too low",
            "gas price too low",
            "gasprice is too low",
        ),
    ),
    (
        BroadcastOutcome.INSUFFICIENT_FUNDS,
        ("insufficient funds", "insufficientfunds", "insufficient balance", "gas required exceeds allowance"),
    ),
    (
        BroadcastOutcome.REFUSED,
        (
            "intrinsic gas too low",
            "exceeds block gas limit",
            "exceeds next nonce",
            "nonce too high",
            "nonce too far in the future",
            "invalid chain id",
            "invalid sender",
            "invalid signature",
            "failed to decode",
            "could not decode",
            "rlp:",
            "typed transaction too short",
            "transaction type not supported",
            "max priority fee per gas higher than max fee per gas",
            "exceeds the configured cap",
            "oversized data",
        ),
    ),
)


def outcome_of(words: str) -> BroadcastOutcome | None:
    """What the node's refusal means; None if it does not tell."""
    text = words.lower()
    for outcome, phrases in _PHRASES:
        if any(re.search(rf"\b{re.escape(phrase)}", text) for phrase in phrases):
            return outcome
    return None
