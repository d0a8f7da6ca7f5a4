from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Built while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0033_void_orders_that_wait")]

    operations = [
        AddIndexConcurrently(
            "nowpayment",
            models.Index(
                fields=("status_changed_at",),
                condition=Q(status__in=("partially_paid", "finished"), accumulation__isnull=True, set_aside_at__isnull=True),
                name="now_payment_unbooked",
            ),
        ),
    ]
