# A payment that ended unpaid stands for its purpose until its requester was told.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0002_sender'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='hostpayment',
            name='host_payment_is_live_once_per_purpose',
        ),
        migrations.AddConstraint(
            model_name='hostpayment',
            constraint=models.UniqueConstraint(condition=models.Q(models.Q(('status__in', ('failed', 'refunded', 'cancelled')), _negated=True), ('delivered_at__isnull', True), _connector='OR'), fields=('context', 'reference'), name='host_payment_is_live_once_per_purpose'),
        ),
    ]
