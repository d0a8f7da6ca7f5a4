"""Refunds of one block are booked one after the other: its balance proves all of them together, and not each alone."""

from django.db import migrations

# The block's lock before the transaction's, for whoever takes both.
_ONE_AT_A_TIME = """
CREATE FUNCTION hostpay_hold_refunds(chain_id bigint, block_number bigint) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('refunds of block ' || chain_id || ' ' || block_number, 0));
$$;
CREATE FUNCTION hostpay_hold_refunds_of_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hostpay_hold_refunds(NEW.chain_id, NEW.block_number);
    RETURN NEW;
END $$;
CREATE TRIGGER hostpay_refund_waits_for_its_block BEFORE INSERT ON hostpay_refund
    FOR EACH ROW EXECUTE FUNCTION hostpay_hold_refunds_of_row();
CREATE TRIGGER hostpay_latereturn_waits_for_its_block BEFORE INSERT ON hostpay_latereturn
    FOR EACH ROW EXECUTE FUNCTION hostpay_hold_refunds_of_row();
"""
_AT_ONCE = """
DROP FUNCTION hostpay_hold_refunds_of_row() CASCADE;
DROP FUNCTION hostpay_hold_refunds(bigint, bigint);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0012_take_on'),
    ]

    operations = [
        migrations.RunSQL(_ONE_AT_A_TIME, _AT_ONCE),
    ]
