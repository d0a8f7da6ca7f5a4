"""What is final enough to be compared: the blocks that have the confirmations of the settings."""

from __future__ import annotations

from django.conf import settings

from hostpay import gateways


def settled_block() -> int:
    """The latest block that we call final, as for a payment.

    Raises:
        ProviderError: the node did not answer.
    """
    return max(gateways.node().block_number() - settings.ETH_CONFIRMATIONS + 1, 0)
