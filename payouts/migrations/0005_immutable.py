"""What is never changed is refused by the database: a recorded payment's money and identity, and the history.

The trigger on accumulations is of these columns alone, so the statements that move a million of them pay nothing. It
comes after the row's own CHECKs, and lets a row be saved whole as it was. TRUNCATE stays possible: it takes rights of
its own, and empties a test database.
"""

from django.db import migrations

_RECORDED = (
    "source",
    "payment_id",
    "client_id",
    "gross_usd",
    "fee_percent",
    "fee_usd",
    "pending_usd_amount",
    "outcome_currency",
    "outcome_amount",
    "received_wei",
    "fee_wei",
    "net_wei",
)
_HISTORIES = ("payouts_accumulationstatuschange", "payouts_nowpaymentstatuschange")

_REFUSE = f"""
CREATE FUNCTION payouts_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was recorded is never changed (row %)', TG_OP, TG_TABLE_NAME, OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER payouts_accumulation_is_recorded_once AFTER UPDATE OF {", ".join(_RECORDED)} ON payouts_accumulation
    FOR EACH ROW WHEN (({", ".join(f"OLD.{name}" for name in _RECORDED)})
                       IS DISTINCT FROM ({", ".join(f"NEW.{name}" for name in _RECORDED)}))
    EXECUTE FUNCTION payouts_refuse_change();
""" + "".join(
    f"""
CREATE TRIGGER {table}_is_immutable BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION payouts_refuse_change();
"""
    for table in _HISTORIES
)

_ALLOW = "DROP FUNCTION payouts_refuse_change() CASCADE;"


class Migration(migrations.Migration):
    dependencies = [("payouts", "0004_no_other_asset_in_a_batch")]

    operations = [migrations.RunSQL(_REFUSE, _ALLOW)]
