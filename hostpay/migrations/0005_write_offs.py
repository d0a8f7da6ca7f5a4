"""What two people end a payment with whose ETH is at the exchange: a refund they found, or its whole loss."""

import django.db.models.deletion
import django.db.models.functions.datetime
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0004_immutable'),
    ]

    operations = [
        migrations.CreateModel(
            name='WriteOff',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('lost_units', models.DecimalField(decimal_places=0, help_text='Wei that the order took.', max_digits=78)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='approval',
            name='approval_action_is_known',
        ),
        migrations.AddField(
            model_name='refund',
            name='approval',
            field=models.OneToOneField(blank=True, help_text='By which two people accepted it; empty for one that proved itself.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='refund', to='hostpay.approval'),
        ),
        migrations.AlterField(
            model_name='approval',
            name='action',
            field=models.CharField(choices=[('cancel_payment', 'cancel a payment that is on the wire'), ('accept_refund', 'accept what came back as the refund'), ('write_off', 'write off what is at the exchange')], max_length=32),
        ),
        migrations.AddConstraint(
            model_name='approval',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['cancel_payment', 'accept_refund', 'write_off'])), name='approval_action_is_known'),
        ),
        migrations.AddField(
            model_name='writeoff',
            name='approval',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='write_off', to='hostpay.approval'),
        ),
        migrations.AddField(
            model_name='writeoff',
            name='order',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='write_off', to='hostpay.exchangeorder'),
        ),
        migrations.AddConstraint(
            model_name='writeoff',
            constraint=models.CheckConstraint(condition=models.Q(('lost_units__gt', Decimal('0')), ('lost_units__lt', Decimal('1.000000000000000000000000000E+78'))), name='write_off_is_of_something'),
        ),
        migrations.RunSQL(
            """
            CREATE TRIGGER hostpay_writeoff_is_immutable BEFORE UPDATE OR DELETE ON hostpay_writeoff
                FOR EACH ROW EXECUTE FUNCTION hostpay_refuse_change();
            """,
            "DROP TRIGGER hostpay_writeoff_is_immutable ON hostpay_writeoff;",
        ),
    ]
