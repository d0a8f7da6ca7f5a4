"""Value on its way: the transfer we are about to sign, and the ERC-20 transfers that a receipt proves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from config.lib.errors import SluiceError
from hostpay.providers.addresses import AddressError, checksummed
from hostpay.providers.ethereum.blocks import Log

TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak of `Transfer(address,address,uint256)`: topics are sender and receiver, data the units (EIP-20)."""

_WORD_BYTES: Final = 32
_LEAST_GAS: Final = 21_000
_MOST_GAS: Final = 30_000_000
_MOST_WEI: Final = 2**256 - 1
# EIP-2681.
_MOST_NONCE: Final = 2**64 - 2
_MOST_DATA_BYTES: Final = 24_576


class UnsignableError(SluiceError):
    """A transfer that must not be signed as it stands."""

    code = "unsignable"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransfer:
    """An EIP-1559 transaction before its signature; amounts in wei, fees in wei per unit of gas.

    It checks itself, because a signing library takes much as given: without a receiver it signs the creation of a
    contract that burns the value, without a chain id a transaction valid on every chain.

    Raises:
        UnsignableError: a field is missing, of another type, or out of its bounds; the text names it.
    """

    chain_id: int
    nonce: int
    to: str
    value_wei: int
    gas_limit: int
    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int
    data: bytes = b""

    def __post_init__(self) -> None:
        for name, lowest, highest in (
            ("chain_id", 1, 2**63 - 1),
            ("nonce", 0, _MOST_NONCE),
            ("value_wei", 0, _MOST_WEI),
            ("gas_limit", _LEAST_GAS, _MOST_GAS),
            ("max_fee_per_gas_wei", 1, _MOST_WEI),
            ("max_priority_fee_per_gas_wei", 0, _MOST_WEI),
        ):
            value = getattr(self, name)
            if type(value) is not int or not lowest <= value <= highest:
                raise UnsignableError(f"{name} {value!r} is not a whole number from {lowest} to {highest}")
        if self.max_priority_fee_per_gas_wei > self.max_fee_per_gas_wei:
            raise UnsignableError(
                f"a tip of {self.max_priority_fee_per_gas_wei} wei is above the whole fee of {self.max_fee_per_gas_wei}"
            )
        if type(self.data) is not bytes or len(self.data) > _MOST_DATA_BYTES:
            raise UnsignableError(f"data is not up to {_MOST_DATA_BYTES} bytes")
        self._check_receiver()

    def _check_receiver(self) -> None:
        try:
            expected = checksummed(self.to, field="to")
        except AddressError as error:
            raise UnsignableError(str(error)) from None
        if self.to != expected:
            raise UnsignableError(f"to {self.to} is not in EIP-55 form")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLog:
    """One ERC-20 transfer as its token wrote it: (`tx_hash`, `log_index`) names it, `units` are base units."""

    tx_hash: str
    log_index: int
    contract: str
    from_address: str
    to_address: str
    units: int
    block_number: int
    block_hash: str


def transfers_among(logs: Iterable[Log], *, contract: str, to: str) -> tuple[TransferLog, ...]:
    """The transfers of the token `contract` to `to`, in order.

    Logs of another contract are no transfers of this token, whatever they call themselves; nor is a log of another
    shape than EIP-20 gives it (ERC-721 has the same event with a fourth topic).
    """
    found = (_transfer(log) for log in logs if log.contract.lower() == contract.lower())
    return tuple(transfer for transfer in found if transfer and transfer.to_address.lower() == to.lower())


def topic_of(address: str) -> str:
    """The address as a topic: left-padded to 32 bytes."""
    return "0x" + "0" * 24 + address[2:].lower()


def _transfer(log: Log) -> TransferLog | None:
    if len(log.topics) != 3 or log.topics[0] != TRANSFER_TOPIC or len(log.data) != _WORD_BYTES:
        return None
    sender, receiver = (_address_in(topic) for topic in log.topics[1:])
    if sender is None or receiver is None:
        return None
    return TransferLog(
        tx_hash=log.tx_hash,
        log_index=log.log_index,
        contract=log.contract,
        from_address=sender,
        to_address=receiver,
        units=int.from_bytes(log.data, "big"),
        block_number=log.block_number,
        block_hash=log.block_hash,
    )


def _address_in(topic: str) -> str | None:
    if topic[2:26] != "0" * 24:
        return None
    address = "0x" + topic[26:]
    # Minted units come from the zero address, which nothing else may be.
    return address if not int(address, 16) else checksummed(address, field="topic")
