"""The chain and the signed bytes explain the books."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.models import QuerySet, Sum

from config.invariants.kinds import MOST_BREACHES, Breach, Invariant
from hostpay import gateways
from hostpay.models import Receipt, Transaction, TransactionStatus, Wallet
from hostpay.services.variants import block_is_gone

# Older ones were looked at by earlier runs, while they were new; a chain does not change what is final.
_NEWEST = 50


def _bytes_are_what_rows_say() -> list[Breach]:
    return list(_first(_wrong_bytes(_newest_transactions())))


def _wallet_and_slots_agree() -> list[Breach]:
    return list(_first(_foreign_nonces()))


def _chain_and_transactions_agree() -> list[Breach]:
    return list(_first(_unexplained(_newest_transactions())))


def _proceeds_are_there() -> list[Breach]:
    """Nothing of ours takes USDT out of the host wallet yet, so it holds at least what was credited.

    Told, and stops nothing: the owner may withdraw by other means, which puts no payment in danger.
    """
    node = gateways.node()
    found = []
    for wallet in _our_wallets():
        credited = Receipt.objects.filter(
            chain_id=wallet.chain_id, order__payout_address__iexact=wallet.address
        ).aggregate(units=Sum("units"))["units"]
        there = node.usdt_balance(settings.USDT_CONTRACT_ADDRESS, wallet.address)
        if credited is not None and there < credited:
            sentence = f"it holds {there} units of USDT, and {credited} were credited as received"
            found.append(Breach(row=f"wallet {wallet.pk}", sentence=sentence))
    return found


def _newest_transactions() -> QuerySet[Transaction]:
    return Transaction.objects.select_related("slot__wallet").order_by("-pk")[:_NEWEST]


def _our_wallets() -> QuerySet[Wallet]:
    return Wallet.objects.filter(chain_id=settings.ETH_CHAIN_ID)


def _first(breaches: Iterator[Breach]) -> Iterator[Breach]:
    for _, breach in zip(range(MOST_BREACHES), breaches, strict=False):
        yield breach


def _wrong_bytes(transactions: QuerySet[Transaction]) -> Iterator[Breach]:
    # Half a second of imports that a web process never needs.
    from eth_account import Account  # noqa: PLC0415
    from eth_account.typed_transactions.typed_transaction import TypedTransaction  # noqa: PLC0415
    from eth_utils.crypto import keccak  # noqa: PLC0415
    from hexbytes import HexBytes  # noqa: PLC0415

    for row in transactions:
        raw, where = bytes(row.raw), f"transaction {row.tx_hash}"
        if f"0x{keccak(raw).hex()}" != row.tx_hash:
            yield Breach(row=where, sentence="its stored bytes have another hash")
            continue
        said = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        signed = (said["chainId"], said["nonce"], f"0x{bytes(said['to']).hex()}", said["value"], said["maxFeePerGas"])
        wallet = row.slot.wallet
        stored = (
            wallet.chain_id, row.slot.nonce, row.to_address.lower(), int(row.value_units), int(row.max_fee_per_gas_wei)
        )  # fmt: skip
        if signed != stored:
            yield Breach(row=where, sentence=f"its bytes say {signed}, its row says {stored}")
        elif Account.recover_transaction(raw).lower() != wallet.address.lower():
            yield Breach(row=where, sentence=f"its bytes are not signed by {wallet.address}")


def _foreign_nonces() -> Iterator[Breach]:
    node = gateways.node()
    for wallet in _our_wallets().filter(next_nonce__isnull=False):
        # The chain first: what it has seen by now was committed here before it was sent.
        used = node.nonce(wallet.address)
        wallet.refresh_from_db(fields=("next_nonce",))
        # Below it every nonce was given to a payment, or accepted as another's by the person who lifted the halt.
        for nonce in range(wallet.next_nonce or 0, used):
            sentence = (
                f"the chain has a transaction of it with nonce {nonce}, and no payment of ours was given that nonce"
            )
            yield Breach(row=f"wallet {wallet.pk}", sentence=sentence)


def _unexplained(transactions: QuerySet[Transaction]) -> Iterator[Breach]:
    node = gateways.node()
    for row in transactions:
        if row.slot.wallet.chain_id != settings.ETH_CHAIN_ID:
            continue
        where, receipt = f"transaction {row.tx_hash}", node.receipt(row.tx_hash)
        if receipt is None:
            # "Not found" alone is what a node says that has pruned its index; another block in its place is a loss.
            if row.status in {TransactionStatus.FINAL, TransactionStatus.REVERTED} and block_is_gone(row):
                yield Breach(
                    row=where, sentence=f"it is {row.status} in block {row.block_number}, and not in the chain"
                )
            continue
        if row.status == TransactionStatus.DROPPED:
            yield Breach(row=where, sentence=f"it was given up, and is in block {receipt.block_number}")
        elif row.status == TransactionStatus.FINAL and (receipt.block_hash, receipt.ok) != (row.block_hash, True):
            sentence = (
                f"it is final in block {row.block_hash}, the chain has it in {receipt.block_hash}, ok={receipt.ok}"
            )
            yield Breach(row=where, sentence=sentence)


BYTES = (Invariant(id="I5", promise="the stored bytes are what their row says", look=_bytes_are_what_rows_say),)
CHAIN = (
    Invariant(id="I5", promise="every nonce used on chain is ours", look=_wallet_and_slots_agree, asks_chain=True),
    Invariant(id="I4", promise="what is final is in the chain", look=_chain_and_transactions_agree, asks_chain=True),
    Invariant(
        id="I20",
        promise="the USDT credited is in the wallet",
        look=_proceeds_are_there,
        stops_money=False,
        asks_chain=True,
    ),
)
