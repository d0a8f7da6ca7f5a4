from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Built while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0035_revoked_api_keys")]

    operations = [
        # Of millions of deliveries it takes longer than a statement usually may.
        migrations.RunSQL("SET statement_timeout = 0", "RESET statement_timeout"),
        # What a build that broke off has left, which is no index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS inbound_event_that_was_many", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "inboundevent",
            models.Index(
                fields=("event_id",),
                condition=Q(verdict="valid", outcome="divided"),
                name="inbound_event_that_was_many",
            ),
        ),
        migrations.RunSQL("RESET statement_timeout", "SET statement_timeout = 0"),
    ]
