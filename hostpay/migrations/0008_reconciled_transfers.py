"""Up to where a run has judged each transfer of USDT, which is kept as all that a run found."""

from django.db import migrations, models

_IMMUTABLE = """
DROP TRIGGER hostpay_reconciliation_is_immutable ON hostpay_reconciliation;
CREATE TRIGGER hostpay_reconciliation_is_immutable
    BEFORE UPDATE OF scope, subject, result, actor, started_at, finished_at, lines, failures, block_number, eth_wei,
                     usdt_units{more}
    ON hostpay_reconciliation FOR EACH ROW EXECUTE FUNCTION hostpay_keep_reconciliation();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0007_shared_pace'),
    ]

    operations = [
        migrations.AddField(
            model_name='reconciliation',
            name='judged_block',
            field=models.PositiveBigIntegerField(blank=True, help_text='Up to here each transfer of USDT was judged; one after it may be of a payment that still waits for it.', null=True),
        ),
        migrations.AddConstraint(
            model_name='reconciliation',
            constraint=models.CheckConstraint(condition=models.Q(('judged_block__isnull', True), models.Q(('block_number__isnull', False), ('judged_block__lte', models.F('block_number'))), _connector='OR'), name='reconciliation_judges_no_block_that_it_has_not_seen'),
        ),
        migrations.RunSQL(_IMMUTABLE.format(more=", judged_block"), _IMMUTABLE.format(more="")),
    ]
