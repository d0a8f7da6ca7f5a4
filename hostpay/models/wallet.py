"""The host wallet and its line of nonces."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Wallet(models.Model):
    """One account on one chain. Its row is the lock of its nonce line: whoever signs holds it."""

    chain_id = models.PositiveBigIntegerField()
    address = models.CharField(max_length=42, help_text="EIP-55 checksummed.")
    next_nonce = models.PositiveBigIntegerField(
        null=True,
        editable=False,
        help_text="The nonce the next payment gets; empty until the first payment reads it from the chain.",
    )
    halted_reason = models.TextField(blank=True, help_text="Why nothing more is signed for it; a person lifts it.")
    halted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(halted_reason="", halted_at__isnull=True)
                | (~Q(halted_reason="") & Q(halted_at__isnull=False)),
                name="wallet_halt_has_a_reason_and_a_time",
            ),
            models.UniqueConstraint(fields=("chain_id", "address"), name="wallet_is_one_per_chain_and_address"),
            models.CheckConstraint(condition=Q(address__regex=r"^0x[0-9a-fA-F]{40}$"), name="wallet_address_is_hex"),
        )

    def __str__(self) -> str:
        return f"{self.address} on chain {self.chain_id}"


class NonceSlot(models.Model):
    """One nonce of a wallet, given to one payment for ever; every variant of its transaction hangs on it."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="nonce_slots")
    nonce = models.PositiveBigIntegerField()
    payment = models.OneToOneField("hostpay.HostPayment", on_delete=models.PROTECT, related_name="nonce_slot")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("wallet", "nonce"), name="nonce_is_given_to_one_payment"),)

    def __str__(self) -> str:
        return f"nonce {self.nonce}"
