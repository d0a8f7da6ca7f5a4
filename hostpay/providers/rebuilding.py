"""The signed bytes of a mined transaction, made anew from what a node shows and proven by themselves."""

from __future__ import annotations

from hostpay.providers.ethereum import SentTransaction


def signed_bytes(sent: SentTransaction) -> bytes | None:
    """The bytes whose hash is the transaction's and whose signature is its sender's; None if there are none such.

    So a node can show us nothing as ours that our key did not sign.
    """
    # Half a second of imports that a web process never needs.
    from eth_account import Account  # noqa: PLC0415
    from eth_account.typed_transactions.typed_transaction import TypedTransaction  # noqa: PLC0415
    from eth_keys.exceptions import BadSignature  # noqa: PLC0415
    from eth_utils.crypto import keccak  # noqa: PLC0415
    from eth_utils.exceptions import ValidationError  # noqa: PLC0415

    if sent.signature is None or sent.to_address is None:
        return None
    fields = {
        "type": 2,
        "chainId": sent.signature.chain_id,
        "nonce": sent.nonce,
        "to": bytes.fromhex(sent.to_address[2:]),
        "value": sent.value_wei,
        "gas": sent.gas_limit,
        "maxFeePerGas": sent.signature.max_fee_per_gas_wei,
        "maxPriorityFeePerGas": sent.signature.max_priority_fee_per_gas_wei,
        "data": sent.data,
        "accessList": [],
        "v": sent.signature.parity,
        "r": sent.signature.r,
        "s": sent.signature.s,
    }
    try:
        raw = bytes(TypedTransaction.from_dict(fields).encode())
        is_it = f"0x{keccak(raw).hex()}" == sent.tx_hash and Account.recover_transaction(raw) == sent.from_address
    except (TypeError, ValueError, BadSignature, ValidationError):
        # Figures that no signature has.
        return None
    return raw if is_it else None
