"""What the chain will not take back, as far as we go by it: a depth in blocks and, if the settings say so, its own word."""

from __future__ import annotations

from django.conf import settings

from hostpay import gateways
from hostpay.providers.ethereum import Receipt


def last_final_block() -> int:
    """The number of the latest block that we call final: with the confirmations asked for, and not above `finalized`.

    Raises:
        ProviderError: the node did not answer.
    """
    node = gateways.node()
    by_depth = max(node.block_number() - settings.ETH_CONFIRMATIONS + 1, 0)
    return min(by_depth, node.finalized_block_number()) if settings.ETH_FINALITY == "finalized" else by_depth


def is_final(receipt: Receipt) -> bool:
    """Whether the receipt's block is final, and in the chain as it is now.

    Raises:
        ProviderError: the node did not answer.
    """
    if receipt.block_number > last_final_block():
        return False
    return gateways.node().block(receipt.block_number).hash == receipt.block_hash
