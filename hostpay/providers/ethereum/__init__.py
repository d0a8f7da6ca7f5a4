"""Client of an Ethereum node. Signing is elsewhere: importing this brings no key-handling code into a process."""

from hostpay.providers.ethereum.blocks import BlockRef, ChainTransaction, FeeQuote, Log, Receipt
from hostpay.providers.ethereum.broadcasts import BroadcastOutcome, BroadcastResult
from hostpay.providers.ethereum.history import PrunedError, Remembering, SentTransaction, find_by_nonce
from hostpay.providers.ethereum.node import EthereumNode, InsufficientFundsError, WouldRevertError
from hostpay.providers.ethereum.pool import NodePool, NodeView
from hostpay.providers.ethereum.rpc import NodeAnswerError
from hostpay.providers.ethereum.transfers import TransferLog, UnsignableError, UnsignedTransfer

__all__ = (
    "BlockRef",
    "BroadcastOutcome",
    "BroadcastResult",
    "ChainTransaction",
    "EthereumNode",
    "FeeQuote",
    "InsufficientFundsError",
    "Log",
    "NodeAnswerError",
    "NodePool",
    "NodeView",
    "PrunedError",
    "Receipt",
    "Remembering",
    "SentTransaction",
    "TransferLog",
    "UnsignableError",
    "UnsignedTransfer",
    "WouldRevertError",
    "find_by_nonce",
)
