"""Signed Ethereum transactions: written down before they are sent, and sent only as they were written."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.lib.columns import UNITS_LIMIT, number_between, units_field
from config.lib.lifecycle import Edges, Lifecycle, StatusChange
from hostpay.models.wallet import NonceSlot


class TransactionStatus(models.TextChoices):
    SIGNED = "signed"
    BROADCAST = "broadcast"
    MINED = "mined"
    FINAL = "final"
    DROPPED = "dropped"
    REVERTED = "reverted"


class TransactionKind(models.TextChoices):
    PAYMENT = "payment"
    REPLACEMENT = "replacement", "the same payment with higher fees"
    CANCEL = "cancel", "nothing, to ourselves, in its place"


class Transaction(Lifecycle):
    """One signed variant on a nonce slot; whichever variant is mined settles the slot."""

    edges: ClassVar[Edges] = {
        # Dropped from signed: another variant of the nonce was mined before this one went out.
        TransactionStatus.SIGNED: frozenset({TransactionStatus.BROADCAST, TransactionStatus.DROPPED}),
        TransactionStatus.BROADCAST: frozenset(
            {TransactionStatus.MINED, TransactionStatus.DROPPED, TransactionStatus.REVERTED}
        ),
        TransactionStatus.MINED: frozenset({TransactionStatus.FINAL, TransactionStatus.BROADCAST}),
    }

    slot = models.ForeignKey(NonceSlot, on_delete=models.PROTECT, related_name="transactions")
    status = models.CharField(max_length=16, choices=TransactionStatus.choices, default=TransactionStatus.SIGNED)
    kind = models.CharField(max_length=16, choices=TransactionKind.choices, default=TransactionKind.PAYMENT)
    to_address = models.CharField(max_length=42)
    value_units = units_field(help_text="Wei.")
    gas_limit = models.PositiveBigIntegerField()
    max_fee_per_gas_wei = units_field()
    max_priority_fee_per_gas_wei = units_field()
    raw = models.BinaryField(editable=False)
    tx_hash = models.CharField(max_length=66, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    broadcast_at = models.DateTimeField(null=True, blank=True, help_text="When it was last handed to a node.")
    broadcasts = models.PositiveIntegerField(default=0)
    block_number = models.PositiveBigIntegerField(null=True, blank=True)
    block_hash = models.CharField(max_length=66, blank=True)
    gas_used = models.PositiveBigIntegerField(null=True, blank=True)
    effective_gas_price_wei = units_field(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(status__in=TransactionStatus.values), name="transaction_status_is_known"
            ),
            models.CheckConstraint(
                condition=number_between("value_units", lowest=0, below=UNITS_LIMIT)
                & number_between("max_fee_per_gas_wei", lowest=1, below=UNITS_LIMIT)
                & number_between("max_priority_fee_per_gas_wei", lowest=0, below=UNITS_LIMIT)
                & Q(max_priority_fee_per_gas_wei__lte=F("max_fee_per_gas_wei")),
                name="transaction_amounts_are_sane",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=(TransactionStatus.MINED, TransactionStatus.FINAL, TransactionStatus.REVERTED))
                | (Q(block_number__isnull=False) & ~Q(block_hash="")),
                name="mined_transaction_names_its_block",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=TransactionKind.values) & (~Q(kind=TransactionKind.CANCEL) | Q(value_units=0)),
                name="cancel_transaction_sends_nothing",
            ),
            # At most one variant of a nonce is ever in the chain.
            models.UniqueConstraint(
                fields=("slot",),
                condition=Q(status__in=(TransactionStatus.MINED, TransactionStatus.FINAL, TransactionStatus.REVERTED)),
                name="nonce_slot_has_one_mined_transaction",
            ),
        )

    def __str__(self) -> str:
        return self.tx_hash


class TransactionStatusChange(StatusChange):
    subject = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="status_changes")
