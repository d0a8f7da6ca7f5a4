"""What is never changed is refused by the database: histories, receipts, signed bytes, nonces, what was asked for and
proposed, and facts of an order once they were verified.

The triggers are of these columns alone, so a status that moves pays nothing, and let a row be saved whole as it was.
TRUNCATE stays possible: it takes rights of its own, and empties a test database.
"""

from django.db import migrations

# Rows that are written once.
_WRITTEN_ONCE = (
    "hostpaymentstatuschange",
    "exchangeorderstatuschange",
    "transactionstatuschange",
    "receipt",
    "refund",
    "nonceslot",
)
# Rows that go on living, and what of them is fixed from birth.
_BORN_WITH = {
    "hostpayment": (
        "context",
        "reference",
        "wallet_id",
        "asset",
        "amount_units",
        "unpriced_usd",
        "expected_usd",
        "tolerance_bps",
        "to_asset",
        "payout_address",
        "requested_by",
        "created_at",
    ),
    "exchangeorder": ("payment_id", "provider", "send_units", "payout_address", "refund_address", "created_at"),
    "transaction": (
        "slot_id",
        "kind",
        "to_address",
        "value_units",
        "gas_limit",
        "max_fee_per_gas_wei",
        "max_priority_fee_per_gas_wei",
        "raw",
        "tx_hash",
        "created_at",
    ),
    "wallet": ("chain_id", "address"),
    "approval": (
        "action",
        "payment_id",
        "payload",
        "payload_sha256",
        "reason",
        "proposed_by",
        "proposed_at",
        "expires_at",
    ),
    "breaker": ("cause", "detail", "opened_by", "opened_at"),
    "pause": ("switch", "reason", "actor", "paused_at", "expires_at"),
}
# And what is fixed from when it is there: table, a name for it, the columns, when it is there.
_SET_ONCE = (
    ("hostpayment", "price", ("priced_units",), "OLD.priced_units IS NOT NULL"),
    ("hostpayment", "delivery", ("delivered_at",), "OLD.delivered_at IS NOT NULL"),
    ("hostpayment", "proceeds", ("received_units",), "OLD.received_units IS NOT NULL"),
    ("hostpayment", "refund", ("refunded_units",), "OLD.refunded_units IS NOT NULL"),
    ("exchangeorder", "id", ("provider_order_id",), "OLD.provider_order_id IS NOT NULL"),
    ("exchangeorder", "address", ("payin_address",), "OLD.payin_address IS NOT NULL"),
    ("exchangeorder", "answer", ("expected_units", "valid_until", "placed_answer"), "OLD.status <> 'ordering'"),
    # What was given up is never the one to be paid again.
    ("exchangeorder", "end", ("is_current",), "NOT OLD.is_current"),
    ("approval", "decision", ("decision", "decided_by", "decided_at"), "OLD.decision <> ''"),
    ("approval", "execution", ("executed_at",), "OLD.executed_at IS NOT NULL"),
    ("breaker", "end", ("closed_at", "closed_by", "close_reason"), "OLD.closed_at IS NOT NULL"),
    ("pause", "end", ("resumed_at", "resumed_by"), "OLD.resumed_at IS NOT NULL"),
)


def _changed(columns: tuple[str, ...]) -> str:
    old, new = (", ".join(f"{row}.{name}" for name in columns) for row in ("OLD", "NEW"))
    return f"({old}) IS DISTINCT FROM ({new})"


def _on_update(table: str, name: str, columns: tuple[str, ...], when: str) -> str:
    return f"""
CREATE TRIGGER hostpay_{table}_{name} AFTER UPDATE OF {", ".join(columns)} ON hostpay_{table}
    FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION hostpay_refuse_change();
"""


_REFUSE = "".join(
    (
        """
CREATE FUNCTION hostpay_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was recorded is never changed (row %, %)',
                    TG_OP, TG_TABLE_NAME, OLD.id, TG_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
""",
        *(
            f"""
CREATE TRIGGER hostpay_{table}_is_immutable BEFORE UPDATE OR DELETE ON hostpay_{table}
    FOR EACH ROW EXECUTE FUNCTION hostpay_refuse_change();
"""
            for table in _WRITTEN_ONCE
        ),
        *(
            f"""
CREATE TRIGGER hostpay_{table}_is_never_deleted BEFORE DELETE ON hostpay_{table}
    FOR EACH ROW EXECUTE FUNCTION hostpay_refuse_change();
"""
            for table in _BORN_WITH
        ),
        *(_on_update(table, "is_recorded_once", columns, _changed(columns)) for table, columns in _BORN_WITH.items()),
        *(
            _on_update(table, f"has_one_{name}", columns, f"{when} AND {_changed(columns)}")
            for table, name, columns, when in _SET_ONCE
        ),
        # A nonce that was given is not given again.
        _on_update(
            "wallet",
            "nonce_never_falls",
            ("next_nonce",),
            "OLD.next_nonce IS NOT NULL AND (NEW.next_nonce IS NULL OR NEW.next_nonce < OLD.next_nonce)",
        ),
    )
)

_ALLOW = "DROP FUNCTION hostpay_refuse_change() CASCADE;"


class Migration(migrations.Migration):
    dependencies = [("hostpay", "0003_one_payment_until_its_end_is_told")]

    operations = [migrations.RunSQL(_REFUSE, _ALLOW)]
