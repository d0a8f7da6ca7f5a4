"""What is final enough to be compared: the blocks that have the confirmations of the settings."""

from __future__ import annotations

from hostpay.services.finality import last_final_block


def settled_block() -> int:
    """The latest block that we call final, as for a payment.

    Raises:
        ProviderError: the node did not answer.
    """
    return last_final_block()
