from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Built while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0025_deliveries_found_and_replayed")]

    operations = [
        # Of millions of deliveries it takes longer than a statement usually may.
        migrations.RunSQL("SET statement_timeout = 0", "RESET statement_timeout"),
        # What a build that broke off has left, which is no index.
        *(
            migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", migrations.RunSQL.noop)
            for name in (
                "inbound_event_by_payment",
                "inbound_event_by_client",
                "inbound_event_with_error",
                "inbound_event_to_replay",
            )
        ),
        *(
            AddIndexConcurrently("inboundevent", models.Index(fields=(column,), condition=condition, name=name))
            for column, condition, name in (
                ("named_payment_id", ~Q(named_payment_id=""), "inbound_event_by_payment"),
                ("named_client_id", ~Q(named_client_id=""), "inbound_event_by_client"),
                ("id", ~Q(error=""), "inbound_event_with_error"),
                ("replay_at", Q(replay_at__isnull=False), "inbound_event_to_replay"),
            )
        ),
        migrations.RunSQL("RESET statement_timeout", "SET statement_timeout = 0"),
    ]
