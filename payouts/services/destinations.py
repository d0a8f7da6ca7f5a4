"""Where money may be sent: addresses checked by the rules of their network, because nobody can call it back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from eth_utils.address import is_checksum_address

from config.lib.problems import FieldError, InvalidFieldsError

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TRON_PREFIX = b"\x41"
# Well-formed, and without a key: the address of zeros on each kind of network. Solana's is its system program.
_NOBODYS = frozenset({"0x" + "0" * 40, "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", "1" * 32})
# On these a payment needs a memo (or tag) beside the address, and without it is somebody else's.
_MEMO_NETWORKS = frozenset({"xrp", "xlm", "ton", "eos", "atom", "hbar", "bnb", "algo", "stx", "kava", "xem", "iost"})


@dataclass(frozen=True, slots=True)
class Network:
    """What can be paid on a network, and to which addresses; both as the exchange spells them."""

    currencies: frozenset[str]
    is_address: Callable[[str], bool]
    rule: str


def check_destination(*, wallet_address: str, payout_currency: str, payout_network: str) -> None:
    """Go on only if `payout_currency` is paid on `payout_network`, to an address of it that is not one of our own.

    Raises:
        InvalidFieldsError: all that is wrong, with which field.
    """
    errors = []
    network = NETWORKS.get(payout_network)
    if network is None:
        errors.append(_unfit(payout_network))
    else:
        if payout_currency not in network.currencies:
            rule = f"must be one that is paid on {payout_network}: {', '.join(sorted(network.currencies))}"
            errors.append(FieldError("payout_currency", "unsupported", rule))
        if not network.is_address(wallet_address):
            errors.append(FieldError("wallet_address", "invalid", network.rule))
        elif wallet_address in {settings.HOST_WALLET_ADDRESS, settings.USDT_CONTRACT_ADDRESS, *_NOBODYS}:
            errors.append(FieldError("wallet_address", "not_a_client", "belongs to no client: it is ours, or nobody's"))
    if errors:
        raise InvalidFieldsError(errors)


def _unfit(network: str) -> FieldError:
    if network in _MEMO_NETWORKS:
        rule = "needs a memo beside the address, which is not supported yet"
        return FieldError("payout_network", "memo_needed", rule)
    rule = f"must be one whose addresses we can check: {', '.join(sorted(NETWORKS))}"
    return FieldError("payout_network", "unsupported", rule)


def _is_tron(address: str) -> bool:
    decoded = _base58(address)
    if decoded is None or len(decoded) != 25 or not decoded.startswith(_TRON_PREFIX):
        return False
    payload, checksum = decoded[:-4], decoded[-4:]
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4] == checksum


def _is_solana(address: str) -> bool:
    # A public key without a checksum: all that can be checked is that it is one.
    decoded = _base58(address)
    return decoded is not None and len(decoded) == 32


def _base58(text: str) -> bytes | None:
    """The bytes that Base58 in Bitcoin's alphabet stands for; None if it is no such text."""
    if not 1 <= len(text) <= 64 or any(character not in _BASE58 for character in text):
        return None
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return b"\x00" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


_EIP_55 = "must be an address in EIP-55 mixed case, whose checksum is right"


def _evm(*currencies: str) -> Network:
    return Network(frozenset(currencies), is_checksum_address, _EIP_55)


# The same ticker is another asset on another network, and some are on none: paid there, it would be lost.
NETWORKS: Final[Mapping[str, Network]] = {
    "arbitrum": _evm("eth", "usdc", "usdt"),
    "avaxc": _evm("avax", "usdc", "usdt"),
    "base": _evm("eth", "usdc"),
    "bsc": _evm("bnb", "usdc", "usdt"),
    "eth": _evm("dai", "eth", "usdc", "usdt"),
    "matic": _evm("usdc", "usdt"),
    "op": _evm("eth", "usdc", "usdt"),
    "sol": Network(frozenset({"sol", "usdc", "usdt"}), _is_solana, "must be a Solana address: 32 bytes in Base58"),
    "trx": Network(frozenset({"trx", "usdt"}), _is_tron, "must be a Tron address (T...), whose checksum is right"),
}
