"""The host wallet's key. Only the signer process opens it, and nothing it can show, pickle or raise contains it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from config.lib.errors import PermanentError
from hostpay.providers.addresses import AddressError, checksummed
from hostpay.providers.ethereum import UnsignedTransfer

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

_MOST_KEYSTORE_BYTES: Final = 16_384


class SignerError(PermanentError):
    """The key cannot be used: no keystore, the wrong passphrase, or the wrong wallet. Nothing was signed."""

    code = "signer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransfer:
    """The bytes to send, as often as it takes, and the hash by which the chain knows them."""

    raw: bytes
    tx_hash: str


class Signer(Protocol):
    """Signs for one wallet."""

    @property
    def address(self) -> str:
        """The wallet, in EIP-55 form."""
        ...

    def sign(self, transfer: UnsignedTransfer) -> SignedTransfer:
        """The same transfer always gives the same bytes.

        Raises:
            SignerError: the key cannot be used.
        """
        ...


class KeystoreSigner:
    """A key from an encrypted keystore file (Web3 Secret Storage, version 3)."""

    __slots__ = ("_account", "address")

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address = str(account.address)

    @classmethod
    def open(cls, path: Path, passphrase: str, expected_address: str) -> KeystoreSigner:
        """Decrypt the keystore, which takes a second.

        Raises:
            SignerError: it cannot be read or decrypted, or is not of `expected_address`.
        """
        # Half a second of imports that no other process needs.
        from eth_account import Account  # noqa: PLC0415

        account: LocalAccount = Account.from_key(_decrypt(path, passphrase))
        if account.address != _expected(expected_address):
            raise SignerError(
                f"keystore {path} is of wallet {account.address}, the settings say {expected_address}; nothing was signed"
            )
        return cls(account)

    def sign(self, transfer: UnsignedTransfer) -> SignedTransfer:
        """The signed bytes of the transfer.

        Raises:
            SignerError: the signature is not of our wallet (a broken library).
        """
        from eth_account import Account  # noqa: PLC0415

        signed = self._account.sign_transaction(_fields(transfer))
        raw = bytes(signed.raw_transaction)
        # The bytes are about to be stored as what pays: a wrong one would be sent again and again.
        if Account.recover_transaction(raw) != self.address:
            raise SignerError(f"the signature of nonce {transfer.nonce} is not of {self.address}")
        return SignedTransfer(raw=raw, tx_hash=f"0x{bytes(signed.hash).hex()}")

    def __repr__(self) -> str:
        return f"<KeystoreSigner of {self.address}>"

    def __reduce_ex__(self, protocol: object) -> str | tuple[Any, ...]:
        raise TypeError("a key is not written anywhere")


def _decrypt(path: Path, passphrase: str) -> bytes:
    from eth_account import Account  # noqa: PLC0415

    reason = ""
    try:
        if path.stat().st_size > _MOST_KEYSTORE_BYTES:
            raise SignerError(f"{path} is too large for a keystore")
        keystore = json.loads(path.read_text(encoding="utf-8"))
        return bytes(Account.decrypt(keystore, passphrase))
    except OSError as error:
        reason = f"cannot be read ({type(error).__name__})"
    except json.JSONDecodeError:
        reason = "is not JSON"
    except (ValueError, TypeError, KeyError, RuntimeError):
        # Which of them depends on what is wrong with the file; an unknown version or cipher is a RuntimeError.
        reason = "does not open with the passphrase given, or is no keystore of version 3"
    # Raised out here so that no library's error, with whatever it holds, hangs on to it.
    raise SignerError(f"keystore {path} {reason}")


def _expected(address: str) -> str:
    try:
        return checksummed(address, field="the wallet of the settings")
    except AddressError as error:
        raise SignerError(str(error)) from None


def _fields(transfer: UnsignedTransfer) -> dict[str, Any]:
    return {
        "type": 2,
        "chainId": transfer.chain_id,
        "nonce": transfer.nonce,
        "to": transfer.to,
        "value": transfer.value_wei,
        "gas": transfer.gas_limit,
        "maxFeePerGas": transfer.max_fee_per_gas_wei,
        "maxPriorityFeePerGas": transfer.max_priority_fee_per_gas_wei,
        "data": transfer.data,
    }
