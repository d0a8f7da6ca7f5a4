"""Ethereum addresses and hashes as text: EIP-55, and nothing let through that only looks like one."""

from __future__ import annotations

import re
from typing import Final

from eth_utils.address import is_checksum_address, to_checksum_address

from config.lib.errors import SluiceError

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_NOBODY: Final = "0x" + "0" * 40


class AddressError(SluiceError):
    """A text that is no address money may be sent to."""

    code = "invalid_address"


def checksummed(text: object, *, field: str) -> str:
    """The address in EIP-55 form. One case throughout carries no checksum and is taken as it is.

    Raises:
        AddressError: not `0x` and 40 hex digits, mixed case with a wrong checksum (a digit was mistyped), or the zero
            address (whatever is sent there is gone).
    """
    if not isinstance(text, str) or _ADDRESS.fullmatch(text) is None:
        raise AddressError(f"{field} is not an Ethereum address of 0x and 40 hexadecimal digits")
    digits = text[2:]
    if digits not in {digits.lower(), digits.upper()} and not is_checksum_address(text):
        raise AddressError(f"{field} {text} has a wrong checksum (EIP-55)")
    if text.lower() == _NOBODY:
        raise AddressError(f"{field} is the zero address")
    return str(to_checksum_address(text.lower()))


def is_hash(text: object) -> bool:
    """Whether it is a transaction or block hash: `0x` and 64 hex digits."""
    return isinstance(text, str) and _HASH.fullmatch(text) is not None
