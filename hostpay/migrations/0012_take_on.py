"""What two people take on: money that our key paid to an order, which the books do not know and cannot adopt."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0011_divided_by_what_is_proven'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='approval',
            name='approval_action_is_known',
        ),
        migrations.AlterField(
            model_name='approval',
            name='action',
            field=models.CharField(choices=[('cancel_payment', 'cancel a payment that is on the wire'), ('accept_refund', 'accept what came back as the refund'), ('write_off', 'write off what is at the exchange'), ('take_on', 'take on what our key paid to its order, unknown to the books')], max_length=32),
        ),
        migrations.AddConstraint(
            model_name='approval',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['cancel_payment', 'accept_refund', 'write_off', 'take_on'])), name='approval_action_is_known'),
        ),
    ]
