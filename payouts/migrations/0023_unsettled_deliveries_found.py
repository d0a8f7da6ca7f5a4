from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Built while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0022_unsettled_deliveries")]

    operations = [
        # Of millions of deliveries it takes longer than a statement usually may.
        migrations.RunSQL("SET statement_timeout = 0", "RESET statement_timeout"),
        # What a build that broke off has left, which is no index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS inbound_event_unsettled", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "inboundevent",
            models.Index(
                fields=("outcome", "id"),
                condition=Q(
                    verdict="valid", outcome__in=("failed", "conflict", "refused"), acknowledged_at__isnull=True
                ),
                name="inbound_event_unsettled",
            ),
        ),
        migrations.RunSQL("RESET statement_timeout", "SET statement_timeout = 0"),
    ]
