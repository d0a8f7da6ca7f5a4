"""Where money may be sent: addresses checked by the rules of their network, because nobody can call it back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from django.conf import settings
from eth_utils.address import is_checksum_address

from config.lib.problems import FieldError, InvalidFieldsError

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TICKER = re.compile(r"[a-z0-9]{2,16}")
_TRON_PREFIX = b"\x41"
_NOBODY = "0x" + "0" * 40
# On these a payment needs a memo (or tag) beside the address, and without it is somebody else's.
MEMO_NETWORKS = frozenset({"xrp", "xlm", "ton", "eos", "atom", "hbar", "bnb", "algo", "stx", "kava", "xem", "iost"})


def check_destination(*, wallet_address: str, payout_currency: str, payout_network: str) -> None:
    """Go on only if `wallet_address` is an address of `payout_network`, and not one of our own.

    Raises:
        InvalidFieldsError: what is wrong with which field.
    """
    errors = []
    if not _TICKER.fullmatch(payout_currency):
        errors.append(FieldError("payout_currency", "invalid", "must be the ticker of an asset, in small letters"))
    if payout_network in MEMO_NETWORKS or payout_currency in MEMO_NETWORKS:
        errors.append(
            FieldError("payout_network", "memo_needed", "needs a memo beside the address, which is not supported yet")
        )
    elif payout_network not in _RULES:
        known = ", ".join(sorted(_RULES))
        errors.append(FieldError("payout_network", "unsupported", f"must be one whose addresses we can check: {known}"))
    else:
        is_fine, rule = _RULES[payout_network]
        if not is_fine(wallet_address):
            errors.append(FieldError("wallet_address", "invalid", rule))
        elif wallet_address in {settings.HOST_WALLET_ADDRESS, settings.USDT_CONTRACT_ADDRESS, _NOBODY}:
            errors.append(FieldError("wallet_address", "not_a_client", "belongs to no client: it is ours, or nobody's"))
    if errors:
        raise InvalidFieldsError(errors)


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


_EVM = (is_checksum_address, "must be an address in EIP-55 mixed case, whose checksum is right")
_RULES: dict[str, tuple[Callable[[str], bool], str]] = {
    **dict.fromkeys(("eth", "bsc", "matic", "arbitrum", "op", "base", "avaxc"), _EVM),
    "trx": (_is_tron, "must be a Tron address (T...), whose checksum is right"),
    "sol": (_is_solana, "must be a Solana address: 32 bytes in Base58"),
}
