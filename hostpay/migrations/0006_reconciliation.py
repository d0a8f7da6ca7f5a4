"""Runs of the reconciliation, which the database lets nobody change but for their one sign-off."""

import django.core.serializers.json
import django.db.models.deletion
import django.db.models.functions.datetime
from decimal import Decimal
from django.db import migrations, models


# Django's own flush empties tables by TRUNCATE, which stays possible: it takes rights of its own.
_REFUSE = """
CREATE FUNCTION hostpay_keep_reconciliation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what a reconciliation found is never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER hostpay_reconciliation_is_kept BEFORE DELETE ON hostpay_reconciliation
    FOR EACH ROW EXECUTE FUNCTION hostpay_keep_reconciliation();
CREATE TRIGGER hostpay_reconciliation_is_immutable
    BEFORE UPDATE OF scope, subject, result, actor, started_at, finished_at, lines, failures, block_number, eth_wei,
                     usdt_units
    ON hostpay_reconciliation FOR EACH ROW EXECUTE FUNCTION hostpay_keep_reconciliation();
CREATE TRIGGER hostpay_reconciliation_is_signed_off_once
    BEFORE UPDATE ON hostpay_reconciliation FOR EACH ROW WHEN (OLD.signed_off_at IS NOT NULL)
    EXECUTE FUNCTION hostpay_keep_reconciliation();
CREATE TRIGGER hostpay_accepteddifference_is_immutable BEFORE UPDATE OR DELETE ON hostpay_accepteddifference
    FOR EACH ROW EXECUTE FUNCTION hostpay_keep_reconciliation();
"""

_ALLOW = "DROP FUNCTION hostpay_keep_reconciliation() CASCADE;"


class Migration(migrations.Migration):

    dependencies = [
        ("hostpay", "0005_write_offs"),
    ]

    operations = [
        migrations.CreateModel(
            name='Reconciliation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(choices=[('all', 'everything'), ('chain', 'the host wallet on chain'), ('provider', 'orders at the exchange'), ('batch', 'batches')], max_length=16)),
                ('subject', models.CharField(blank=True, help_text='The one object it was about.', max_length=64)),
                ('result', models.CharField(choices=[('agrees', 'Agrees'), ('differs', 'Differs'), ('failed', 'could not be asked')], max_length=16)),
                ('actor', models.CharField(max_length=150)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('lines', models.JSONField(default=list, encoder=django.core.serializers.json.DjangoJSONEncoder, help_text='What was compared, part by part.')),
                ('failures', models.JSONField(blank=True, default=dict, help_text='Why a part could not be asked, by its name.')),
                ('block_number', models.PositiveBigIntegerField(blank=True, null=True)),
                ('eth_wei', models.DecimalField(blank=True, decimal_places=0, max_digits=78, null=True)),
                ('usdt_units', models.DecimalField(blank=True, decimal_places=0, max_digits=78, null=True)),
                ('signed_off_at', models.DateTimeField(blank=True, null=True)),
                ('signed_off_by', models.CharField(blank=True, max_length=150)),
                ('sign_off_reason', models.TextField(blank=True)),
            ],
            options={
                'ordering': ('-id',),
                'indexes': [models.Index(condition=models.Q(('signed_off_at__isnull', True), models.Q(('result', 'agrees'), _negated=True)), fields=['id'], name='reconciliation_unresolved')],
                'constraints': [models.CheckConstraint(condition=models.Q(('scope__in', ['all', 'chain', 'provider', 'batch'])), name='reconciliation_scope_is_known'), models.CheckConstraint(condition=models.Q(('result__in', ['agrees', 'differs', 'failed'])), name='reconciliation_result_is_known'), models.CheckConstraint(condition=models.Q(models.Q(('result', 'failed'), models.Q(('failures', {}), _negated=True)), models.Q(models.Q(('result', 'failed'), _negated=True), ('failures', {})), _connector='OR'), name='reconciliation_fails_exactly_when_it_says_why'), models.CheckConstraint(condition=models.Q(models.Q(('block_number__isnull', True), ('eth_wei__isnull', True), ('usdt_units__isnull', True)), models.Q(('block_number__isnull', False), ('eth_wei__isnull', False), ('usdt_units__isnull', False), ('eth_wei__gte', Decimal('0')), ('eth_wei__lt', Decimal('1.000000000000000000000000000E+78')), ('usdt_units__gte', Decimal('0')), ('usdt_units__lt', Decimal('1.000000000000000000000000000E+78'))), _connector='OR'), name='reconciliation_has_all_balances_or_none'), models.CheckConstraint(condition=models.Q(models.Q(('sign_off_reason', ''), ('signed_off_at__isnull', True), ('signed_off_by', '')), models.Q(('signed_off_at__isnull', False), models.Q(('signed_off_by', ''), _negated=True), models.Q(('sign_off_reason', ''), _negated=True)), _connector='OR'), name='reconciliation_is_signed_off_by_somebody_with_a_reason')],
            },
        ),
        migrations.CreateModel(
            name='AcceptedDifference',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(help_text='Of row and figures; another figure is another key.', max_length=64, unique=True)),
                ('row', models.TextField()),
                ('ours', models.TextField()),
                ('theirs', models.TextField()),
                ('reconciliation', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='accepted', to='hostpay.reconciliation')),
            ],
            options={
                'ordering': ('-id',),
            },
        ),
        migrations.RunSQL(_REFUSE, _ALLOW),
    ]
