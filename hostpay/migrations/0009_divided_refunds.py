"""What one transaction brought back is divided among its orders, and never more than it brought; also what comes late."""

import django.db.models.deletion
import django.db.models.functions.datetime
from decimal import Decimal
from django.db import migrations, models

# Until now a transaction was one order's, whole.
_BROUGHT = """
ALTER TABLE hostpay_refund DISABLE TRIGGER hostpay_refund_is_immutable;
UPDATE hostpay_refund SET brought_units = units;
ALTER TABLE hostpay_refund ENABLE TRIGGER hostpay_refund_is_immutable;
"""

# Who divides the same transaction at the same time waits, and then counts what the other has committed: each statement
# of the function sees afresh. The rows are never changed, so their birth is all there is to look at.
_DIVIDED = """
CREATE FUNCTION hostpay_divide_refund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    credited numeric;
    brought numeric[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('refund ' || NEW.chain_id || ' ' || NEW.tx_hash, 0));
    SELECT sum(units), array_agg(DISTINCT brought_units) INTO credited, brought
      FROM (SELECT units, brought_units FROM hostpay_refund
             WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash
             UNION ALL
            SELECT units, brought_units FROM hostpay_latereturn
             WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash) portion;
    IF credited > NEW.brought_units OR cardinality(brought) > 1 THEN
        RAISE EXCEPTION 'transaction % is credited with % wei in all, and brought %', NEW.tx_hash, credited, brought
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_is_divided_exactly';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hostpay_refund_is_divided_exactly AFTER INSERT ON hostpay_refund
    FOR EACH ROW EXECUTE FUNCTION hostpay_divide_refund();
CREATE TRIGGER hostpay_latereturn_is_divided_exactly AFTER INSERT ON hostpay_latereturn
    FOR EACH ROW EXECUTE FUNCTION hostpay_divide_refund();
CREATE TRIGGER hostpay_latereturn_is_immutable BEFORE UPDATE OR DELETE ON hostpay_latereturn
    FOR EACH ROW EXECUTE FUNCTION hostpay_refuse_change();
"""
_UNDIVIDED = """
DROP TRIGGER hostpay_latereturn_is_immutable ON hostpay_latereturn;
DROP FUNCTION hostpay_divide_refund() CASCADE;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0008_reconciled_transfers'),
    ]

    operations = [
        migrations.CreateModel(
            name='LateReturn',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('chain_id', models.PositiveBigIntegerField()),
                ('tx_hash', models.CharField(max_length=66)),
                ('block_number', models.PositiveBigIntegerField()),
                ('block_hash', models.CharField(max_length=66)),
                ('from_address', models.CharField(max_length=42)),
                ('units', models.DecimalField(decimal_places=0, help_text='Wei that came back for the order.', max_digits=78)),
                ('brought_units', models.DecimalField(decimal_places=0, help_text='Wei that the whole transaction brought to the wallet, for whatever orders.', max_digits=78)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='refund',
            name='refund_transaction_is_credited_once',
        ),
        migrations.AddField(
            model_name='refund',
            name='brought_units',
            field=models.DecimalField(decimal_places=0, default=0, help_text='Wei that the whole transaction brought to the wallet, for whatever orders.', max_digits=78),
            preserve_default=False,
        ),
        migrations.RunSQL(_BROUGHT, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(fields=['chain_id', 'tx_hash'], name='refund_by_transaction'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('brought_units__gte', Decimal('1')), ('brought_units__lt', Decimal('1.000000000000000000000000000E+78')), ('units__lte', models.F('brought_units'))), name='refund_is_of_what_its_transaction_brought'),
        ),
        migrations.AddField(
            model_name='latereturn',
            name='approval',
            field=models.OneToOneField(blank=True, help_text='By which two people accepted it; empty for one that proved itself.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='late_return', to='hostpay.approval'),
        ),
        migrations.AddField(
            model_name='latereturn',
            name='order',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='late_returns', to='hostpay.exchangeorder'),
        ),
        migrations.AddConstraint(
            model_name='latereturn',
            constraint=models.UniqueConstraint(fields=('chain_id', 'tx_hash', 'order'), name='late_return_is_booked_once'),
        ),
        migrations.AddConstraint(
            model_name='latereturn',
            constraint=models.CheckConstraint(condition=models.Q(('units__gt', Decimal('0')), ('units__lt', Decimal('1.000000000000000000000000000E+78')), ('brought_units__gte', Decimal('1')), ('brought_units__lt', Decimal('1.000000000000000000000000000E+78')), ('units__lte', models.F('brought_units'))), name='late_return_is_of_what_its_transaction_brought'),
        ),
        migrations.RunSQL(_DIVIDED, _UNDIVIDED),
    ]
