from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Built while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0033_void_orders_that_wait")]

    operations = [
        # Of millions of payments it takes longer than a statement usually may.
        migrations.RunSQL("SET statement_timeout = 0", "RESET statement_timeout"),
        # What a build that broke off has left, which is no index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS now_payment_unbooked", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "nowpayment",
            models.Index(
                fields=("status_changed_at",),
                condition=Q(status__in=("partially_paid", "finished"), accumulation__isnull=True, set_aside_at__isnull=True),
                name="now_payment_unbooked",
            ),
        ),
        migrations.RunSQL("RESET statement_timeout", "SET statement_timeout = 0"),
    ]
